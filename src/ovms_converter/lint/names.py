"""What the names and sizes of a listing tell.

The rules are those of OVMS (src/modelmanager.cpp, src/modelinstance.cpp, src/s3filesystem.cpp) and of
KServe's downloader (kserve_storage.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ovms_converter.lint.findings import Findings, Severity
from ovms_converter.repository import RECORD, Version, version_number
from ovms_converter.repository.versions import versions_of
from ovms_converter.storage.base import PROBE, Entry
from ovms_converter.storage.location import Location

__all__ = ["Layout", "check_names", "check_url", "files_ending", "model_files"]

_READ_BY_OVMS = ("s3", "gs", "az", "file")
_SYNCED_FROM = ("http", "https")
"""Schemes of what can hold a repository for a server that reads another place."""
_MODEL_SUFFIXES = (".xml", ".bin", ".onnx", ".pb", ".pdmodel", ".pdiparams", ".tflite")
_PAIRS = ((".xml", ".bin"), (".onnx",), (".pdmodel", ".pdiparams"), (".pb",), (".tflite",))
"""The kinds of models that OVMS looks for in a version, in its order: endings that must all be there."""

_PAGE = 1000
_LARGE = 10 << 20


@dataclass(frozen=True)
class Layout:
    """A repository as a server sees it.

    `directories`  all directories of the base, by name; `number` is 0 for what is no version
    `numbers`      number → the directory of exactly that name, which is the one that is opened; None if only
                   another spelling of the number is there
    `served`       the highest version with all files of a model; None if there is none
    """

    location: Location
    entries: tuple[Entry, ...]
    base_files: tuple[Entry, ...]
    directories: tuple[Version, ...]
    numbers: Mapping[int, Version | None]
    served: int | None

    @classmethod
    def of(cls, location: Location, entries: Sequence[Entry]) -> "Layout":
        """Sort a listing into its parts."""
        kept = tuple(entry for entry in entries if not entry.path.startswith(PROBE))
        versions = {version.directory: version for version in versions_of(kept)}
        others: dict[str, dict[str, Entry]] = {}
        for entry in kept:
            directory, slash, name = entry.path.partition("/")
            if slash and directory not in versions:
                others.setdefault(directory, {})[name] = entry
        numbers = {version.number: versions.get(str(version.number)) for version in versions.values()}
        complete = [number for number, version in numbers.items() if version and model_files(version)]
        return cls(
            location,
            kept,
            tuple(entry for entry in kept if "/" not in entry.path),
            (*versions.values(), *(Version(0, name, files) for name, files in others.items())),
            numbers,
            max(complete, default=None),
        )

    @property
    def served_version(self) -> Version | None:
        """The served version's directory."""
        return None if self.served is None else self.numbers[self.served]


def model_files(version: Version) -> tuple[str, ...]:
    """The files that OVMS takes for the model: of each ending the first; empty if no kind is complete."""
    for endings in _PAIRS:
        found = [files_ending(version, ending)[:1] for ending in endings]
        if all(found):
            return tuple(names[0] for names in found)
    return ()


def files_ending(version: Version, ending: str) -> list[str]:
    """The files directly in a version with an ending, sorted, as a store lists them."""
    return sorted(name for name in version.files if "/" not in name and name.endswith(ending))


def check_url(location: Location, findings: Findings) -> bool:
    """Whether the location can be looked at; a server could not read others."""
    if location.scheme in _SYNCED_FROM:
        findings.warning(
            "unreadable-url",
            "",
            f"OVMS reads no `{location.scheme}` URL, only a copy elsewhere: `{location}`",
        )
        return True
    if location.scheme not in _READ_BY_OVMS:
        findings.error("unreadable-url", "", f"OVMS reads no `{location.scheme}` URL: `{location}`")
        return False
    spelled = location.text.partition(":")[0].lower()
    if location.is_remote and spelled != location.scheme:
        findings.warning(
            "url-spelling", "", f"OVMS does not know `{spelled}:`; it reads this as `{location.scheme}://…`"
        )
    return True


def check_names(layout: Layout, siblings: Sequence[str], findings: Findings) -> None:
    """Check everything that needs no file to be read."""
    if siblings and layout.location.is_remote and not layout.location.text.endswith("/"):
        names = ", ".join(f"`{name}`" for name in siblings[:3]) + (" and others" if len(siblings) > 3 else "")
        findings.warning("sibling-prefix", "", f"KServe downloads by bare prefix, and mixes in {names}")
    _check_base(layout, findings)
    _check_limit(layout, findings)
    for number, version in sorted(layout.numbers.items()):
        if version:
            _check_version(layout, version, findings)
        else:
            spellings = [one.directory for one in layout.directories if one.number == number]
            findings.warning(
                "name-parsed-as-number",
                spellings[0],
                f"OVMS takes it for version {number}, and finds no directory `{number}`",
            )
    if layout.served is None and not _is_version(layout):
        found = "files" if not layout.numbers else f"versions {', '.join(map(str, sorted(layout.numbers)))}"
        findings.error("nothing-served", "", f"there are {found}, and no version with a whole model")


