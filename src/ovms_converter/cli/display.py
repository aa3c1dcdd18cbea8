"""The stages of a run as lines on stderr: for a person who reads a log, or for a program."""

import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ovms_converter.cli.output import Level, Output
from ovms_converter.events import Event, Note, Stage, StageFinished, StageProgress, StageStarted, StageTotal
from ovms_converter.units import duration, rate, size

__all__ = ["Display", "JsonDisplay", "LineDisplay", "level_of", "open_display"]

_HEARTBEAT_SECONDS = 10.0
_LEVELS = {"debug": Level.DEBUG, "info": Level.INFO, "warning": Level.WARNING}


def level_of(note: Note) -> Level:
    """The level from which a note is shown."""
    return _LEVELS[note.level]


class Display(AbstractContextManager["Display"]):
    """A listener that shows events while it is open."""

    def __call__(self, event: Event) -> None:
        """Show one event; may be called from any thread."""
        raise NotImplementedError


def open_display(output: Output) -> Display:
    """The display that fits the terminal and the settings."""
    if output.settings.log_format == "json":
        return JsonDisplay(output)
    if output.terminal and output.shows(Level.INFO):
        from ovms_converter.cli.live import LiveDisplay

        return LiveDisplay(output)
    return LineDisplay(output)


@dataclass
class _Running:
    """A stage that has begun and not ended: `since` on the monotonic clock, `done` and `total` in bytes."""

    since: float
    total: int | None
    done: int = 0


class LineDisplay(Display):
    """One line for each stage when it is through, and one every ten seconds while it runs."""

    def __init__(self, output: Output, heartbeat_seconds: float = _HEARTBEAT_SECONDS) -> None:
        self._output = output
        self._heartbeat_seconds = heartbeat_seconds
        self._running: dict[Stage, _Running] = {}
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "LineDisplay":
        """Begin to tell what takes long."""
        if self._output.shows(Level.INFO):
            self._heart.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self._closed.set()
        if self._heart.ident is not None:
            self._heart.join()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StageStarted):
            self._running[event.stage] = _Running(time.monotonic(), event.total)
        elif isinstance(event, StageTotal):
            if running := self._running.get(event.stage):
                running.total = event.total
        elif isinstance(event, StageProgress):
            if running := self._running.get(event.stage):
                running.done = event.done
        elif isinstance(event, StageFinished):
            self._running.pop(event.stage, None)
            self.show_finished(event)
        elif isinstance(event, Note):
            self.show_note(event)

    def show_finished(self, event: StageFinished) -> None:
        """A stage is through."""
        facts = [f"{event.stage.value:<9}", f"{duration(event.seconds):>9}"]
        if event.moved:
            speed = rate(event.moved, event.seconds)
            facts.append(f"{size(event.moved)} ({speed})" if speed else size(event.moved))
        if event.in_place:
            facts.append("read in place")
        if event.detail:
            facts.append(event.detail)
        self._info("  ".join(facts))

    def show_note(self, event: Note) -> None:
        """A note, if the level lets it through."""
        level = level_of(event)
        if self._output.shows(level):
            label = f"{self._output.label('warning')}: " if level is Level.WARNING else ""
            self._output.line(label + event.text)

    def show_running(self, stage: Stage, seconds: float, done: int, total: int | None) -> None:
        """A stage takes long."""
        of_total = f" of {size(total)} ({100 * done // total} %)" if total else ""
        facts = [f"{duration(seconds)} so far"]
        if done:
            facts += [f"{size(done)}{of_total}", rate(done, seconds)]
        self._info(f"{stage.value}: {', '.join(filter(None, facts))}")

    def _info(self, text: str) -> None:
        if self._output.shows(Level.INFO):
            self._output.line(text)

    def _beat(self) -> None:
        while not self._closed.wait(self._heartbeat_seconds):
            now = time.monotonic()
            for stage, running in list(self._running.items()):
                if now - running.since >= self._heartbeat_seconds:
                    self.show_running(stage, now - running.since, running.done, running.total)


class JsonDisplay(LineDisplay):
    """The same moments as lines of JSON: `level`, `message`, `event`, and the figures as fields."""

    def show_finished(self, event: StageFinished) -> None:
        """A stage is through."""
        self._record(
            f"{event.stage.value} finished",
            {
                "event": "stage-finished",
                "stage": event.stage.value,
                "seconds": round(event.seconds, 3),
                "bytes": event.moved,
                "in_place": event.in_place,
                "detail": event.detail,
            },
        )

    def show_note(self, event: Note) -> None:
        """A note, if the level lets it through."""
        level = level_of(event)
        if self._output.shows(level):
            self._output.record(level, event.text, {"event": "note"})

    def show_running(self, stage: Stage, seconds: float, done: int, total: int | None) -> None:
        """A stage takes long."""
        self._record(
            f"{stage.value} is running",
            {
                "event": "stage-running",
                "stage": stage.value,
                "seconds": round(seconds, 3),
                "bytes": done,
                "total": total,
            },
        )

    def _record(self, text: str, fields: Mapping[str, object]) -> None:
        if self._output.shows(Level.INFO):
            self._output.record(Level.INFO, text, fields)
