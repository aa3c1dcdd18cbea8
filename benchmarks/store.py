"""The whole step from an object store to an object store, and its parts alone, side by side.

    python benchmarks/store.py [--model mlp-1g] [--repeat 3] [--directory DIR]

It needs the test requirements (`rclone serve s3` is the store, on this machine) and about six times the
model's size on a disk. The store runs on the same cores as what is measured, and its files are on the same
disk; its CPU time is not counted.

`whole` is `convert s3://... s3://...`. Each part is a process of its own: `download` brings the source to a
directory with this project's storage, `convert` is the command from a local path to a local repository, and
`upload` publishes the files that `convert` wrote. The tools take turns; shown are medians.
"""

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from measure import Measurement, measure
from models import MODELS, make

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from servers import S3Server, run_rclone

_DOWNLOAD = """
import os, sys
from pathlib import Path
from ovms_converter.storage import open_source
from ovms_converter.storage.location import Location
source = open_source(Location.parse(sys.argv[1]), os.environ)
source.fetch([entry.path for entry in source.list().entries], Path(sys.argv[2]), lambda count: None)
"""
_UPLOAD = """
import os, sys
from pathlib import Path
from ovms_converter.storage import open_destination
from ovms_converter.storage.location import Location
destination = open_destination(Location.parse(sys.argv[1]), os.environ)
files = {path.name: path for path in sorted(Path(sys.argv[2]).iterdir())}
destination.publish("1", files, lambda count: None)
"""
_PARTS = ("download", "convert", "upload")


def commands(model: str, work: Path, precision: str, served: str) -> Mapping[str, Sequence[str]]:
    """What is run, in this order: an upload publishes what the conversion before it wrote.

    `served` is a prefix of the bucket that was never used: the store remembers what it had.
    """
    program = [str(Path(sysconfig.get_path("scripts"), "ovms-converter")), "convert", "--quiet"]
    program += ["--data-type", precision]
    return {
        "whole": [*program, f"s3://bucket/source/{model}", f"s3://bucket/{served}/whole"],
        "download": [sys.executable, "-c", _DOWNLOAD, "s3://bucket/source", str(work / "source")],
        "convert": [*program, str(work / "source" / model), str(work / "served")],
        "upload": [sys.executable, "-c", _UPLOAD, f"s3://bucket/{served}/upload", str(work / "served" / "1")],
    }


def one_round(
    server: S3Server, bucket: Path, model: str, work: Path, precision: str, number: int
) -> dict[str, Measurement]:
    """Run everything once; what was written is gone afterwards."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= server.environ() | {"TMPDIR": str(work)}
    served = f"served-{precision}-{number}"
    (work / "source").mkdir()
    measured = {}
    for name, command in commands(model, work, precision, served).items():
        measured[name] = measure(command, environ=environ)
        if measured[name].returncode:
            raise SystemExit(f"`{name}` failed")
    for directory in (bucket / served, work / "source", work / "served"):
        shutil.rmtree(directory)
    return measured


def main() -> int:
    """Start a store, put the model into it, run everything in turns, print one Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mlp-1g", choices=MODELS)
    parser.add_argument("--precisions", default="FP32,FP16", help="of FP32 and FP16")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each")
    parser.add_argument("--directory", type=Path, help="where everything is written for a while")
    options = parser.parse_args()
    print("| precision | what | wall s | CPU s | peak MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory, work = Path(name), Path(name, "work")
        work.mkdir()
        with run_rclone(directory) as server:
            bucket = directory / "objects" / "bucket"
            (bucket / "source").mkdir(parents=True)
            model = make(options.model, bucket / "source").name
            for precision in options.precisions.split(","):
                rounds = [
                    one_round(server, bucket, model, work, precision, number)
                    for number in range(options.repeat)
                ]
                _show(precision, rounds)
    return 0


def _show(precision: str, rounds: Sequence[Mapping[str, Measurement]]) -> None:
    rows = {
        name: (
            median(each[name].wall for each in rounds),
            median(each[name].cpu for each in rounds),
            median(each[name].peak_anonymous for each in rounds),
        )
        for name in rounds[0]
    }
    for name, (wall, cpu, peak) in rows.items():
        print(f"| {precision} | {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")
    wall, cpu = (rows["whole"][column] / sum(rows[part][column] for part in _PARTS) for column in (0, 1))
    print(f"| {precision} | whole / sum of parts | {wall:.2f} | {cpu:.2f} | |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
