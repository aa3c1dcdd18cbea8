"""Large files of a store that sends them so fast that the program brings them by threads of its own."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from links import set_fast, watched_pulls
from ovms_converter.errors import ResourceError
from ovms_converter.storage import open_source, pulling
from ovms_converter.storage.base import FetchedFile, Progress
from ovms_converter.storage.location import Location
from ovms_converter.storage.receiving import Segment, Wanted
from ovms_converter.storage.store_errors import SourceChangedError
from proxy import Fault, Proxy, running_proxy
from servers import S3Bucket
from standin import Asked, Store, Stored, running_store

MIB = 1 << 20


@pytest.fixture(autouse=True)
def fast_link(monkeypatch: pytest.MonkeyPatch) -> None:
    set_fast(monkeypatch)


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(MIB) * 40


@pytest.fixture
def proxy(s3: S3Bucket) -> Iterator[Proxy]:
    with running_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def store(data: bytes) -> Iterator[Store]:
    with running_store() as running:
        running.objects["m"] = Stored(data, f'"{"0" * 32}-5"')
        yield running


def nothing(count: int) -> None:
    """Progress that nobody reads."""


def fetched(
    url: str, environ: dict[str, str], directory: Path, progress: Progress = nothing
) -> tuple[bytes, FetchedFile]:
    found = open_source(Location.parse(url), environ)
    tree = found.fetch([entry.path for entry in found.list().entries], directory, progress)
    (file,) = tree.files
    return (tree.root / file.path).read_bytes(), file


def environ_of(store: Store) -> dict[str, str]:
    return {
        "S3_ENDPOINT": store.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
    }


def pulled(store: Store) -> list[Asked]:
    """What was asked for by our own requests, not obstore's."""
    return [asked for asked in store.of("GET") if "urllib3" in asked.headers["user-agent"]]


def range_of(asked: Asked) -> tuple[int, int]:
    start, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
    return int(start), int(last) + 1


def test_all_but_the_first_piece_is_pulled_and_no_byte_twice(
    store: Store, data: bytes, tmp_path: Path
) -> None:
    moved: list[int] = []
    arrived, file = fetched("s3://b/m", environ_of(store), tmp_path, moved.append)
    assert arrived == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(moved) == len(data)
    ranges = sorted(map(range_of, pulled(store)))
    assert [ranges[0][0], ranges[-1][1]] == [8 * MIB, 40 * MIB]
    assert [end for _, end in ranges[:-1]] == [start for start, _ in ranges[1:]]
    assert {asked.headers["if-match"] for asked in pulled(store)} == {store.objects["m"].etag}


@pytest.mark.parametrize("key", ["m/f", "m/a b+c=ü%2F~.bin"])
def test_the_store_takes_the_requests(
    s3: S3Bucket, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """It compares the signatures."""
    is_whole = watched_pulls(monkeypatch)
    s3.put(key, data)
    arrived, file = fetched(s3.url("m"), s3.environ(), tmp_path)
    assert arrived == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert is_whole
    assert all(is_whole)


def test_without_keys_nothing_is_signed(store: Store, data: bytes, tmp_path: Path) -> None:
    arrived, _ = fetched("s3://b/m", environ_of(store) | {"AWS_NO_SIGN_REQUEST": "1"}, tmp_path)
    assert arrived == data
    assert pulled(store)
    assert not any("authorization" in asked.headers for asked in store.asked)


@pytest.mark.parametrize("after", [0, 12 * MIB], ids=["early", "late"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", after=3 * MIB, times=None),
        Fault("truncate", after=5 * MIB),
        Fault("stall", after=2 * MIB),
        Fault("503", method=b"GET", times=4),
        Fault("longer"),
        Fault("shorter"),
        Fault("flip", after=MIB),
        Fault("answer", answer=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", method=b"GET"),
        Fault("answer", answer=b"HTTP/1.1 206 OK\r\nContent-Length: 3\r\n\r\nabc", method=b"GET"),
        Fault("answer", answer=b"nonsense\r\n\r\n", method=b"GET"),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_file_arrives_through_faults(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path, fault: Fault, after: int
) -> None:
    """The faults begin when so many bytes have come."""
    s3.put("m/f", data)
    fault.happened = 0
    moved: list[int] = []

    def progress(count: int) -> None:
        moved.append(count)
        if sum(moved) > after:
            proxy.fault = fault

    environ = s3.environ() | {"S3_ENDPOINT": proxy.endpoint, "S3_READ_TIMEOUT": "1"}
    arrived, file = fetched(s3.url("m"), environ, tmp_path, progress)
    assert fault.happened > 0
    assert arrived == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(moved) == len(data)


def test_another_object_of_the_same_size_is_noticed(s3: S3Bucket, data: bytes, tmp_path: Path) -> None:
    s3.put("m/f", data)

    def replaced(count: int) -> None:
        if s3.get("m/f")[:1] == data[:1]:
            s3.put("m/f", bytes(1) + data[1:])

    with pytest.raises(SourceChangedError):
        fetched(s3.url("m"), s3.environ(), tmp_path, replaced)


def test_a_redirect_is_not_followed(store: Store, data: bytes, tmp_path: Path) -> None:
    """The signature stays at home; whether the store sends the bytes is found out as ever."""
    with running_store() as other, running_proxy(store.endpoint) as proxy:
        other.objects["m"] = store.objects["m"]
        target = f"{other.endpoint}/b/m".encode()
        answer = b"HTTP/1.1 307 Elsewhere\r\nLocation: " + target + b"\r\nContent-Length: 0\r\n\r\n"

        def progress(count: int) -> None:
            if not proxy.fault.happened:
                proxy.fault = Fault("answer", answer=answer, method=b"GET", times=2)

        arrived, _ = fetched(
            "s3://b/m", environ_of(store) | {"S3_ENDPOINT": proxy.endpoint}, tmp_path, progress
        )
        assert arrived == data
        assert proxy.fault.happened == 2
        assert [asked for asked in other.asked if "urllib3" in asked.headers["user-agent"]] == []


def test_a_full_disk_is_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pulling, "write_at", full)
    with pytest.raises(ResourceError):
        fetched("s3://b/m", environ_of(store), tmp_path)


def test_who_is_stopped_while_the_store_is_silent_goes_at_once(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    s3.put("m/f", data)
    environ = s3.environ() | {"S3_ENDPOINT": proxy.endpoint}
    bucket = vars(open_source(Location.parse(s3.url("m")), environ))["_bucket"]
    handle = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)

    async def main() -> None:
        wanted = Wanted("m/f", "f", len(data), await bucket.head("m/f"))
        proxy.fault = Fault("stall", after=5 * MIB)
        segment = Segment(0, len(data))
        task = asyncio.create_task(bucket.puller.pull(wanted, segment, handle, nothing))
        while not segment.position:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)

    before = set(threading.enumerate())
    asyncio.run(main())
    # The number may be another file's by now: the thread has one of its own, and ends soon.
    os.close(handle)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "storage-request":
            thread.join(5)
            assert not thread.is_alive()
    assert (tmp_path / "f").read_bytes() == data[: 4 * MIB]
