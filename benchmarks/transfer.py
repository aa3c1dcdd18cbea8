"""Copy files from and to an S3 server with this project's storage and with other programs, in one run.

    python benchmarks/transfer.py [--repeat 5] [--sizes 1g,500x200k] [--peers s5cmd,rclone,aws,boto3]

    1g         one file of 1 GiB
    500x200k   500 files of 200 kB below one prefix

The server is `floor_server.py`, which costs as little as a server can, or `rclone serve s3` (`--server
rclone`), told to make its ETags without reading the files; `--endpoint` names another one, with the keys in
`AWS_*` and its bucket in `--bucket`. Every program
runs as a process of its own, start included, one after the other, and the whole round is repeated, each time
begun with another program: the median by wall time is shown, with its ratio to the fastest. Peak memory is
anonymous memory of the process (see measure.py). A program that is not installed is left out and named; one
that takes longer than `--limit` seconds has failed. `--directory /dev/shm` keeps the disk out of it.

`ours` takes the SHA-256 of what it brings, of a large file only if the link is slower than 300 MB/s (on a
faster one the pipeline takes it beside the conversion), and looks after each upload whether the object has
its size; `boto3` is `upload_file` and `download_file` with their defaults, 10 files at a time.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from measure import Measurement, measure

_KEYS = {"AWS_ACCESS_KEY_ID": "AKIDBENCHMARK", "AWS_SECRET_ACCESS_KEY": "benchmark-secret"}
_READY_SECONDS = 30
_ONE = str(Path(__file__).with_name("transfer_one.py"))

SIZES: Mapping[str, tuple[int, int]] = {"1g": (1, 1 << 30), "500x200k": (500, 200_000)}
"""Name → number of files and the bytes of each."""


@dataclass(frozen=True)
class Store:
    """A server, its bucket, and the environment that lets any of the programs reach it."""

    endpoint: str
    bucket: str
    environ: Mapping[str, str]

    def url(self, prefix: str) -> str:
        """`s3://BUCKET/PREFIX`."""
        return f"s3://{self.bucket}/{prefix}"


@contextlib.contextmanager
def running_store(kind: str, directory: Path) -> Iterator[Store]:
    """A server of files below `directory`, until the block ends."""
    (directory / "bench").mkdir(parents=True)
    port = 18_000 + os.getpid() % 10_000
    command = [sys.executable, str(Path(__file__).with_name("floor_server.py")), str(directory), str(port)]
    rclone = [
        _program("rclone") or "rclone", "serve", "s3", str(directory), "--addr", f"127.0.0.1:{port}",
        "--auth-key", ",".join(_KEYS.values()), "--etag-hash", "none", "--log-level", "ERROR",
    ]  # fmt: skip
    if kind == "rclone":
        command = rclone
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait(server, endpoint)
        yield Store(endpoint, "bench", _environ(endpoint, _KEYS))
    finally:
        server.terminate()
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", endpoint: str) -> None:
    port = int(endpoint.rpartition(":")[2])
    deadline = time.monotonic() + _READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the server did not start")


def _environ(endpoint: str, keys: Mapping[str, str]) -> Mapping[str, str]:
    remote = {
        "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": endpoint, "FORCE_PATH_STYLE": "true",
        "ACCESS_KEY_ID": keys["AWS_ACCESS_KEY_ID"], "SECRET_ACCESS_KEY": keys["AWS_SECRET_ACCESS_KEY"],
    }  # fmt: skip
    return {
        **os.environ, **keys,
        "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint, "S3_ENDPOINT_URL": endpoint, "S3_ENDPOINT": endpoint,
        **{f"RCLONE_CONFIG_BENCH_{name}": value for name, value in remote.items()},
    }  # fmt: skip


def _program(name: str) -> str | None:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def _commands(store: Store, peers: Sequence[str]) -> dict[str, Callable[[str, str, Path], list[str]]]:
    """Program → a function of direction, prefix and directory that gives its command line."""
    remote = f"bench:{store.bucket}"

    def here(tool: str) -> Callable[[str, str, Path], list[str]]:
        return lambda way, prefix, directory: [
            sys.executable, _ONE, tool, way, store.url(prefix), str(directory)
        ]  # fmt: skip

    def s5cmd(way: str, prefix: str, directory: Path) -> list[str]:
        place = f"{store.url(prefix)}/"
        return [str(_program("s5cmd")), "--log", "error", "cp"] + (
            [f"{place}*", f"{directory}/"] if way == "down" else [f"{directory}/", place]
        )

    def rclone(way: str, prefix: str, directory: Path) -> list[str]:
        ends = [f"{remote}/{prefix}", str(directory)]
        flags = ["--transfers", "16", "--config", "/dev/null", "--s3-no-check-bucket"]
        return [str(_program("rclone")), "copy", *flags, *(ends if way == "down" else ends[::-1])]

    def aws(way: str, prefix: str, directory: Path) -> list[str]:
        ends = [store.url(prefix), str(directory)]
        flags = ["--recursive", "--only-show-errors"]
        return [str(_program("aws")), "s3", "cp", *flags, *(ends if way == "down" else ends[::-1])]

    found: dict[str, Callable[[str, str, Path], list[str]]] = {"ours": here("ours")}
    others = {"s5cmd": s5cmd, "rclone": rclone, "aws": aws}
    found |= {
        peer: command
        for peer, command in others.items()
        if peer in peers and _works([str(_program(peer)), "--version" if peer == "aws" else "version"])
    }
    if "boto3" in peers and _works([sys.executable, "-c", "import boto3"]):
        found["boto3"] = here("boto3")
    return found


def _works(command: Sequence[str]) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _make(directory: Path, count: int, size: int) -> None:
    directory.mkdir()
    for number in range(count):
        with (directory / f"f{number:04}").open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(os.urandom(min(1 << 20, size - start)))


def _median(runs: Sequence[Measurement]) -> Measurement:
    middle = median_low(run.wall for run in runs)
    return next(run for run in runs if run.wall == middle)


def _rounds(
    store: Store,
    commands: Mapping[str, Callable[[str, str, Path], list[str]]],
    size: str,
    options: argparse.Namespace,
    work: Path,
) -> dict[tuple[str, str], list[Measurement]]:
    """Every program up and then down, in turn, as often as the options say."""
    local = work / size
    _make(local, *SIZES[size])
    expected = sorted((path.name, path.stat().st_size) for path in local.iterdir())
    runs: dict[tuple[str, str], list[Measurement]] = {}
    limit = ["timeout", "--signal", "KILL", str(options.limit)]
    tools = list(commands)
    for number in range(options.repeat):
        turn = number % len(tools)
        for tool in tools[turn:] + tools[:turn]:
            command, prefix = commands[tool], f"{size}/{tool}-{number}"
            up = measure([*limit, *command("up", prefix, local)], environ=store.environ)
            target = work / "target"
            target.mkdir()
            down = measure([*limit, *command("down", prefix, target)], environ=store.environ)
            arrived = sorted((path.name, path.stat().st_size) for path in target.rglob("*") if path.is_file())
            if arrived != expected:
                down = Measurement(1, down.wall, down.cpu, down.peak_anonymous, down.peak_resident)
            runs.setdefault(("up", tool), []).append(up)
            runs.setdefault(("down", tool), []).append(down)
            shutil.rmtree(target)
            shutil.rmtree(work / "objects" / store.bucket / size, ignore_errors=True)
    shutil.rmtree(local)
    return runs


def _compare(store: Store, options: argparse.Namespace, work: Path) -> int:
    peers = options.peers.split(",")
    commands = _commands(store, peers)
    if missing := [peer for peer in peers if peer not in commands]:
        print(f"not installed, left out: {', '.join(missing)}")
    failed = False
    print(f"{'files':10}{'way':6}{'program':9}{'wall s':>8}{'ratio':>7}{'CPU s':>8}{'peak MiB':>10}")
    for size in options.sizes.split(","):
        runs = _rounds(store, commands, size, options, work)
        for way in ("down", "up"):
            medians = {tool: _median(runs[way, tool]) for tool in commands}
            broken = {tool for tool in commands if any(run.returncode for run in runs[way, tool])}
            failed |= bool(broken)
            best = min(run.wall for tool, run in medians.items() if tool not in broken)
            for tool, run in medians.items():
                told = f"{run.wall:8.2f}{run.wall / best:7.2f}{run.cpu:8.2f}{run.peak_anonymous:10.0f}"
                print(f"{size:10}{way:6}{tool:9}{'  failed' if tool in broken else told}", flush=True)
    return 1 if failed else 0


def main() -> int:
    """Compare; 1 if a run failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"of {', '.join(SIZES)}")
    parser.add_argument("--peers", default="s5cmd,rclone,aws,boto3", help="the programs to compare with")
    parser.add_argument("--repeat", type=int, default=5, help="rounds, of which the median is shown")
    parser.add_argument("--limit", type=int, default=60, help="seconds that one copy may take")
    parser.add_argument("--directory", type=Path, help="for files and objects; needs 4 GiB")
    parser.add_argument("--server", choices=("floor", "rclone"), default="floor", help="the server to run")
    parser.add_argument("--endpoint", help="a server to use instead, keys in `AWS_*`; objects stay there")
    parser.add_argument("--bucket", default="bench", help="the bucket of `--endpoint`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        work = Path(directory)
        if options.endpoint:
            store = Store(options.endpoint, options.bucket, _environ(options.endpoint, os.environ))
            return _compare(store, options, work)
        with running_store(options.server, work / "objects") as store:
            return _compare(store, options, work)


if __name__ == "__main__":
    sys.exit(main())
