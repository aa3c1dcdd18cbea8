"""What one run tells while it goes on, and what it learns from that itself."""

import os
import threading
from pathlib import Path

from ovms_converter.events import Event, Listener, Note, Stage, StageFinished, StageStarted, StageTotal
from ovms_converter.foresight import shortfalls
from ovms_converter.request import ConversionRequest
from ovms_converter.stages import Stages
from ovms_converter.storage.base import FetchedTree

__all__ = ["Telling"]


class Telling:
    """Passes events on to the user's listener.

    `stage`      reports a stage of this process
    `seconds`    wall time of each stage that is through, of the child's too
    `converted`  is set once the child has written the result
    """

    def __init__(self, request: ConversionRequest, listener: Listener) -> None:
        self.seconds: dict[Stage, float] = {}
        self.stage = Stages(self)
        self.converted = threading.Event()
        self._request = request
        self._listener = listener
        self._work: Path | None = None

    def __call__(self, event: Event) -> None:
        """Pass an event on. How large the source is tells what the rest will take."""
        if isinstance(event, StageFinished):
            self.seconds[event.stage] = event.seconds
            if event.stage is Stage.CONVERT:
                self.converted.set()
        self._listener(event)
        if isinstance(event, StageStarted | StageTotal) and event.stage is Stage.FETCH and event.total:
            self._foresee(event.total)

    def info(self, text: str) -> None:
        """Tell a line that a user may want to read."""
        self(Note("info", text))

    def warn(self, text: str) -> None:
        """Tell a line that a user should read."""
        self(Note("warning", text))

    def begins(self, work: Path) -> None:
        """The run reads from now on, with its temporary files in `work`."""
        self._work = work
        wanted = os.environ.get("TMPDIR")
        if wanted and not work.is_relative_to(Path(wanted).absolute()):
            self.warn(f"`TMPDIR` is `{wanted}`, where no file can be written: `{work.parent}` is used")
        if self._request.output.scheme in ("http", "https"):
            self.info("OVMS reads no http(s) URL: what is published there has to be copied to where it reads")
        arguments = self._request.arguments
        if arguments.without_effect:
            self.info(f"accepted without an effect: {', '.join(arguments.without_effect)}")
        given = arguments.to_values().keys() - {*arguments.without_effect, "log_level"}
        if given and self._request.output_format != "openvino":
            self.warn(
                f"the model is published as it is, without what was asked for: {', '.join(sorted(given))}"
            )

    def fetched(self, tree: FetchedTree) -> None:
        """The source is on this machine. A local one was never on its way, and no event told its size."""
        if not self._request.input.is_remote:
            self._foresee(sum(file.size for file in tree.files))

    def _foresee(self, source_bytes: int) -> None:
        """Warn, once, if a disk or the memory looks too small for a source of this size."""
        if self._work is None:
            return
        found = list(shortfalls(self._request, source_bytes, self._work))
        for shortfall in found:
            self.warn(shortfall)
        if found:
            self._work = None
