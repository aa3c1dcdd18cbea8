"""What a report tells: a record (`conversion.json`) as typed values, with what a listing or a run adds.

A record may come from anywhere, so nothing in it is trusted: what is of another type than it should be is
left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from ovms_converter.engine.job import OutputComparison, Port, Timing
from ovms_converter.events import Stage
from ovms_converter.parameters import Support, by_name
from ovms_converter.repository.finding import find_version
from ovms_converter.repository.versions import Version, mapping_of
from ovms_converter.storage.location import Location

__all__ = ["File", "Parameter", "Run", "Story", "story_of_run", "story_of_version"]

Scrub: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_ABSURD = 1 << 63
"""No file has so many bytes."""


@dataclass(frozen=True)
class File:
    """A file that was read or published. `size` in bytes, `sha256` in hex; "" and None where not told.

    `fault` says in a few words how the file that lies there now differs; "" if it does not, or nobody looked.
    """

    path: str
    size: int | None
    sha256: str
    fault: str = ""


@dataclass(frozen=True)
class Parameter:
    """A parameter that was given, and from where: `flag`, `environment`, `argument`, `extra_args`."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Run:
    """What only the run that made the version knows.

    `stages`   wall time of each stage in seconds; stages may overlap
    `seconds`  wall time of the whole run
    `result`   what became of it, if no new version was written: one line, else ""
    `timings`  of the source and of the result, if they were asked for
    """

    stages: Mapping[Stage, float]
    seconds: float
    result: str = ""
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True)
class Story:
    """All that a report tells.

    `location`   the repository; its `str()` holds no secret
    `version`    the number of the version
    `newest`     whether a server would take this version by default; True if nobody looked
    `published`  when the last of its files was written, by the store's clock; None if that is not known
    `mlflow`     what an MLflow artifact tells of itself, by name
    `without_effect`  the parameters that were accepted and change nothing, each with the reason or ""
    `operations` of the source and of the result: how many of each type
    `versions`   the programs that made it, by name
    `minimum_openvino`  the oldest release that reads it, "" if that is not known
    `signed_by`  the fingerprint of the key, as the record tells it; "" for none
    `run`        None where the version was looked at later
    """

    location: Location
    version: int
    newest: bool
    published: datetime | None
    source_url: str
    source_format: str
    evidence: str
    source_files: tuple[File, ...]
    mlflow: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    without_effect: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operations: tuple[Mapping[str, int], Mapping[str, int]]
    verification: str
    comparison: tuple[OutputComparison, ...]
    notes: tuple[str, ...]
    files: tuple[File, ...]
    versions: Mapping[str, str]
    minimum_openvino: str
    fingerprint: str
    signed_by: str = ""
    run: Run | None = None

    @property
    def name(self) -> str:
        """What the repository is called, and the model in a server."""
        return self.location.name or "model"

    @property
    def source_bytes(self) -> int:
        """The size of all files that were read."""
        return sum(file.size or 0 for file in self.source_files)

    @property
    def result_bytes(self) -> int:
        """The size of all files that were published, the record apart."""
        return sum(file.size or 0 for file in self.files)


def story_of_version(text: str, environ: Mapping[str, str], scrub: Scrub) -> Story:
    """The story of the newest finished version at a URL or path, or of the one that `URL/N` names.

    `scrub` takes secrets out of the record: whoever wrote it may have left one.

    Raises what `find_version` raises.
    """
    found = find_version(text, environ)
    return _story(
        scrub(found.record),
        found.destination.location,
        found.version.number,
        None,
        found.version,
        found.newest,
    )


def story_of_run(record: Mapping[str, Any], url: str, version: int, run: Run) -> Story:
    """The story of a run: the record that it wrote, or would have, for `version` of the repository `url`."""
    return _story(record, Location.parse(url), version, run)


def _story(
    record: Mapping[str, Any],
    location: Location,
    number: int,
    run: Run | None,
    version: Version | None = None,
    newest: bool = True,
) -> Story:
    source = mapping_of(record.get("source"))
    given = mapping_of(record.get("parameters"))
    return Story(
        location=location,
        version=number,
        newest=newest,
        published=version.modified if version else None,
        source_url=_text(source.get("url")),
        source_format=_text(source.get("format")),
        evidence=_text(source.get("evidence")),
        source_files=tuple(_file(_text(file.get("path")), file) for file in _mappings(source.get("files"))),
        mlflow=_texts(source.get("mlflow")),
        parameters=tuple(
            Parameter(name, _text(mapping_of(item).get("value")), _text(mapping_of(item).get("origin")))
            for name, item in given.items()
            if mapping_of(item).get("origin") != "default"
        ),
        without_effect=_without_effect(record.get("without_effect"), given),
        inputs=_ports(record.get("inputs")),
        outputs=_ports(record.get("outputs")),
        operations=(
            _counts(mapping_of(record.get("operations")).get("source")),
            _counts(mapping_of(record.get("operations")).get("result")),
        ),
        verification=_text(record.get("verification")),
        comparison=tuple(map(_compared, _mappings(record.get("comparison")))),
        notes=tuple(map(_text, _list(record.get("notes")))),
        files=tuple(
            _file(name, mapping_of(facts), version) for name, facts in mapping_of(record.get("files")).items()
        ),
        versions=_texts(record.get("versions")),
        minimum_openvino=_text(record.get("minimum_openvino")),
        fingerprint=_text(record.get("fingerprint")),
        signed_by=_text(record.get("signed_by")),
        run=run,
    )


def _file(path: str, facts: Mapping[str, Any], version: Version | None = None) -> File:
    size = facts.get("size")
    recorded = size if type(size) is int and 0 <= size < _ABSURD else None
    fault = ""
    if version and path not in version.files:
        fault = "it is not there any more"
    elif version and version.files[path].size not in (None, recorded):
        fault = f"its size in bytes is {version.files[path].size:,} now"
    return File(path, recorded, _text(facts.get("sha256")), fault)


def _without_effect(recorded: object, given: Mapping[str, Any]) -> dict[str, str]:
    """Those that the record tells of and those that never have an effect, with the reason if it is known."""
    table = by_name()
    names = {_text(name) for name in _list(recorded)}
    names |= {name for name in given if name in table and table[name].support is Support.NO_OP}
    return {name: table[name].reason if name in table else "" for name in sorted(names)}


def _ports(value: object) -> tuple[Port, ...]:
    return tuple(
        Port(_text(port.get("name")), _text(port.get("type")), _text(port.get("shape")))
        for port in _mappings(value)
    )


def _compared(value: Mapping[str, Any]) -> OutputComparison:
    figures = (_number(value.get(name)) for name in ("max_abs", "max_rel", "cosine"))
    return OutputComparison(_text(value.get("name")), *figures)


def _counts(value: object) -> dict[str, int]:
    """Numbers by name, the largest first."""
    found = {
        name: each for name, each in mapping_of(value).items() if type(each) is int and 0 < each < _ABSURD
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]


def _texts(value: object) -> dict[str, str]:
    return {name: text for name, each in mapping_of(value).items() if (text := _text(each))}


def _text(value: object) -> str:
    """A text or a number as text; "" for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _number(value: object) -> float:
    """A number; not a number (NaN) for anything else, or an integer too large for a float."""
    try:
        return float(value) if isinstance(value, int | float) else float("nan")
    except OverflowError:
        return float("nan")
