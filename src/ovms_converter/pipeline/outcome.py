"""What a conversion came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ovms_converter.engine.job import Port, Timing
from ovms_converter.events import Stage
from ovms_converter.repository import Version
from ovms_converter.repository.versions import mapping_of, mappings_of

__all__ = ["Outcome", "outcome_of_version"]


@dataclass(frozen=True)
class Outcome:
    """What a conversion came to.

    `url`        the destination as it was given, which is what a server takes as its model path
    `version`    the number under it
    `published`  False if nothing was written: the same result was there already, or it was a dry run
    `checked_again`  True if it was there already and came out again, and passed a stronger verification than
    it was published with
    `inputs`, `outputs`  the served model's; empty where the source was published as it was
    `source_bytes`, `result_bytes`  sizes of what was read and of the files of the version
    `seconds`    wall time of each stage that ran
    `verified`   how the result was verified, one line
    `timings`    of the source, where it runs here, and of the result, if they were asked for
    `record`     the version's `conversion.json`, as JSON values; of a dry run, what it would be
    """

    url: str
    version: int
    published: bool
    source_format: str
    evidence: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    source_bytes: int
    result_bytes: int
    seconds: Mapping[Stage, float]
    notes: tuple[str, ...]
    verified: str
    files: tuple[str, ...]
    dry_run: bool = False
    timings: tuple[Timing, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    checked_again: bool = False


def outcome_of_version(
    version: Version, record: Mapping[str, Any], url: str, seconds: Mapping[Stage, float]
) -> Outcome:
    """The outcome of a run that found its result published already."""
    source = mapping_of(record.get("source"))
    sizes = [file.get("size") for file in mappings_of(source.get("files"))]
    return Outcome(
        url=url,
        version=version.number,
        published=False,
        source_format=str(source.get("format", "")),
        evidence=str(source.get("evidence", "")),
        inputs=_ports(record.get("inputs")),
        outputs=_ports(record.get("outputs")),
        source_bytes=sum(size for size in sizes if isinstance(size, int)),
        result_bytes=sum(entry.size or 0 for entry in version.files.values()),
        seconds=seconds,
        notes=tuple(map(str, notes)) if isinstance(notes := record.get("notes"), list) else (),
        verified=str(record.get("verification", "")),
        files=tuple(sorted(f"{version.directory}/{name}" for name in version.files)),
        record=record,
    )


def _ports(record: object) -> tuple[Port, ...]:
    return tuple(
        Port(*(str(port.get(name, "")) for name in ("name", "type", "shape"))) for port in mappings_of(record)
    )
