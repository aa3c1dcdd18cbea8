"""What a conversion came to, for a person and for a program."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovms_converter._version import __version__
from ovms_converter.units import duration, milliseconds, size

if TYPE_CHECKING:
    from ovms_converter.pipeline import Outcome, Port, Timing

__all__ = ["outcome_document", "result_line", "summary_lines"]


def summary_lines(
    outcome: "Outcome", *, seconds: float, with_url: bool, terminal_width: int | None
) -> list[str]:
    """A few lines: what it was, what is served now, sizes, times, and the URL.

    `seconds` is the wall time of the whole run; stages may overlap in it. On a terminal of `terminal_width`
    columns the table above the summary shows the times of the stages.
    """
    rows = [
        ("format", [outcome.source_format, outcome.evidence]),
        ("inputs", _ports(outcome.inputs)),
        ("outputs", _ports(outcome.outputs)),
        ("size", [f"{size(outcome.source_bytes)} -> {size(outcome.result_bytes)}"]),
        ("verified", [outcome.verified] if outcome.verified else []),
        ("speed", [_timing(each) for each in outcome.timings]),
        ("time", [duration(seconds) if terminal_width else _times(outcome, seconds)]),
        ("result", [result_line(outcome)]),
        ("url", [outcome.url] if with_url else []),
    ]
    return [
        line
        for name, texts in rows
        for number, text in enumerate(texts)
        for line in _wrapped(f"{'' if number else name:<9} {text}", terminal_width)
    ]


def _wrapped(line: str, width: int | None) -> list[str]:
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, max(width, 40), subsequent_indent=" " * 10, break_on_hyphens=False)


def outcome_document(outcome: "Outcome") -> dict[str, object]:
    """The same as JSON values: sizes in bytes, times in seconds, shapes as text such as `[?,3,224,224]`."""
    return {
        "url": outcome.url,
        "version": outcome.version,
        "published": outcome.published,
        "dry_run": outcome.dry_run,
        "checked_again": outcome.checked_again,
        "source_format": outcome.source_format,
        "evidence": outcome.evidence,
        "inputs": [_port(port) for port in outcome.inputs],
        "outputs": [_port(port) for port in outcome.outputs],
        "source_bytes": outcome.source_bytes,
        "result_bytes": outcome.result_bytes,
        "seconds": {stage.value: round(seconds, 3) for stage, seconds in outcome.seconds.items()},
        "verified": outcome.verified,
        "timings": [
            {
                "runtime": each.runtime,
                "load": round(each.load, 6),
                "answers": [round(one, 9) for one in each.answers],
            }
            for each in outcome.timings
        ],
        "notes": list(outcome.notes),
        "files": list(outcome.files),
        "ovms_converter": __version__,
    }


def _timing(timing: "Timing") -> str:
    return f"{timing.runtime}: loads in {duration(timing.load)}, answers in {milliseconds(timing.median)}"


def _ports(ports: Sequence["Port"]) -> list[str]:
    width = max((len(port.name) for port in ports), default=0)
    return [f"{port.name:<{width}}  {port.type} {port.shape}" for port in ports]


def _port(port: "Port") -> dict[str, str]:
    return {"name": port.name, "type": port.type, "shape": port.shape}


def result_line(outcome: "Outcome") -> str:
    """What became of the run, in one line."""
    if outcome.published:
        return f"version {outcome.version} (new)"
    if outcome.dry_run:
        return f"version {outcome.version} would be published; this was a dry run, nothing was written"
    again = "it was verified again, and passed; " if outcome.checked_again else ""
    same = "is there already: same source, same parameters"
    return f"version {outcome.version} {same}; {again}nothing was written"


def _times(outcome: "Outcome", seconds: float) -> str:
    stages = ", ".join(f"{stage.value} {spent:.2f}" for stage, spent in outcome.seconds.items())
    return f"{duration(seconds)} ({stages})" if stages else duration(seconds)
