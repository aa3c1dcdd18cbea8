"""The pictures of a report: lists whose rows have an SVG between a name and a figure.

The pictures are drawn in percent of their width, so that they fit a phone and a sheet of paper, and show
nothing that the text beside them does not tell: screen readers skip them.
"""

import math
from collections.abc import Iterator, Sequence

from ovms_converter.engine.job import OutputComparison
from ovms_converter.report.markup import Html, join, tag
from ovms_converter.units import milliseconds

__all__ = ["bars", "differences", "distributions"]

_LEAST_DECADES = 3
_WIDTH_OF_LABELS = 4
"""So many labels fit below an axis on a phone."""


def bars(rows: Sequence[tuple[str, float, str]], label: str) -> Html:
    """Horizontal bars: each row has a name, a value of at least 0, and the value as a person reads it.

    `label` says what they are to who cannot see them.
    """
    longest = max((value for _, value, _ in rows), default=0) or 1
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("span", name, class_="label"),
                tag(
                    "svg",
                    tag("rect", x=0, y=0, width="100%", height="100%", rx=3, class_="track"),
                    tag("rect", x=0, y=0, width=_percent(value / longest), height="100%", rx=3, class_="bar"),
                    class_="bar-row",
                    aria_hidden="true",
                ),
                tag("span", shown, class_="value"),
            )
            for name, value, shown in rows
        ),
        class_="chart",
        role="list",
        aria_label=label,
    )


def differences(outputs: Sequence[OutputComparison]) -> Html:
    """The largest absolute (a disc) and relative (a square) difference of each output, on a log scale.

    No difference at all stands left of the scale, what is not finite on its right edge.
    """
    scale = _Scale([value for each in outputs for value in (each.max_abs, each.max_rel)])
    rows = [
        tag(
            "li",
            tag("span", tag("code", each.name), class_="label"),
            tag(
                "svg",
                *scale.grid(),
                tag("line", x1=0, x2="100%", y1="50%", y2="50%", class_="axis"),
                _square(scale.place(each.max_rel)),
                tag("circle", cx=_percent(scale.place(each.max_abs)), cy="50%", r=4, class_="disc"),
                class_="dot-row",
                aria_hidden="true",
            ),
            class_="wide",
        )
        for each in outputs
    ]
    axis = tag(
        "li",
        tag("span", class_="label"),
        tag("svg", *scale.labels(), class_="axis-row"),
        class_="wide",
        aria_hidden="true",
    )
    key = tag(
        "p",
        tag("svg", tag("circle", cx="50%", cy="50%", r=4, class_="disc"), class_="key", aria_hidden="true"),
        " largest absolute difference ",
        tag("svg", _square(0.5), class_="key", aria_hidden="true"),
        " largest relative difference; each step to the left is ten times less",
        class_="legend",
    )
    return join(
        key,
        tag(
            "ul", *rows, axis, class_="chart", role="list", aria_label="Differences of each output, log scale"
        ),
    )


def distributions(rows: Sequence[tuple[str, Sequence[float]]]) -> Html:
    """One histogram a row over an axis that all share; each has a name and times in seconds.

    The axis ends where nearly all of the slowest row have answered: a few that took much longer, as happens
    on a machine that does something else as well, count in its last column.
    """
    end = max(_nearly_all(values) for _, values in rows)
    drawn = []
    for name, values in rows:
        counts = [0] * _COLUMNS
        for value in values:
            counts[min(int(value / end * _COLUMNS), _COLUMNS - 1)] += 1
        highest = max(counts)
        columns = [
            tag(
                "rect",
                x=_percent(index / _COLUMNS),
                y=_percent(1 - count / highest),
                width=_percent(0.9 / _COLUMNS),
                height=_percent(count / highest),
                class_="bar",
            )
            for index, count in enumerate(counts)
            if count
        ]
        drawn.append(
            tag(
                "li",
                tag("span", name, class_="label"),
                tag("svg", *columns, class_="histogram-row", aria_hidden="true"),
                tag("span", f"{len(values)} answers", class_="value"),
            )
        )
    axis = tag(
        "li",
        tag("span", class_="label"),
        tag("svg", *(_tick(share, end) for share in (0, 0.5, 1)), class_="axis-row"),
        tag("span", class_="value"),
        aria_hidden="true",
    )
    return tag("ul", *drawn, axis, class_="chart", role="list", aria_label="Spread of the answers")


_COLUMNS = 40
_NEARLY_ALL = 0.98


def _nearly_all(values: Sequence[float]) -> float:
    """A time that nearly all are below, and some room."""
    ordered = sorted(values)
    return 1.1 * ordered[int(_NEARLY_ALL * (len(ordered) - 1))] or 1.0


def _tick(share: float, end: float) -> Html:
    """A time below the axis, within its ends."""
    place = "tick first" if not share else "tick last" if share == 1 else "tick"
    return tag("text", milliseconds(share * end) if share else "0", x=_percent(share), y="75%", class_=place)


class _Scale:
    """A log scale over the decades of some values, with room at the left for zero."""

    def __init__(self, values: Sequence[float]) -> None:
        logs = [math.log10(value) for value in values if 0 < value < math.inf]
        self.low = math.floor(min(logs, default=-9))
        self.high = max(math.floor(max(logs, default=-6)) + 1, self.low + _LEAST_DECADES)

    def place(self, value: float) -> float:
        """Where a value stands, 0 to 1; zero has a place of its own."""
        if value <= 0:
            return _ZERO
        if not value < math.inf:
            return 1 - _ZERO
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return _START + share * (1 - _ZERO - _START)

    def grid(self) -> Iterator[Html]:
        """A line at each power of ten, and one at zero."""
        places = [_ZERO, *(self.place(10.0**power) for power in self._powers())]
        for place in places:
            yield tag("line", x1=_percent(place), x2=_percent(place), y1=0, y2="100%", class_="grid")

    def labels(self) -> Iterator[Html]:
        """Some of the powers of ten, no more than fit, and zero."""
        yield _label(_ZERO, "0")
        powers = list(self._powers())
        for power in powers[:: max(1, math.ceil(len(powers) / _WIDTH_OF_LABELS))]:
            yield _label(self.place(10.0**power), f"1e{power}" if power else "1")

    def _powers(self) -> range:
        first, last = max(self.low, _LOWEST), min(self.high, _HIGHEST)
        return range(first, last + 1, max(1, (last - first) // _MOST_LINES))


_ZERO = 0.03
_START = 0.12
_LOWEST, _HIGHEST = -307, 308
"""The powers of ten that a float can hold."""
_MOST_LINES = 24


def _square(place: float) -> Html:
    """A hollow square, wider than a disc in the same place, at a share of the width.

    Its middle is put there by the style.
    """
    return tag("rect", x=_percent(place), y="50%", width=12, height=12, class_="square")


def _label(place: float, text: str) -> Html:
    return tag("text", text, x=_percent(place), y="75%", class_="tick")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
