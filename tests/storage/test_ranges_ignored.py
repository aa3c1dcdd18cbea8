"""A store that answers a request for a part as if it were one for the whole: each byte passes about once."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovms_converter.storage import open_source
from ovms_converter.storage.base import Source
from ovms_converter.storage.location import Location
from proxy import Fault, Proxy, running_proxy
from servers import S3Bucket

MIB = 1 << 20
SIZE = 96 * MIB
READ_AHEAD = 16 * MIB
"""What buffers between the store and a reader that stops may hold."""


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def proxy(s3_unconditional: S3Bucket, data: bytes) -> Iterator[Proxy]:
    """`rclone serve s3` answers every request for a part with 200."""
    s3_unconditional.put("m/f", data)
    with running_proxy(s3_unconditional.endpoint) as running:
        yield running


def source(bucket: S3Bucket, proxy: Proxy) -> Source:
    return open_source(Location.parse(bucket.url("m/f")), bucket.environ() | {"S3_ENDPOINT": proxy.endpoint})


def test_a_look_at_the_beginning_does_not_bring_the_rest(
    s3_unconditional: S3Bucket, proxy: Proxy, data: bytes
) -> None:
    assert source(s3_unconditional, proxy).read("f", MIB, 1000) == data[MIB : MIB + 1000]
    assert proxy.answered < READ_AHEAD


def test_looks_that_go_forward_share_one_stream(
    s3_unconditional: S3Bucket, proxy: Proxy, data: bytes
) -> None:
    found = source(s3_unconditional, proxy)
    for start in range(0, SIZE, 8 * MIB - 77):
        assert found.read("f", start, 100) == data[start : start + 100]
        assert found.read("f", start + 50, 3) == data[start + 50 : start + 53]
    assert found.read("f", SIZE - 10, 100) == data[-10:]
    assert found.read("f", SIZE, 100) == b""
    assert proxy.answered < SIZE + READ_AHEAD
    assert found.read("f", 5, 5) == data[5:10]


def test_a_stream_that_breaks_between_two_looks(
    s3_unconditional: S3Bucket, proxy: Proxy, data: bytes
) -> None:
    found = source(s3_unconditional, proxy)
    assert found.read("f", 1, 1) == data[1:2]
    proxy.fault = Fault("cut", after=SIZE // 3)
    for start in range(0, SIZE, 10 * MIB):
        assert found.read("f", start, 100) == data[start : start + 100]
    assert proxy.fault.happened == 1


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_large_file_comes_as_one_stream(
    s3_unconditional: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path, looks_first: bool
) -> None:
    found = source(s3_unconditional, proxy)
    found.list()
    if looks_first:
        found.read("f", 0, 100)
    proxy.answered = proxy.gets = 0
    (file,) = found.fetch(["f"], tmp_path, lambda count: None).files
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    # The one further request is the one that shows that ranges are ignored, if nothing showed it before.
    assert proxy.gets <= (1 if looks_first else 2)
    assert proxy.answered < SIZE + READ_AHEAD


def test_a_stream_that_breaks_is_read_again_from_the_beginning(
    s3_unconditional: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    found = source(s3_unconditional, proxy)
    found.list()
    proxy.fault = Fault("cut", after=SIZE // 2, times=2)
    (file,) = found.fetch(["f"], tmp_path, lambda count: None).files
    assert proxy.fault.happened > 0
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_a_part_that_is_called_the_whole_is_a_part(google: S3Bucket, tmp_path: Path) -> None:
    """`rclone serve s3` answers a range with 200, a `Content-Range` and the part's length."""
    data = bytes(range(256)) * 2000
    google.put("m/model.bin", data)
    source = open_source(Location.parse(f"{google.endpoint}/{google.name}/m/model.bin"), {})
    assert source.size_of("model.bin") == len(data)
    assert source.read("model.bin", 300_000, 1000) == data[300_000:301_000]
    source.fetch(["model.bin"], tmp_path, lambda count: None)
    assert (tmp_path / "model.bin").read_bytes() == data
