"""The page, section by section. What there is nothing to tell of has no section."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from string import Template

from ovms_converter._version import __version__
from ovms_converter.engine.job import Timing
from ovms_converter.report.charts import bars, differences, distributions
from ovms_converter.report.head import head, source_title
from ovms_converter.report.markup import Html, capital, counted, join, prose, table, tag
from ovms_converter.report.serving import ask_command, serve_command
from ovms_converter.report.story import File, Story
from ovms_converter.units import duration, milliseconds, size

__all__ = ["render"]

_ORIGINS = {
    "flag": "command line",
    "environment": "environment",
    "argument": "Python argument",
    "extra_args": "extra_args",
}
_OPERATIONS = 8
"""So many types of operations are named, the most frequent ones."""

_PROGRAMS = {"ovms_converter": "ovms-converter", "openvino": "OpenVINO", "nncf": "NNCF"}


def render(story: Story) -> str:
    """The report as one HTML document that asks for nothing else: no script, no font, no request."""
    style = _resource("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Template(_resource("page.html")).substitute(
        title=join(f"{story.name}, version {story.version}"),
        style=style,
        style_digest=f"sha256-{digest}",
        body=join(head(story), tag("main", *_sections(story)), _foot(story)),
    )


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _sections(story: Story) -> Iterator[Html]:
    yield _section("flow", "What came in, what went out", _flow(story), *_sizes(story))
    if story.inputs or story.outputs:
        yield _section("ports", "Inputs and outputs", *_ports(story))
    yield _section("serve", "How to serve it", *_serving(story))
    if story.comparison:
        yield _section("verification", "How close it is to its source", *_verification(story))
    if any(story.operations):
        yield _section("operations", "Operations", *_operations(story))
    if story.parameters:
        yield _section("parameters", "Parameters", *_parameters(story))
    if story.run and story.run.timings:
        yield _section("speed", "How fast it is", *_speed(story.run.timings))
    if story.run and story.run.stages:
        yield _section("time", "Where the time went", *_times(story))
    yield _section("files", "Files", *_files(story))
    yield _section("made", "Made with", *_made(story))


def _section(name: str, title: str, *content: str) -> Html:
    return tag("section", tag("h2", title, id=name), *content, aria_labelledby=name)


def _flow(story: Story) -> Html:
    count = len(story.source_files)
    return tag(
        "div",
        tag(
            "div",
            tag("h3", "Source"),
            tag("p", story.source_url, class_="place"),
            tag(
                "p",
                tag("strong", capital(source_title(story))),
                f", {counted(count, 'file')}, {size(story.source_bytes)}",
            ),
            tag("p", prose(story.evidence), class_="muted"),
            class_="card",
        ),
        tag("span", "→", class_="arrow", aria_hidden="true"),
        tag(
            "div",
            tag("h3", "Model repository"),
            tag("p", str(story.location), class_="place"),
            tag(
                "p",
                tag("strong", f"Version {story.version}"),
                f", {counted(len(story.files), 'file')}, {size(story.result_bytes)}",
            ),
            tag("p", "a newer version lies beside it", class_="muted") if not story.newest else "",
            class_="card",
        ),
        class_="flow",
    )


def _sizes(story: Story) -> Iterator[Html]:
    rows = [("Before", story.source_bytes), ("After", story.result_bytes)]
    yield tag("h3", "Size")
    yield bars([(name, count, size(count)) for name, count in rows], "Size before and after")


def _ports(story: Story) -> Iterator[Html]:
    for title, ports in (("Inputs", story.inputs), ("Outputs", story.outputs)):
        rows = [[tag("code", port.name), tag("code", port.type), tag("code", port.shape)] for port in ports]
        if rows:
            yield table(title, ["Name", "Type", "Shape"], rows, class_="ports")
    yield tag("p", "In a shape, ", tag("code", "?"), " stands for any size.", class_="legend")


def _serving(story: Story) -> Iterator[Html]:
    version = None if story.newest else story.version
    credentials = "; the credentials come from the environment" if story.location.is_remote else ""
    yield tag("p", f"With OpenVINO Model Server in Docker{credentials}:")
    yield tag("pre", tag("code", serve_command(story.location, story.name, version, story.minimum_openvino)))
    yield tag("p", "Is it there, and what does it take?")
    yield tag("pre", tag("code", ask_command(story.name)))


def _verification(story: Story) -> Iterator[Html]:
    yield tag("p", prose(f"{capital(story.verification)}."))
    yield tag("figure", differences(story.comparison))
    rows = [
        [
            tag("code", each.name),
            f"{each.max_abs:.2g}",
            f"{each.max_rel:.2g}",
            f"{each.cosine:.7f}",
        ]
        for each in story.comparison
    ]
    columns = ["Output", "Absolute", "Relative", "Cosine"]
    yield table("Largest differences and smallest cosine of all samples", columns, rows, numbers=(1, 2, 3))
    yield tag("p", "Where the source's value is near zero, a relative difference is large.", class_="legend")


def _operations(story: Story) -> Iterator[Html]:
    """The most frequent operations before and after, under the names that each side has for them."""
    for title, counts in zip(("Before", "After"), story.operations, strict=True):
        shown = list(counts.items())[:_OPERATIONS]
        left = list(counts.values())[_OPERATIONS:]
        rows = [(name, float(count), f"{count:,}") for name, count in shown]
        if left:
            rows.append((f"{counted(len(left), 'other type')}", float(sum(left)), f"{sum(left):,}"))
        if rows:
            yield tag("h3", f"{title}: {counted(sum(counts.values()), 'operation')}")
            yield bars(rows, f"Operations {title.lower()}")


def _parameters(story: Story) -> Iterator[Html]:
    rows = [
        [tag("code", each.name), tag("code", each.value), _ORIGINS.get(each.origin, each.origin)]
        for each in story.parameters
    ]
    yield table("", ["Given", "Value", "Where"], rows)
    yield tag("p", "Everything else had its default.", class_="legend")
    if story.without_effect:
        yield tag("h3", "Accepted, and changing nothing")
        yield tag(
            "ul",
            *(
                tag("li", tag("code", name), prose(f": {reason}" if reason else ""))
                for name, reason in story.without_effect.items()
            ),
        )


def _speed(timings: Sequence[Timing]) -> Iterator[Html]:
    yield tag("h3", "Time to load")
    yield bars([(each.runtime, each.load, duration(each.load)) for each in timings], "Time to load")
    yield tag("h3", "Time of an answer, the median")
    rows = [(each.runtime, each.median, milliseconds(each.median)) for each in timings]
    yield bars(rows, "Time of an answer")
    yield tag("h3", "How the answers are spread")
    yield tag("figure", distributions([(each.runtime, each.answers) for each in timings]))
    yield tag(
        "p",
        "On the machine that converted it, one request at a time, with made-up inputs.",
        class_="legend",
    )


def _times(story: Story) -> Iterator[Html]:
    assert story.run
    stages = [(stage.value.capitalize(), spent) for stage, spent in story.run.stages.items()]
    rows = [(name, spent, duration(spent)) for name, spent in stages]
    yield bars(rows, "Time of each stage")
    yield tag(
        "p", f"{duration(story.run.seconds)} in all; some of it happens at the same time.", class_="legend"
    )


def _files(story: Story) -> Iterator[Html]:
    yield _filetable("Read", story.source_files)
    yield _filetable("Published", story.files)
    yield tag("p", "A click selects the whole SHA-256, of which the first digits are shown.", class_="legend")


def _filetable(title: str, entries: Sequence[File]) -> Html:
    rows = [
        [
            join(
                tag("code", file.path), tag("span", f"⚠ {file.fault}", class_="fault") if file.fault else ""
            ),
            size(file.size) if file.size is not None else "",
            tag("code", file.sha256, class_="digest"),
        ]
        for file in entries
    ]
    return table(title, ["Name", "Size", "SHA-256"], rows, numbers=(1,), class_="files") if rows else join()


def _made(story: Story) -> Iterator[Html]:
    rows = [[_PROGRAMS.get(name, name), text] for name, text in story.versions.items()]
    rows += [[f"MLflow artifact: {name}", tag("code", text)] for name, text in story.mlflow.items()]
    if story.minimum_openvino:
        rows.append(["Oldest release that reads it", f"OpenVINO {story.minimum_openvino}"])
    if story.fingerprint:
        rows.append(["Fingerprint", tag("code", story.fingerprint)])
    if story.signed_by:
        rows.append(["Signed with the key (not checked here)", tag("code", story.signed_by)])
    yield table("", ["What", "Which"], rows)


def _foot(story: Story) -> Html:
    return tag(
        "footer",
        tag(
            "p",
            f"From conversion.json of version {story.version}, by ovms-converter {__version__}. ",
            "It holds all of this for programs.",
        ),
    )
