"""Reads a model repository as OpenVINO Model Server (OVMS) and KServe would, and names what would go wrong.

findings.py   what can be found: codes, severities, texts
names.py      checks on the listing alone: directories, numbers, files of each version
content.py    checks that read: the record, the graph, `mapping_config.json`

Nothing is written, and the weights are not read; `ovms-converter verify` does that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ovms_converter.errors import AccessDeniedError, NotFoundError
from ovms_converter.lint.content import GraphFacts, check_content
from ovms_converter.lint.findings import CODES, Finding, Findings, Severity
from ovms_converter.lint.names import Layout, check_names, check_url
from ovms_converter.storage import open_destination
from ovms_converter.storage.base import Destination
from ovms_converter.storage.location import Location
from ovms_converter.storage.nearby import near

__all__ = ["CODES", "Finding", "GraphFacts", "LintReport", "Severity", "lint"]


@dataclass(frozen=True)
class LintReport:
    """What a look at a repository found.

    `url`       the location, without secrets
    `served`    the version that OVMS serves by default, None if it serves none
    `versions`  all numbers that OVMS would try, lowest first
    `graph`     what the served graph tells; None if nothing is served or it is no readable IR
    """

    url: str
    served: int | None
    versions: tuple[int, ...]
    graph: GraphFacts | None
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> Sequence[Finding]:
        """The findings because of which nothing, or something wrong, would be served."""
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]


def lint(text: str, *, environ: Mapping[str, str]) -> LintReport:
    """Look at the repository at a URL or path, with the output side's credentials of `environ`.

    Raises `RequestError` if the text is no location, `NotFoundError` if nothing is there, and
    whatever a store answers.
    """
    location = Location.parse(text)
    findings = Findings()
    if not check_url(location, findings):
        return LintReport(str(location), None, (), None, findings.sorted())
    destination = open_destination(location, environ)
    entries = destination.list()
    if not entries:
        raise NotFoundError(
            f"there is no directory with files at `{location}`",
            hint=near(location) or "name the directory that holds the numbered versions",
        )
    layout = Layout.of(location, entries)
    check_names(layout, _siblings(destination), findings)
    graph = check_content(destination, layout, findings)
    return LintReport(str(location), layout.served, tuple(sorted(layout.numbers)), graph, findings.sorted())


def _siblings(destination: Destination) -> Sequence[str]:
    """What KServe's downloader may mix in; who may read the repository alone cannot be told."""
    if not destination.location.is_remote:
        return ()
    try:
        return destination.siblings()
    except AccessDeniedError:
        return ()
