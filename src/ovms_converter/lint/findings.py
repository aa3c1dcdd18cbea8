"""What can be found in a model repository. The codes are stable; programs may rely on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

__all__ = ["CODES", "Finding", "Findings", "Severity"]


class Severity(Enum):
    """ERROR: nothing or something wrong is served. WARNING: trouble for some, or later. INFO: a fact."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    `code`    its kind, one of `CODES`
    `path`    below the repository, "" for the repository itself
    `message` what is there and what comes of it, one line
    `advice`  what to do, one line
    """

    code: str
    severity: Severity
    path: str
    message: str
    advice: str


CODES: Mapping[str, str] = MappingProxyType(
    {
        "unreadable-url": "give the server a directory, s3://, gs:// or az:// URL that holds the same files",
        "url-spelling": "write the URL with the scheme that the server knows",
        "sibling-prefix": "end the `storageUri` with a slash",
        "nothing-served": "put one `.xml` and its `.bin` into a directory named by a number, such as `1`",
        "files-in-base": "move them into a directory named by a number, such as `1`",
        "version-directory": "give the directory above it, which holds the numbered versions",
        "version-zero": "rename it: versions count from 1",
        "name-parsed-as-number": "rename it so that it is a plain number, or does not begin with one",
        "duplicate-number": "remove or rename all but the plain number",
        "skipped-directory": "move it elsewhere: the server warns of it at each look",
        "listing-limit": "keep nothing but versions here: publish to a prefix of its own, and use `--keep`",
        "unfinished-version": "publish again: the next run takes the next number and removes this one",
        "incomplete-pair": "add the missing file, or remove the version",
        "no-model": "remove the directory, or put a model into it",
        "several-models": "leave one `.xml` and one `.bin` in a version",
        "other-model": "remove what is not served",
        "variables-not-fetched": "convert it: `ovms-converter convert` makes one pair of files of it",
        "empty-object": "publish the model again; this program pads an empty weights file to one byte",
        "large-extra": "move it elsewhere: KServe downloads it with every start",
        "invalid-mapping": "use only `inputs` and `outputs`, each with names to names",
        "unknown-mapped-name": "correct the name, or remove it from `mapping_config.json`",
        "invalid-record": "leave `conversion.json` as it was published, or remove it",
        "size-differs": "publish the model again as a new version; `ovms-converter verify` tells more",
        "unreadable-graph": "publish the model again as a new version",
        "large-graph": "make sure that it is the model that you mean: `ovms-converter verify` runs it",
        "old-ir": "convert the model again with a current release",
        "weights-too-short": "publish the model again as a new version",
        "unnamed-input": "convert the model again: every input needs a name",
        "unnamed-output": "convert the model again, with `--rename` if it needs a name",
        "several-names": "convert the model again, so that clients know the one name",
        "unknown-operation": "test with the very release that will serve it",
        "minimum-release": "use that release of the server or a later one",
    }
)
"""Code → what to do about it."""

_ORDER = {severity: index for index, severity in enumerate(Severity)}


class Findings:
    """Collects findings."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(self, code: str, severity: Severity, path: str, message: str) -> None:
        """Note one; its advice is that of its code."""
        self._findings.append(Finding(code, severity, path, message, CODES[code]))

    def error(self, code: str, path: str, message: str) -> None:
        """Note one because of which nothing, or something wrong, is served."""
        self.add(code, Severity.ERROR, path, message)

    def warning(self, code: str, path: str, message: str) -> None:
        """Note one that makes trouble for some servers, or later."""
        self.add(code, Severity.WARNING, path, message)

    def info(self, code: str, path: str, message: str) -> None:
        """Note a fact."""
        self.add(code, Severity.INFO, path, message)

    def sorted(self) -> tuple[Finding, ...]:
        """All, the worst first, then by path."""
        return tuple(sorted(self._findings, key=lambda one: (_ORDER[one.severity], one.path, one.code)))
