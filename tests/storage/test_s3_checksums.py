"""A bit that flips in an object whose ETag is no MD5 of it is found by the checksum that the store tells when
it is asked, and nothing but a flipped bit is ever taken for one.
"""

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from links import set_outrun
from ovms_converter.errors import UnavailableError
from ovms_converter.storage import open_source
from ovms_converter.storage.base import Entry, FetchedFile, Side
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.crc import CRC32C, CRC64NVME, Crc, Polynomial
from ovms_converter.storage.gs import GoogleAccess
from ovms_converter.storage.heads import google_head
from ovms_converter.storage.location import Location
from ovms_converter.storage.witness import Witness
from proxy import Fault, Proxy, running_proxy
from servers import GcsBucket, S3Bucket
from standin import Store, Stored, running_store

MIB = 1 << 20
SIZES = (5 * MIB, 5 * MIB, 2 * MIB + 77)
SECRET, TOKEN = "a-very-secret-key", "a-session-token"


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(sum(SIZES))


@pytest.fixture(params=[False, True], ids=["slow link", "fast link"], autouse=True)
def link(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the bytes outrun the SHA-256, so that it is left for later."""
    set_outrun(monkeypatch, outrun=request.param)


@pytest.fixture
def store() -> Iterator[Store]:
    with running_store() as running:
        yield running


def nothing(count: int) -> None:
    """Progress that nobody reads."""


def crc(polynomial: Polynomial, data: bytes) -> bytes:
    found = Crc(polynomial)
    found.update(data)
    return found.digest()


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def parts_of(data: bytes, sizes: tuple[int, ...] = SIZES) -> list[bytes]:
    return [data[sum(sizes[:number]) :][:size] for number, size in enumerate(sizes)]


def put_with_checksum(s3: S3Bucket, key: str, data: bytes, algorithm: str, kind: str) -> None:
    """An upload in parts, with checksums of Amazon's own program."""
    where: dict[str, Any] = {"Bucket": s3.name, "Key": key}
    begun = s3.client.create_multipart_upload(**where, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    where["UploadId"] = begun["UploadId"]
    parts = []
    for number, part in enumerate(parts_of(data), 1):
        answer = s3.client.upload_part(**where, PartNumber=number, Body=part, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})


KINDS = pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("CRC32", "FULL_OBJECT"), ("CRC32", "COMPOSITE"), ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE")],
)


@pytest.fixture
def proxy(s3: S3Bucket) -> Iterator[Proxy]:
    with running_proxy(s3.endpoint) as running:
        yield running


def fetched(url: str, environ: dict[str, str], directory: Path, progress: Any = nothing) -> FetchedFile:
    found = open_source(Location.parse(url), environ)
    (entry,) = found.list().entries
    directory.mkdir(exist_ok=True)
    return found.fetch([entry.path], directory, progress).files[0]


@KINDS
def test_a_flipped_bit_of_an_object_in_parts_is_repaired(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path, algorithm: str, kind: str
) -> None:
    put_with_checksum(s3, "m/a key+with=ü%20.bin", data, algorithm, kind)
    proxy.fault = Fault("flip", after=6 * MIB)
    moved: list[int] = []
    environ = s3.environ() | {"S3_ENDPOINT": proxy.endpoint}
    fetched(s3.url("m/a key+with=ü%20.bin"), environ, tmp_path / "here", moved.append)
    assert proxy.fault.happened == 1
    (file,) = (tmp_path / "here").iterdir()
    assert file.read_bytes() == data
    assert sum(moved) == len(data)


@KINDS
def test_bits_that_flip_every_time_are_an_error_that_names_the_checksum(
    s3: S3Bucket, proxy: Proxy, data: bytes, tmp_path: Path, algorithm: str, kind: str
) -> None:
    put_with_checksum(s3, "m/f", data, algorithm, kind)
    proxy.fault = Fault("flip", after=3 * MIB, times=None)
    name = algorithm.replace("SHA", "SHA-")
    with pytest.raises(
        UnavailableError, match=f"m/f` arrives damaged: its {name} is not the store's"
    ) as told:
        fetched(s3.url("m/f"), s3.environ() | {"S3_ENDPOINT": proxy.endpoint}, tmp_path)
    assert told.value.exit_code == 4


def test_an_object_in_parts_without_any_checksum_arrives(s3: S3Bucket, data: bytes, tmp_path: Path) -> None:
    s3.put_in_parts("m/f", data, 5 * MIB)
    fetched(s3.url("m/f"), s3.environ(), tmp_path)
    assert (tmp_path / "f").read_bytes() == data


def environ_of(store: Store, **more: str) -> dict[str, str]:
    return {
        "S3_ENDPOINT": store.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIDTEST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        **more,
    }


def arrives(store: Store, stored: Stored, directory: Path, **more: str) -> bool:
    """Whether the object comes, and as it is."""
    store.objects["f"] = stored
    fetched("s3://b/f", environ_of(store, **more), directory)
    return (directory / "f").read_bytes() == stored.data


