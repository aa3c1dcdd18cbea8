"""The stages of a run as a table that is redrawn in place; the only module that imports rich."""

import time
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ovms_converter.cli.display import Display, level_of
from ovms_converter.cli.output import Output
from ovms_converter.events import Event, Note, Stage, StageFinished, StageProgress, StageStarted, StageTotal
from ovms_converter.units import duration, rate, size

__all__ = ["LiveDisplay"]

_NARROW = 72


@dataclass
class _Row:
    """A stage on the screen: `since` on the monotonic clock, `seconds` its wall time once it is through."""

    since: float
    total: int | None
    done: int = 0
    seconds: float | None = None
    in_place: bool = False


class LiveDisplay(Display):
    """A row for each stage: bar, bytes, rate and time. It stays on the screen when the run ends."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rows: dict[Stage, _Row] = {}
        self._failed = False
        self._unicode = (output.stderr.encoding or "").lower().replace("-", "") == "utf8"
        self._console = Console(
            file=output.stderr,
            force_terminal=True,
            no_color=not output.colour,
            highlight=False,
            soft_wrap=False,
        )
        self._spinners = {stage: Spinner("dots" if self._unicode else "line") for stage in Stage}
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=12)

    def __enter__(self) -> "LiveDisplay":
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Draw the last state and leave it there, with a mark at the stage that did not come through."""
        self._failed = kind is not None
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one event into the table, or print a note above it."""
        if isinstance(event, StageStarted):
            self._rows[event.stage] = _Row(time.monotonic(), event.total)
        elif isinstance(event, StageTotal):
            if row := self._rows.get(event.stage):
                row.total = event.total
        elif isinstance(event, StageProgress):
            if row := self._rows.get(event.stage):
                row.done = event.done
        elif isinstance(event, StageFinished):
            row = self._rows.setdefault(event.stage, _Row(time.monotonic(), None))
            row.seconds = event.seconds
            row.done = event.moved
            row.in_place = event.in_place
        elif isinstance(event, Note) and self._output.shows(level_of(event)):
            self._print(event)

    def _print(self, note: Note) -> None:
        text = Text(self._output.scrub(note.text))
        if note.level == "warning":
            text = Text.assemble(("warning", "bold yellow"), ": ", text)
        self._console.print(text, soft_wrap=True)

    def _table(self) -> Table:
        wide = self._console.width >= _NARROW
        table = Table.grid(padding=(0, 1), expand=False)
        table.add_column(width=1)
        table.add_column(width=9, no_wrap=True)
        if wide:
            table.add_column(width=16)
        table.add_column(width=19 if wide else 9, justify="right", no_wrap=True)
        if wide:
            table.add_column(width=11, justify="right", no_wrap=True)
        table.add_column(width=11, justify="right", no_wrap=True)
        now = time.monotonic()
        for stage, row in list(self._rows.items()):
            seconds = now - row.since if row.seconds is None else row.seconds
            bar, moved, speed = self._moved(row, seconds, wide)
            cells: list[RenderableType] = [self._mark(stage, row), Text(stage.value)]
            cells += [Text(moved), Text(duration(seconds))]
            if wide:
                cells = [*cells[:2], bar, cells[2], Text(speed), cells[3]]
            table.add_row(*cells)
        return table

    def _mark(self, stage: Stage, row: _Row) -> Spinner | Text:
        if row.seconds is not None:
            return Text("✓" if self._unicode else "*", "green")
        if self._failed:
            return Text("✗" if self._unicode else "x", "red")
        return self._spinners[stage]

    def _moved(self, row: _Row, seconds: float, wide: bool) -> tuple[ProgressBar | Text, str, str]:
        """Bar, bytes and rate of a row; all empty for a stage that moves nothing."""
        if row.in_place:
            return Text(""), "in place", ""
        if not row.total and not row.done:
            return Text(""), "", ""
        finished = row.seconds is not None
        total = row.done if finished else row.total
        bar = ProgressBar(total=total or None, completed=row.done, width=16)
        moved = size(row.done)
        if row.total and not finished:
            moved = f"{moved} / {size(row.total)}" if wide else f"{row.done / row.total:.0%}"
        return bar, moved, rate(row.done, seconds)
