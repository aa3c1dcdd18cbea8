"""A command line in this process, with streams to look at, and a pipeline that does what a test says."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ovms_converter.events import Listener, Note, Stage, StageFinished, StageProgress, StageStarted

if TYPE_CHECKING:
    from ovms_converter.pipeline import Outcome
    from ovms_converter.request import ConversionRequest


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """stdout as the one JSON document that it must be."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def records(self) -> list[dict[str, Any]]:
        """stderr as lines of JSON."""
        return [json.loads(line) for line in self.err.splitlines()]


@dataclass
class CommandLine:
    """`command("convert", ...)` runs a command line; `environ` is its whole environment."""

    environ: dict[str, str]
    results: Path
    terminal: bool = False
    out: io.StringIO = field(default_factory=io.StringIO)

    def __call__(self, *argv: str, **environ: str) -> Finished:
        from ovms_converter.cli.app import execute

        self.out, err = (Terminal(), Terminal()) if self.terminal else (io.StringIO(), io.StringIO())
        code = execute(
            argv,
            environ=self.environ | environ,
            results_directory=self.results,
            stdout=self.out,
            stderr=err,
        )
        return Finished(code, self.out.getvalue(), err.getvalue())


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """A command line without any setting."""
    results = tmp_path / "results"
    results.mkdir()
    return CommandLine({"TERM": "xterm-256color"}, results)


@dataclass
class FakePipeline:
    """Stands for the pipeline: remembers requests, tells of stages, raises `error` or gives an outcome."""

    requests: list["ConversionRequest"] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    before: Callable[[], None] | None = None
    published: bool = True
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, tuple[str, str]]:
        """The only request's parameters: name → value and origin."""
        (request,) = self.requests
        return {name: (item.value, item.origin) for name, item in request.parameters.items()}

    def run(
        self, request: "ConversionRequest", *, environ: Mapping[str, str], listener: Listener
    ) -> "Outcome":
        """What `pipeline.run` is."""
        from ovms_converter.pipeline import Outcome, Port

        self.requests.append(request)
        self.environ = environ
        listener(StageStarted(Stage.FETCH, str(request.input), 2_000_000))
        listener(StageProgress(Stage.FETCH, 1_000_000))
        if self.before:
            self.before()
        if self.error:
            raise self.error
        listener(StageFinished(Stage.FETCH, 0.5, 2_000_000, str(request.input)))
        listener(StageStarted(Stage.CONVERT))
        listener(Note("debug", "a detail"))
        listener(Note("info", "a fact"))
        for note in self.notes:
            listener(Note("warning", note))
        listener(StageFinished(Stage.CONVERT, 1.25))
        return Outcome(
            url=request.output.text,
            version=3,
            published=self.published,
            source_format="onnx",
            evidence="`model.onnx` is an ONNX graph",
            inputs=(Port("image", "f32", "[?,3,224,224]"), Port("mask", "i64", "[?]")),
            outputs=(Port("scores", "f32", "[?,10]"),),
            source_bytes=2_000_000,
            result_bytes=1_000_400,
            seconds={Stage.FETCH: 0.5, Stage.CONVERT: 1.25},
            notes=self.notes,
            verified="loaded and run on CPU",
            files=("3/model.bin", "3/model.xml"),
            dry_run=self.dry_run,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """The pipeline, replaced."""
    from ovms_converter import pipeline

    fake = FakePipeline()
    monkeypatch.setattr(pipeline, "run", fake.run)
    return fake
