"""Conversions in this process, into one directory, and what they told."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovms_converter.events import Event, StageStarted
from ovms_converter.pipeline import Outcome, run
from ovms_converter.request import Given, build_request

__all__ = ["Conversions"]


@dataclass
class Conversions:
    """`convert(source, parameter=value)` publishes in `destination`; `events` are the last one's."""

    destination: str
    environ: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __call__(self, source: str, **parameters: str) -> Outcome:
        self.events.clear()
        given = {"input_model": source, "output_model": self.destination, "verify": "off"} | parameters
        request = build_request({name: Given(value, "argument") for name, value in given.items()})
        return run(request, environ=self.environ, listener=self.events.append)

    @property
    def stages(self) -> list[str]:
        """The stages that the last one began."""
        return [event.stage.value for event in self.events if isinstance(event, StageStarted)]

    def record(self, version: int = 1) -> dict[str, Any]:
        """The record of a version in a directory."""
        path = Path(self.destination, str(version), "conversion.json")
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
