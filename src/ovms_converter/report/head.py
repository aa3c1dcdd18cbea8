"""The head of the page: the answers to what is asked first, and what a reader should know before all else."""

from ovms_converter.formats import FORMATS
from ovms_converter.report.markup import Html, capital, join, prose, tag
from ovms_converter.report.story import Story
from ovms_converter.units import duration, size

__all__ = ["head", "source_title"]


def head(story: Story) -> Html:
    """The `<header>` of the page."""
    published = story.published
    when = f" · published {published.day} {published:%B %Y, %H:%M %Z}" if published else ""
    return tag(
        "header",
        tag("p", f"Model conversion report · version {story.version}{when}", class_="eyebrow"),
        tag("h1", story.name),
        _facts(story),
        _notice(story),
    )


def _facts(story: Story) -> Html:
    """The answers to what is asked first."""
    facts = [
        ("Verified", _verdict(story), story.verification),
        ("Converted from", capital(source_title(story)), ""),
        ("Published size", size(story.result_bytes), _change(story)),
        ("Needs", f"OpenVINO {story.minimum_openvino}" if story.minimum_openvino else "", "or later"),
        ("Took", duration(story.run.seconds) if story.run else "", story.run.result if story.run else ""),
    ]
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value, tag("small", prose(more)) if more else ""))
            for name, value, more in facts
            if value
        ),
        class_="facts",
    )


def _verdict(story: Story) -> str:
    if not story.verification or story.verification.startswith("not verified"):
        return "✗ No"
    return "✓ Compared with its source" if story.comparison else "✓ Loaded"


def source_title(story: Story) -> str:
    """What a sentence calls the source, as "an ONNX model"."""
    titles = {each.name: each.title for each in FORMATS}
    return titles.get(story.source_format, story.source_format)


def _change(story: Story) -> str:
    """How the size changed, in words."""
    before, after = story.source_bytes, story.result_bytes
    if not before or not after:
        return ""
    share = round(100 * (after - before) / before)
    if not share:
        return f"as large as its source, {size(before)}"
    return f"{abs(share)} % {'smaller' if share < 0 else 'larger'} than its source"


def _notice(story: Story) -> Html:
    """What a reader should know before anything else."""
    faults = [f"`{file.path}` is not what was published: {file.fault}" for file in story.files if file.fault]
    lines = [*faults, *story.notes]
    if not lines:
        return join()
    return tag(
        "section",
        tag("h2", f"⚠ {'One thing' if len(lines) == 1 else f'{len(lines)} things'} to know", id="notes"),
        tag("ul", *(tag("li", prose(line)) for line in lines)),
        class_="notice",
        aria_labelledby="notes",
    )