OF_PARTS = f'"{"0" * 32}-3"'


def full(polynomial: Polynomial, data: bytes) -> dict[str, str]:
    name = "crc32c" if polynomial is CRC32C else "crc64nvme"
    return {f"x-amz-checksum-{name}": b64(crc(polynomial, data)), "x-amz-checksum-type": "FULL_OBJECT"}


def composite(data: bytes, sizes: tuple[int, ...] = SIZES) -> dict[str, str]:
    digest = crc(CRC32C, b"".join(crc(CRC32C, part) for part in parts_of(data, sizes)))
    return {"x-amz-checksum-crc32c": f"{b64(digest)}-{len(sizes)}", "x-amz-checksum-type": "COMPOSITE"}


def told_by_kind(kind: str, data: bytes) -> dict[str, str]:
    if kind == "composite":
        return composite(data)
    return full(CRC32C if kind == "CRC32C" else CRC64NVME, data)


@pytest.mark.parametrize("kind", ["CRC32C", "CRC64NVME", "composite"])
def test_a_flipped_bit_shows_in_what_only_amazon_tells(
    store: Store, data: bytes, tmp_path: Path, kind: str
) -> None:
    stored = Stored(data, OF_PARTS, told_by_kind(kind, data), SIZES, flips=[6 * MIB])
    assert arrives(store, stored, tmp_path)
    assert stored.flips == []
    stored.flips = [5, 8 * MIB]
    with pytest.raises(UnavailableError, match=r"its CRC(32C|64NVME) is not the store's") as told:
        arrives(store, stored, tmp_path)
    assert SECRET not in f"{told.value.message}{told.value.hint}"
    assert TOKEN not in f"{told.value.message}{told.value.hint}"


def test_damage_in_the_store_itself_is_an_error(store: Store, data: bytes, tmp_path: Path) -> None:
    """It arrives twice alike, and parts are as large as was thought."""
    stored = Stored(data[:-1] + b"?", OF_PARTS, composite(data[:-1] + b"!"), SIZES)
    with pytest.raises(UnavailableError, match="its CRC32C is not the store's"):
        arrives(store, stored, tmp_path)


def test_parts_of_other_sizes_are_no_damage(store: Store, data: bytes, tmp_path: Path) -> None:
    """The first tells nothing of the others: all are asked for, and the file is not brought again."""
    sizes = (5 * MIB, 2 * MIB + 77, 5 * MIB)
    stored = Stored(data, OF_PARTS, composite(data, sizes), sizes)
    assert arrives(store, stored, tmp_path)
    assert store.downloads == 1


def test_parts_that_cannot_be_of_one_size_are_asked_for_at_once(
    store: Store, data: bytes, tmp_path: Path
) -> None:
    sizes = (MIB, 5 * MIB, 6 * MIB + 77)
    assert arrives(store, Stored(data, OF_PARTS, composite(data, sizes), sizes, flips=[6 * MIB]), tmp_path)
    assert len(store.for_checksums) >= 4


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_parts_that_the_store_does_not_tell_are_no_damage(
    store: Store, data: bytes, tmp_path: Path, shown: int
) -> None:
    sizes = (5 * MIB, 2 * MIB + 77, 5 * MIB)
    assert arrives(store, Stored(data, OF_PARTS, composite(data, sizes), sizes, shown=shown), tmp_path)


@pytest.mark.parametrize("status", [400, 403, 404, 412, 501])
def test_a_store_that_refuses_to_tell_is_read_all_the_same(
    store: Store, data: bytes, tmp_path: Path, status: int
) -> None:
    told = full(CRC32C, b"something else")
    assert arrives(store, Stored(data, OF_PARTS, told, status=status), tmp_path)
    assert [asked.headers["x-amz-checksum-mode"] for asked in store.for_checksums] == ["ENABLED"]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"x-amz-checksum-crc32": "AAAAAA=="},
        {"x-amz-checksum-crc32c": "AAAA-3"},
        full(CRC32C, b"of another") | {"ETag": '"0"'},
    ],
)
def test_what_is_no_checksum_of_the_object_is_no_damage(
    store: Store, data: bytes, tmp_path: Path, told: dict[str, str]
) -> None:
    assert arrives(store, Stored(data, OF_PARTS, told), tmp_path)


def test_a_small_file_in_parts_is_compared_too(store: Store, tmp_path: Path) -> None:
    small = b"small" * 1000
    stored = Stored(small, OF_PARTS, composite(small, (2000, 2000, 1000)), (2000, 2000, 1000), flips=[7])
    assert arrives(store, stored, tmp_path)
    assert stored.flips == []


