"""A large file through a connection that is cut again and again: it arrives whole, in little memory; and
what passes for it on a connection that is not.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovms_converter.storage import large_file, open_source
from ovms_converter.storage.location import Location
from proxy import Fault, running_proxy
from servers import free_port, served

MIB = 1 << 20
MEMORY = 150 * MIB
SERVER = Path(__file__).parents[2] / "benchmarks" / "floor_server.py"

FETCH = """
import os, re, sys
from pathlib import Path
from ovms_converter.storage import open_source
from ovms_converter.storage.location import Location

source = open_source(Location.parse(sys.argv[1]), os.environ)
moved = []
source.fetch([source.list().entries[0].path], Path(sys.argv[2]), moved.append)
# Not `ru_maxrss`: that begins with the memory of the process that started this one.
status = Path("/proc/self/status").read_text()
print(sum(moved), int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) << 10)
"""


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The directory of a bucket, and the server of its files: plain HTTP and S3 at once, with ranges."""
    directory = tmp_path / "objects" / "bucket"
    directory.mkdir(parents=True)
    port = free_port()
    with served([sys.executable, str(SERVER), str(directory.parent), str(port)], port, tmp_path / "log"):
        yield directory, f"http://127.0.0.1:{port}"


def made(path: Path, size: int) -> str:
    """A file of random bytes, and its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(0, size, MIB):
            block = os.urandom(MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(MIB):
            digest.update(block)
    return digest.hexdigest()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize(("size", "every"), [(64, 1), pytest.param(1024, 8, marks=pytest.mark.slow)])
def test_a_large_file_arrives_through_a_connection_that_is_cut_all_the_time(
    objects: tuple[Path, str], tmp_path: Path, scheme: str, size: int, every: int
) -> None:
    """Sizes in MiB."""
    directory, endpoint = objects
    expected = made(directory / "model.onnx", size * MIB)
    (tmp_path / "here").mkdir()
    with running_proxy(endpoint) as proxy:
        proxy.fault = Fault("cut", after=every * MIB, times=None)
        url = "s3://bucket/model.onnx" if scheme == "s3" else f"{proxy.endpoint}/bucket/model.onnx"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        done = subprocess.run(
            [sys.executable, "-c", FETCH, url, str(tmp_path / "here")],
            env={**os.environ, **keys, "S3_ENDPOINT": proxy.endpoint},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # Each answer is cut anew, and the last of what one request asked for may come whole.
        assert proxy.fault.happened >= size // every // 2
    moved, memory = map(int, done.stdout.split())
    assert digest_of(tmp_path / "here" / "model.onnx") == expected
    assert moved == size * MIB
    assert memory < MEMORY


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_large_file_passes_once_however_many_connections_bring_it(
    objects: tuple[Path, str], tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is left before its answer's end holds bytes that another one brings again."""
    monkeypatch.setattr(large_file, "FAST", float("inf"))
    monkeypatch.setattr(large_file, "GROWTH", 0)
    monkeypatch.setattr(large_file, "GROWTH_SECONDS", 0.01)
    directory, endpoint = objects
    size = 96 * MIB
    expected = made(directory / "model.onnx", size)
    (tmp_path / "here").mkdir()
    with running_proxy(endpoint) as proxy:
        url = "s3://bucket/model.onnx" if scheme == "s3" else f"{proxy.endpoint}/bucket/model.onnx"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        source = open_source(Location.parse(url), {**keys, "S3_ENDPOINT": proxy.endpoint})
        source.fetch([source.list().entries[0].path], tmp_path / "here", lambda count: None)
        assert proxy.connections > 2
        assert proxy.answered < size * 1.01
    assert digest_of(tmp_path / "here" / "model.onnx") == expected
