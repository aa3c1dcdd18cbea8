"""A bit that flips on the way is found by the digest that the store tells, or that it is told, with every
kind of store. What a server of plain HTTP tells is tested with its other headers.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from links import set_outrun
from ovms_converter.errors import UnavailableError
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.base import Destination, Source
from ovms_converter.storage.location import Location
from proxy import Fault, Proxy, running_proxy
from servers import GcsBucket

MIB = 1 << 20


class Bucket(Protocol):
    @property
    def endpoint(self) -> str: ...
    def environ(self) -> dict[str, str]: ...
    def url(self, key: str = "") -> str: ...
    def put(self, key: str, data: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def keys(self, prefix: str = "") -> list[str]: ...


@pytest.fixture(params=["s3", "gcs", "google", "azure"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Each of the stores in turn, so slow that digests are taken while the bytes pass."""
    set_outrun(monkeypatch, outrun=False)
    found: Bucket = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    with running_proxy(bucket.endpoint) as running:
        yield running


def through(bucket: Bucket, proxy: Proxy) -> dict[str, str]:
    return {name: text.replace(bucket.endpoint, proxy.endpoint) for name, text in bucket.environ().items()}


def source(bucket: Bucket, proxy: Proxy) -> Source:
    return open_source(Location.parse(bucket.url("m")), through(bucket, proxy))


def destination(bucket: Bucket, proxy: Proxy) -> Destination:
    return open_destination(Location.parse(bucket.url("out")), through(bucket, proxy))


def nothing(count: int) -> None:
    """Progress that nobody reads."""


@pytest.mark.parametrize("size", [MIB, 12 * MIB])
def test_a_bit_that_flips_on_the_way_here_is_repaired(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    bucket.put("m/f", data)
    found = source(bucket, proxy)
    found.list()
    proxy.fault = Fault("flip", after=size // 2)
    found.fetch(["f"], tmp_path, nothing)
    assert proxy.fault.happened == 1
    assert (tmp_path / "f").read_bytes() == data


def test_a_bit_that_flips_every_time_is_an_error(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    bucket.put("m/f", os.urandom(MIB))
    found = source(bucket, proxy)
    found.list()
    # Not at the same place: what is read twice alike may be an ETag that is no digest.
    proxy.fault = Fault("flip", after=MIB // 2, times=None)

    def moves(count: int) -> None:
        proxy.fault = Fault("flip", after=MIB // 3, times=None)

    with pytest.raises(UnavailableError, match=r"m/f` arrives damaged: its MD5 is not the store's") as caught:
        found.fetch(["f"], tmp_path, moves)
    assert caught.value.exit_code == 4


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"conversion.json": b"{}", "m.bin": os.urandom(2 * MIB), "m.xml": b"<net/>"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@pytest.mark.parametrize("others", [0, 30])
def test_a_bit_that_flips_on_the_way_there_is_no_version(
    bucket: Bucket, proxy: Proxy, files: dict[str, Path], tmp_path: Path, others: int
) -> None:
    """Azure refuses it at once, and it is sent again; what the others keep is compared, and taken back. Of
    many files a listing tells the ETags.
    """
    small = {f"small-{number}": tmp_path / f"small-{number}" for number in range(others)}
    for path in small.values():
        path.write_bytes(os.urandom(1000))
    first = {"conversion.json": files.pop("conversion.json")}
    method = b"POST" if isinstance(bucket, GcsBucket) else b"PUT"
    proxy.fault = Fault("flip-sent", after=MIB, method=method)
    found = destination(bucket, proxy)
    if bucket.url().startswith("az:"):
        found.publish("1", first | small | files, nothing)
        assert bucket.get("out/1/m.bin") == files["m.bin"].read_bytes()
    else:
        with pytest.raises(UnavailableError, match=r"m.bin` was stored with other bytes than were sent"):
            found.publish("1", first | small | files, nothing)
        assert bucket.keys("out/") == []
    assert proxy.fault.happened == 1


@pytest.mark.parametrize("server", ["gcs", "azure"])
def test_a_bit_of_a_large_file_that_flips_on_the_way_there(
    server: str, files: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    """Amazon compares the parts with what is signed; the test servers of its protocol do not."""
    bucket: Bucket = request.getfixturevalue(server)
    files["m.bin"].write_bytes(os.urandom(12 * MIB))
    with running_proxy(bucket.endpoint) as proxy:
        proxy.fault = Fault("flip-sent", after=MIB, method=b"PUT")
        found = destination(bucket, proxy)
        if server == "azure":
            found.publish("1", files, nothing)
            assert bucket.get("out/1/m.bin") == files["m.bin"].read_bytes()
        else:
            with pytest.raises(UnavailableError, match="was stored with other bytes than were sent"):
                found.publish("1", files, nothing)
            assert bucket.keys("out/") == []
        assert proxy.fault.happened == 1


def test_what_is_stored_in_blocks_can_be_compared_later(azure_files: Path, azure: Bucket) -> None:
    """The service makes no digest of a list of blocks: it keeps the one that it is told."""
    url = Location.parse(azure.url("out"))
    files = {name: azure_files / name for name in ("conversion.json", "m.bin", "m.xml")}
    open_destination(url, azure.environ()).publish("1", files, nothing)
    with running_proxy(azure.endpoint) as proxy:
        found = open_source(Location.parse(azure.url("out/1")), through(azure, proxy))
        found.list()
        proxy.fault = Fault("flip", after=MIB)
        (azure_files / "here").mkdir()
        found.fetch(["m.bin"], azure_files / "here", nothing)
        assert proxy.fault.happened == 1
    assert (azure_files / "here" / "m.bin").read_bytes() == files["m.bin"].read_bytes()


@pytest.fixture
def azure_files(files: dict[str, Path], tmp_path: Path) -> Path:
    """As `files`, with weights that go up in blocks."""
    files["m.bin"].write_bytes(os.urandom(12 * MIB))
    return tmp_path
