"""Broken connections between the program and a real server: files arrive whole, or an error says what is
wrong.
"""

import asyncio
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from links import set_outrun
from ovms_converter.errors import AlreadyExistsError, UnavailableError
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.base import Destination, Source
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.location import Location
from proxy import Fault, Proxy, running_proxy
from servers import S3Bucket

MIB = 1 << 20


@pytest.fixture(autouse=True)
def digests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast this machine is, the digest is taken while the bytes pass, and compared in these tests."""
    set_outrun(monkeypatch, outrun=False)


@pytest.fixture
def proxy(s3: S3Bucket) -> Iterator[Proxy]:
    with running_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def data() -> bytes:
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(24 * MIB // 32))


def environ(s3: S3Bucket, proxy: Proxy) -> dict[str, str]:
    return s3.environ() | {"S3_ENDPOINT": proxy.endpoint, "S3_READ_TIMEOUT": "1"}


def source(s3: S3Bucket, proxy: Proxy) -> Source:
    return open_source(Location.parse(s3.url("m")), environ(s3, proxy))


def destination(s3: S3Bucket, proxy: Proxy) -> Destination:
    return open_destination(Location.parse(s3.url("ovms")), environ(s3, proxy))


def nothing(count: int) -> None:
    """Progress that nobody reads."""


def fetched(found: Source, directory: Path) -> tuple[bytes, int]:
    """The bytes of the one file and what progress told of it."""
    moved: list[int] = []
    tree = found.fetch([entry.path for entry in found.list().entries], directory, moved.append)
    (file,) = tree.files
    arrived = (tree.root / file.path).read_bytes()
    assert file.sha256 == hashlib.sha256(arrived).hexdigest()
    return arrived, sum(moved)


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", after=3 * MIB, times=None),
        Fault("truncate", after=5 * MIB, times=2),
        Fault("stall", after=5 * MIB),
        Fault("503", method=b"GET", times=4),
        Fault("longer"),
        Fault("shorter"),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_file_arrives_through_faults(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path, fault: Fault, in_parts: bool
) -> None:
    if in_parts:
        s3.put_in_parts("m/f", data, 8 * MIB)
    else:
        s3.put("m/f", data)
    s3.put("m/", b"")
    found = source(s3, proxy)
    fault.happened = 0
    proxy.fault = fault
    arrived, moved = fetched(found, tmp_path)
    assert fault.happened > 0
    assert arrived == data
    assert moved == len(data)


def test_a_flipped_bit_is_found_and_repaired(s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path) -> None:
    s3.put("m/f", data)
    found = source(s3, proxy)
    proxy.fault = Fault("flip", after=2 * MIB)
    arrived, moved = fetched(found, tmp_path)
    assert proxy.fault.happened == 1
    assert arrived == data
    assert moved == len(data)


def test_bits_that_flip_for_ever_are_an_error(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    s3.put("m/f", data)
    found = source(s3, proxy)
    proxy.fault = Fault("flip", after=2 * MIB, times=None)
    with pytest.raises(UnavailableError, match=r"`s3://.*/m/f` arrives damaged"):
        fetched(found, tmp_path)


def test_an_etag_that_is_no_digest_is_no_damage(s3: S3Bucket) -> None:
    """A store that encrypts with a key of its own gives an ETag that looks like an MD5 and is none."""
    key = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "test"}
    s3.client.put_object(Bucket=s3.name, Key="m/f", Body=b"12345", **key)
    s3.put("m/g", b"12345")
    bucket = vars(open_source(Location.parse(s3.url("m")), s3.environ()))["_bucket"]
    wrong = Checksum("MD5", b"0" * 16)

    async def meant(key: str) -> Checksum | None:
        found: Checksum | None = await bucket.confirmed(key, await bucket.head(key), wrong)
        return found

    assert asyncio.run(meant("m/g")) == wrong
    assert asyncio.run(meant("m/f")) == Checksum("CRC32", zlib.crc32(b"12345").to_bytes(4, "big"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [Fault("cut", after=1, times=None), Fault("503", times=None)], ids=lambda f: f.kind
)
def test_faults_for_ever_are_unavailable(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path, fault: Fault
) -> None:
    s3.put("m/f", data)
    found = source(s3, proxy)
    found.list()
    fault.happened = 0
    proxy.fault = fault
    with pytest.raises(UnavailableError) as caught:
        fetched(found, tmp_path)
    assert caught.value.exit_code == 4
    assert proxy.endpoint in caught.value.message


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"conversion.json": b"{}", "m.bin": os.urandom(12 * MIB), "m.xml": b"<net/>"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def assert_published(s3: S3Bucket, files: dict[str, Path], directory: str = "ovms/1") -> None:
    assert s3.keys(directory) == [f"{directory}/{name}" for name in files]
    for name, path in files.items():
        assert s3.get(f"{directory}/{name}") == path.read_bytes()


@pytest.mark.parametrize(
    "fault",
    [Fault("503", method=b"PUT", times=2), Fault("lost", method=b"PUT"), Fault("lost", method=b"POST")],
    ids=lambda fault: f"{fault.kind}-{fault.method.decode()}",
)
def test_a_version_is_published_through_faults(
    s3: S3Bucket, proxy: Proxy, files: dict[str, Path], fault: Fault
) -> None:
    found = destination(s3, proxy)
    fault.happened = 0
    proxy.fault = fault
    moved: list[int] = []
    found.publish("1", files, moved.append)
    assert fault.happened > 0
    assert_published(s3, files)


def test_a_lost_answer_is_not_taken_for_another_run(
    s3: S3Bucket, proxy: Proxy, files: dict[str, Path]
) -> None:
    """The claim arrives, its answer does not: the repeated claim finds our own object."""
    proxy.fault = Fault("lost", method=b"PUT")
    destination(s3, proxy).publish("1", files, nothing)
    assert_published(s3, files)
    with pytest.raises(AlreadyExistsError):
        destination(s3, proxy).publish("1", files, nothing)


@pytest.mark.parametrize("server", ["s3", "s3_unconditional"])
def test_an_upload_in_parts_whose_last_answer_is_lost_is_there(
    server: str, files: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    """The store completes the upload; the repeated request may find no upload any more."""
    bucket: S3Bucket = request.getfixturevalue(server)
    files["m.bin"].write_bytes(os.urandom(40 * MIB))
    with running_proxy(bucket.endpoint) as proxy:
        proxy.fault = Fault("lost", method=b"POST", spared=1)
        destination(bucket, proxy).publish("1", files, nothing)
        assert proxy.fault.happened == 1
    assert_published(bucket, files)


def test_a_store_that_dies_leaves_nothing_that_a_server_loads(
    s3: S3Bucket, proxy: Proxy, files: dict[str, Path]
) -> None:
    found = destination(s3, proxy)

    def dies(count: int) -> None:
        proxy.dead = True

    with pytest.raises(UnavailableError):
        found.publish("1", files, dies)
    assert s3.keys("ovms/1/m.xml") == []
    proxy.dead = False
    destination(s3, proxy).publish("2", files, nothing)
    assert_published(s3, files, "ovms/2")