def _is_version(layout: Layout) -> bool:
    """Whether the location is that of one version, not of a repository."""
    files = {entry.path: entry for entry in layout.base_files}
    return bool(version_number(layout.location.name) and model_files(Version(0, "", files)))


def _check_base(layout: Layout, findings: Findings) -> None:
    if _is_version(layout):
        text = f"`{layout.location.name}` is one version; OVMS takes the directory above it"
        findings.error("version-directory", "", text)
        return
    for entry in layout.base_files:
        if entry.path.endswith(_MODEL_SUFFIXES):
            findings.warning(
                "files-in-base", entry.path, "OVMS looks for models only in numbered directories"
            )
    plain = {str(number) for number in layout.numbers}
    for directory in layout.directories:
        if directory.number and directory.directory not in plain and layout.numbers[directory.number]:
            findings.warning(
                "duplicate-number",
                directory.directory,
                f"OVMS takes it for version {directory.number} as well",
            )
        elif not directory.number:
            zero = directory.directory.lstrip("+0") == "" and directory.directory != ""
            findings.add(
                "version-zero" if zero else "skipped-directory",
                Severity.WARNING if zero or _holds_model(directory) else Severity.INFO,
                directory.directory,
                "OVMS serves no version 0"
                if zero
                else "OVMS skips it: its name does not begin with a number",
            )


def _check_limit(layout: Layout, findings: Findings) -> None:
    """OVMS asks S3 for one listing, which has at most 1000 keys, in the order of their names."""
    if layout.location.scheme != "s3" or len(layout.entries) <= _PAGE:
        return
    seen = Layout.of(layout.location, sorted(layout.entries, key=lambda entry: entry.path)[:_PAGE])
    text = f"there are {len(layout.entries):,} objects, and OVMS sees the first {_PAGE:,}"
    hidden = sorted(set(layout.numbers) - set(seen.numbers))
    if hidden:
        text += f": version {', '.join(map(str, hidden))} is not among them"
    findings.add(
        "listing-limit", Severity.ERROR if seen.served != layout.served else Severity.WARNING, "", text
    )


def _check_version(layout: Layout, version: Version, findings: Findings) -> None:
    chosen = model_files(version)
    if chosen:
        _check_model_files(layout, version, chosen, findings)
    else:
        _check_incomplete(version, findings)
    for name, entry in version.files.items():
        path = f"{version.directory}/{name}"
        if entry.size == 0 and layout.location.is_remote:
            findings.warning("empty-object", path, "KServe does not download empty objects")
        is_model = "/" not in name and name.endswith(_MODEL_SUFFIXES)
        if not is_model and (entry.size or 0) > _LARGE:
            size = f"{(entry.size or 0) / (1 << 20):,.0f} MiB"
            findings.warning("large-extra", path, f"{size} that OVMS does not read")


def _check_model_files(layout: Layout, version: Version, chosen: Sequence[str], findings: Findings) -> None:
    served = version.number == layout.served
    for name in chosen:
        several = files_ending(version, name[name.rindex(".") :])
        if len(several) > 1 and not name.endswith(".pb"):  # a SavedModel has others beside its graph
            findings.add(
                "several-models",
                Severity.ERROR if served else Severity.WARNING,
                f"{version.directory}/{name}",
                f"one of {len(several)} such files; OVMS takes the first of each ending, and may mix them",
            )
    for ending in (endings[0] for endings in _PAIRS if not chosen[0].endswith(endings[0])):
        for name in files_ending(version, ending):
            path = f"{version.directory}/{name}"
            findings.info("other-model", path, f"not served: OVMS prefers `{chosen[0]}`")
    has_variables = any(name.startswith("variables/") for name in version.files)
    if chosen[0].endswith(".pb") and has_variables and layout.location.is_remote:
        findings.add(
            "variables-not-fetched",
            Severity.ERROR if served else Severity.WARNING,
            f"{version.directory}/variables",
            "OVMS fetches no directories from a store: the SavedModel comes without its weights",
        )


def _check_incomplete(version: Version, findings: Findings) -> None:
    pairs = [endings for endings in _PAIRS if any(files_ending(version, ending) for ending in endings)]
    if RECORD in version.files:
        findings.warning(
            "unfinished-version",
            version.directory,
            "its run was killed or is still at work; OVMS tries it every second, and serves another one",
        )
    elif pairs:
        missing = [ending for ending in pairs[0] if not files_ending(version, ending)]
        findings.warning("incomplete-pair", version.directory, f"there is no `{missing[0]}` in it")
    else:
        findings.warning("no-model", version.directory, "there is no file in it that OVMS takes for a model")


def _holds_model(directory: Version) -> bool:
    return any(name.endswith((".xml", ".onnx", ".pb")) for name in directory.files)
