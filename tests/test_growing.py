"""A file is hashed and flushed while it grows, and the digest is that of the complete file."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ovms_converter import growing
from ovms_converter.growing import digest_of_growing, write_back_growing

PARTS = [os.urandom(size) for size in (1, 1 << 20, 3, 2_500_000)]


def test_the_digest_is_that_of_the_complete_file(tmp_path: Path) -> None:
    path, finished = tmp_path / "weights.bin", threading.Event()
    with ThreadPoolExecutor() as pool:
        digest = pool.submit(digest_of_growing, path, finished)
        with path.open("wb", buffering=0) as file:
            for part in PARTS:
                file.write(part)
                finished.wait(0.02)
        assert not digest.done()
        finished.set()
        assert digest.result() == hashlib.sha256(b"".join(PARTS)).hexdigest()


@pytest.mark.parametrize("other", [b"short", b"longer than it was before"])
def test_a_file_that_is_written_anew_is_hashed_anew(tmp_path: Path, other: bytes) -> None:
    path, finished = tmp_path / "weights.bin", threading.Event()
    path.write_bytes(b"first contents")
    with ThreadPoolExecutor() as pool:
        digest = pool.submit(digest_of_growing, path, finished)
        finished.wait(0.05)
        (tmp_path / "other").write_bytes(other)
        (tmp_path / "other").replace(path)
        finished.set()
        assert digest.result() == hashlib.sha256(other).hexdigest()


def test_a_file_that_never_comes_ends_with_the_conversion(tmp_path: Path) -> None:
    finished = threading.Event()
    finished.set()
    with pytest.raises(FileNotFoundError):
        digest_of_growing(tmp_path / "none", finished)
    write_back_growing(tmp_path / "none", finished)


def test_it_goes_to_the_disk_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = threading.Event()
    monkeypatch.setattr(growing, "_AT_ONCE", 1 << 20)
    monkeypatch.setattr(os, "fsync", lambda _: flushed.set())
    path, finished = tmp_path / "weights.bin", threading.Event()
    with ThreadPoolExecutor() as pool:
        written = pool.submit(write_back_growing, path, finished)
        path.write_bytes(b"\0" * (1 << 20))
        assert flushed.wait(30)
        finished.set()
        written.result()
