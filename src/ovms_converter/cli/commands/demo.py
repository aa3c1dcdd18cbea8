"""`ovms-converter demo`: the main job once, on this machine, and nothing left behind."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ovms_converter.cli.help import help_option, render
from ovms_converter.cli.output import Output
from ovms_converter.cli.session import Session
from ovms_converter.units import size

if TYPE_CHECKING:
    from ovms_converter.demo.store import Entry

__all__ = ["command"]

_SOURCE = "runs/42/artifacts/model"
_TARGET = "models/digits"
_KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "NO_COLOR",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
)
_TEXT = """\
Starts a throw-away S3-compatible server on this machine, puts a small Keras
model into it as MLflow would, converts it from there into a model repository
there, and asks the published model what a few handwritten digits are. It needs
no account and no network, takes seconds, and leaves nothing behind."""


class _Demo(click.Command):
    """The command with its help."""

    def get_help(self, ctx: click.Context) -> str:
        """What will happen."""
        return render(
            usage=ctx.command_path,
            text=_TEXT,
            examples=["pip install 'ovms-converter[demo]'", "ovms-converter demo"],
            sections=[("Options", [("-h, --help", "Show this and exit")])],
        )


@click.pass_obj
def _demo(session: Session, /) -> int:
    from ovms_converter.cli.app import execute
    from ovms_converter.demo.store import BUCKET, throw_away_store

    output = session.output
    with throw_away_store() as store:
        source, target = f"s3://{BUCKET}/{_SOURCE}", f"s3://{BUCKET}/{_TARGET}"
        output.result("A Keras network that reads handwritten digits, as MLflow stores it:\n")
        store.put_tree(Path(__file__).parents[2] / "demo" / "model", _SOURCE)
        _show_tree(output, store.entries(_SOURCE), source)
        output.result(
            f"\n$ export S3_ENDPOINT={store.endpoint} AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=..."
        )
        output.result(f"$ ovms-converter convert {source} {target} --batch 1\n")
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        code = execute(
            ["convert", source, target, "--batch", "1"],
            environ=kept | store.environ,
            stdout=output.stdout,
            stderr=output.stderr,
        )
        if code:
            return code
        output.result("\nWhat OpenVINO Model Server now finds there:\n")
        entries = store.entries(_TARGET)
        _show_tree(output, entries, target)
        with tempfile.TemporaryDirectory(prefix="ovms-converter-demo-") as directory:
            store.fetch(_TARGET, [entry.path for entry in entries], Path(directory))
            (xml,) = Path(directory).glob("1/*.xml")
            _show_answers(output, xml)
    return 0


def _show_tree(output: Output, entries: Iterable["Entry"], root: str) -> None:
    output.result(f"  {root}/")
    rows = [(entry.path, size(entry.size or 0)) for entry in entries]
    width = max(len(path) for path, _ in rows)
    for path, bytes_ in rows:
        output.result(f"    {path:<{width}}  {bytes_:>7}")


def _show_answers(output: Output, model: Path) -> None:
    from ovms_converter.demo.digits import classify

    answers = classify(model)
    output.result("\nThe published model, asked about digits that it has never seen:\n")
    drawings = [answer.digit.drawn() for answer in answers]
    for row in zip(*drawings, strict=True):
        output.result("  " + "  ".join(row).rstrip())
    captions = [f"it is a {answer.answer} ({answer.probability:.0%})" for answer in answers]
    output.result("  " + "  ".join(f"{text:<{len(drawings[0][0])}}" for text in captions).rstrip())
    output.result("\nThe server is gone now, and all that was in it. Your turn:")
    output.result("  ovms-converter convert --help")


command = _Demo("demo", callback=_demo, params=[help_option()], add_help_option=False)
