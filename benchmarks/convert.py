"""Convert the same models with this project and with `ovc`, side by side, in one run.

    python benchmarks/convert.py [--models mlp-1g,resnet50] [--repeat 5] [--directory DIR]
                                 [--tensorflow PYTHON]

It needs the test requirements, about four times the largest model's size on a disk, and, for SavedModels, a
Python with TensorFlow that makes them; nothing else uses it. For the models see models.py.

`ours` is the whole `convert` command, from a local path to a local repository: it hashes source and result,
loads and runs the result, and has it on the disk when it ends. `ours, off` does not load and run it. `ovc`
writes the same IR, and does none of these. What it left in the system's write buffers is shown as `flush s`:
the time to have the result on the disk after the command has ended.

The tools take turns. Shown are medians: wall time, CPU time, and peak anonymous memory of the process tree
(see measure.py); and how many times ours is better in each.
"""

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measure import Measurement, measure
from models import MODELS, SAVED_MODELS, make

_PEER = "ovc"


@dataclass(frozen=True)
class Run:
    """One run of one tool, and the seconds that flushing its result took afterwards."""

    measured: Measurement
    flush: float


@dataclass(frozen=True)
class Row:
    """The medians over a tool's runs; MiB."""

    wall: float
    cpu: float
    flush: float
    anonymous: float


def commands(model: Path, output: Path, precision: str) -> Mapping[str, Sequence[str]]:
    """What every tool is called with."""
    scripts = Path(sysconfig.get_path("scripts"))
    ours = [str(scripts / "ovms-converter"), "convert", str(model), str(output), "--quiet"]
    ours += ["--data-type", precision]
    compress = f"--compress_to_fp16={precision == 'FP16'}"
    return {
        "ours": ours,
        "ours, off": [*ours, "--verify", "off"],
        _PEER: [str(scripts / _PEER), str(model), "--output_model", str(output / "model.xml"), compress],
    }


def run(command: Sequence[str], output: Path) -> Run:
    """Run a tool into an empty directory, which is gone afterwards."""
    output.mkdir()
    measured = measure(command)
    started = time.perf_counter()
    for path in output.rglob("*"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    flush = time.perf_counter() - started
    shutil.rmtree(output)
    if measured.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed")
    return Run(measured, flush)


def medians(runs: Sequence[Run]) -> Row:
    """The medians, each for itself."""
    return Row(
        median(each.measured.wall for each in runs),
        median(each.measured.cpu for each in runs),
        median(each.flush for each in runs),
        median(each.measured.peak_anonymous for each in runs),
    )


def compare(model: Path, output: Path, precision: str, repeat: int) -> dict[str, Row]:
    """Run all tools in turns."""
    runs: dict[str, list[Run]] = {}
    for _ in range(repeat):
        for tool, command in commands(model, output, precision).items():
            runs.setdefault(tool, []).append(run(command, output))
    return {tool: medians(of_tool) for tool, of_tool in runs.items()}


def lines(name: str, precision: str, rows: Mapping[str, Row]) -> list[str]:
    """A Markdown table row for each tool. The peer's wall time counts with its flush: ours is complete."""
    peer = rows[_PEER]
    told = []
    for tool, row in rows.items():
        times = ""
        if tool != _PEER:
            ratios = (
                (peer.wall + peer.flush) / (row.wall + row.flush),
                peer.cpu / row.cpu,
                peer.anonymous / row.anonymous,
            )
            times = " / ".join(f"{ratio:.1f}" for ratio in ratios)
        told.append(
            f"| {name} | {precision} | {tool} | {row.wall:.2f} | {row.flush:.2f} | {row.cpu:.2f} "
            f"| {row.anonymous:.0f} | {times} |"
        )
    return told


def main() -> int:
    """Make the models, run every tool on each in turn, print one Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ", ".join([*MODELS, *SAVED_MODELS])
    parser.add_argument("--models", default="mlp-1g,resnet50", help=f"of {known}")
    parser.add_argument("--precisions", default="FP32,FP16", help="of FP32 and FP16")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each tool")
    parser.add_argument("--directory", type=Path, help="where models and results are written for a while")
    parser.add_argument("--tensorflow", type=Path, metavar="PYTHON", help="makes the SavedModels")
    options = parser.parse_args()
    print(
        "| model | precision | tool | wall s | flush s | CPU s | peak MiB | times better: wall / CPU / MiB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            model = make(name, Path(directory), options.tensorflow)
            for precision in options.precisions.split(","):
                rows = compare(model, Path(directory, "output"), precision, options.repeat)
                print("\n".join(lines(name, precision, rows)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