def test_nothing_is_asked_where_the_etag_tells(store: Store, tmp_path: Path) -> None:
    stored = Stored(b"1", f'"{hashlib.md5(b"1").hexdigest()}"')
    assert arrives(store, stored, tmp_path)
    assert store.for_checksums == []


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_an_object_under_a_key_of_its_own_is_brought_once(store: Store, tmp_path: Path, size: int) -> None:
    """Its ETag looks like an MD5, and is none."""
    data = os.urandom(size)
    told = full(CRC64NVME, data) | {"x-amz-server-side-encryption": "aws:kms"}
    stored = Stored(data, f'"{"a" * 32}"', told)
    assert arrives(store, stored, tmp_path)
    assert store.downloads == 1
    stored.flips = [size // 2, size // 3]
    with pytest.raises(UnavailableError, match="its CRC64NVME is not the store's"):
        arrives(store, stored, tmp_path)


def test_the_question_stands_beside_the_download(store: Store, data: bytes, tmp_path: Path) -> None:
    """It is answered when all bytes are through, and they are compared all the same."""
    store.hold = store.downloaded
    stored = Stored(data, OF_PARTS, full(CRC64NVME, data), flips=[6 * MIB])
    assert arrives(store, stored, tmp_path)
    assert stored.flips == []
    assert len(store.for_checksums) == 2


def test_a_question_is_signed_as_the_rest_is(store: Store, data: bytes, tmp_path: Path) -> None:
    assert arrives(store, Stored(data, OF_PARTS, composite(data), SIZES), tmp_path)
    for asked in store.for_checksums:
        assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDTEST/")
        assert asked.headers["x-amz-security-token"] == TOKEN
        assert SECRET not in str(asked)
    store.asked.clear()
    assert arrives(store, store.objects["f"], tmp_path, AWS_NO_SIGN_REQUEST="true")
    assert store.for_checksums
    assert not any("authorization" in asked.headers for asked in store.for_checksums)


def test_a_question_takes_the_way_of_the_rest(store: Store, data: bytes, tmp_path: Path) -> None:
    """Through the proxy, to the bucket's own host, escaped once."""
    key = "m/a key+with=ü%20.bin"
    store.objects[key] = stored = Stored(data, OF_PARTS, composite(data), SIZES, flips=[6 * MIB])
    there = {"S3_ENDPOINT": "http://store.test", "S3_USER_VIRTUAL_BUCKET": "1", "HTTP_PROXY": store.endpoint}
    fetched(f"s3://b/{key}", environ_of(store, **there), tmp_path)
    assert stored.flips == []
    assert (tmp_path / key[2:]).read_bytes() == data
    assert {asked.headers["host"] for asked in store.for_checksums} == {"b.store.test"}


def test_a_question_does_not_go_elsewhere(store: Store, data: bytes, tmp_path: Path) -> None:
    with running_store() as other:
        store.redirect = other.endpoint
        assert arrives(store, Stored(data, OF_PARTS, full(CRC32C, b"other")), tmp_path)
        assert other.asked == []


def test_google_tells_through_amazons_protocol_too(store: Store, data: bytes, tmp_path: Path) -> None:
    store.objects["f"] = stored = Stored(data, '"CKih16GjycICEAE="', flips=[6 * MIB])
    stored.told = {"x-goog-hash": f"crc32c={b64(crc(CRC32C, data))}"}
    fetched("gs://b/f", environ_of(store), tmp_path)
    assert (tmp_path / "f").read_bytes() == data
    assert stored.flips == []


@pytest.mark.parametrize("signs", [True, False])
def test_google_tells_whoever_may_read(store: Store, signs: bool) -> None:
    """By a URL that the account signs, or of public objects by a plain one; tokens come from elsewhere."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "gcs_base_url": store.endpoint, "client_email": "me@test"}
    account |= {"private_key": key.decode(), "private_key_id": "1"}
    environ = {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}
    access = GoogleAccess.from_environment(environ, Side.INPUT)
    client = vars(access.bucket(Location.parse("gs://b")))["_patient"]
    store.objects["a b"] = Stored(b"1", '"CKih16GjycICEAE="', {"x-goog-hash": "crc32c=kPWZ4w=="})
    head = google_head(client, f"{store.endpoint}/b", access.network, signs=signs)
    told = asyncio.run(Witness(head).checksum("a b", Entry("a b", 1, '"CKih16GjycICEAE="')))
    assert told == Checksum("CRC32C", crc(CRC32C, b"1"))
    (asked,) = store.asked
    assert ("X-Goog-Signature" in asked.query) == signs


def test_googles_emulator_tells_what_it_composed(gcs: GcsBucket) -> None:
    gcs.put("f", b"123456789")
    bucket = GoogleAccess.from_environment(gcs.environ(), Side.INPUT).bucket(Location.parse(gcs.url()))
    told = asyncio.run(bucket.checksum("f", Entry("f", 9)))
    assert told == Checksum("CRC32C", bytes.fromhex("e3069283"))
