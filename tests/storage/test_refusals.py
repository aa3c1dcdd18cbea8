"""What stores really answer when something is wrong: which error it is, and that its message helps."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    UnavailableError,
)
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.base import Source
from ovms_converter.storage.location import Location
from proxy import Fault, Proxy, running_proxy
from servers import S3Bucket

MIB = 1 << 20


def answer(status: str, code: str = "", more: str = "", *headers: str) -> bytes:
    """An answer as Amazon writes one."""
    body = (
        f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>m</Message>{more}</Error>' if code else ""
    )
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Content-Type: application/xml"]
    return "\r\n".join([*lines, "Connection: close", "", body]).encode()


@pytest.fixture
def proxy(s3: S3Bucket) -> Iterator[Proxy]:
    with running_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def through(s3: S3Bucket, proxy: Proxy) -> dict[str, str]:
    return s3.environ() | {"S3_ENDPOINT": proxy.endpoint, "S3_READ_TIMEOUT": "2"}


def opened(s3: S3Bucket, through: dict[str, str], key: str = "m") -> Source:
    return open_source(Location.parse(s3.url(key)), through)


def nothing(count: int) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"conversion.json": b"{}", "m.bin": os.urandom(12 * MIB), "m.xml": b"<net/>"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


BUSY = {
    "SlowDown": answer("503 Service Unavailable", "SlowDown"),
    "429": answer("429 Too Many Requests", "", "", "Retry-After: 1"),
    "InternalError": answer("500 Internal Server Error", "InternalError"),
}
NOT_AS_SENT = {
    code: answer("400 Bad Request", code)
    for code in ("RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody")
}


@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("target", [b"m/f", b"list-type"])
def test_a_busy_store_is_asked_again(
    s3: S3Bucket, proxy: Proxy, through: dict[str, str], tmp_path: Path, busy: str, target: bytes
) -> None:
    s3.put("m/f", os.urandom(MIB))
    proxy.fault = Fault("answer", method=b"GET", target=target, times=2, answer=BUSY[busy])
    opened(s3, through).fetch(["f"], tmp_path, nothing)
    assert proxy.fault.happened == 2
    assert (tmp_path / "f").read_bytes() == s3.get("m/f")


@pytest.mark.parametrize("busy", BUSY | NOT_AS_SENT)
def test_what_did_not_arrive_as_it_was_sent_is_sent_again(
    s3: S3Bucket, proxy: Proxy, through: dict[str, str], files: dict[str, Path], busy: str
) -> None:
    proxy.fault = Fault("answer", method=b"PUT", target=b"m.bin", times=2, answer=(BUSY | NOT_AS_SENT)[busy])
    open_destination(Location.parse(s3.url("out")), through).publish("1", files, nothing)
    assert proxy.fault.happened == 2
    assert s3.get("out/1/m.bin") == files["m.bin"].read_bytes()


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
def test_an_upload_whose_completion_fails_with_status_200(
    s3: S3Bucket, proxy: Proxy, through: dict[str, str], files: dict[str, Path], code: str
) -> None:
    """Amazon sends the status before it has put the parts together."""
    proxy.fault = Fault("answer", method=b"POST", target=b"uploadId", answer=answer("200 OK", code))
    open_destination(Location.parse(s3.url("out")), through).publish("1", files, nothing)
    assert proxy.fault.happened == 1
    assert s3.get("out/1/m.bin") == files["m.bin"].read_bytes()


@pytest.mark.slow
def test_an_upload_that_is_never_completed_is_no_version(
    s3: S3Bucket, proxy: Proxy, through: dict[str, str], files: dict[str, Path]
) -> None:
    proxy.fault = Fault(
        "answer", method=b"POST", target=b"uploadId", times=None, answer=answer("200 OK", "InternalError")
    )
    with pytest.raises(UnavailableError) as caught:
        open_destination(Location.parse(s3.url("out")), through).publish("1", files, nothing)
    assert caught.value.exit_code == 4
    assert s3.keys("out/") == []


REGION = "<Endpoint>b.s3.eu-central-1.amazonaws.com</Endpoint><Bucket>b</Bucket>"


@pytest.mark.parametrize(
    ("refusal", "kind", "message", "hint"),
    [
        (
            answer("403 Forbidden", "ExpiredToken"),
            AccessDeniedError, "the session token has expired", "credentials",
        ),
        (
            answer("403 Forbidden", "RequestTimeTooSkewed"),
            AccessDeniedError, "the clocks of this machine and the store differ too much", "clock",
        ),
        (
            answer("301 Moved Permanently", "PermanentRedirect", REGION, "x-amz-bucket-region: eu-central-1"),
            LocationError, "is in another region", "AWS_REGION",
        ),
        (
            answer("307 Temporary Redirect", "TemporaryRedirect", REGION),
            LocationError, "is in another region", "AWS_REGION",
        ),
        (
            answer("400 Bad Request", "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
            LocationError, "is in another region", "AWS_REGION=eu-west-3",
        ),
        (answer("404 Not Found", "NoSuchBucket"), NotFoundError, "there is no bucket `s3://", "its name"),
        (answer("403 Forbidden", "AccessDenied"), AccessDeniedError, "the store denies it", "credentials"),
    ],
    ids=["expired", "clock", "301", "307", "region", "bucket", "denied"],
)  # fmt: skip
def test_a_store_that_refuses_everything(
    s3: S3Bucket,
    proxy: Proxy,
    through: dict[str, str],
    refusal: bytes,
    kind: type[ConverterError],
    message: str,
    hint: str,
) -> None:
    s3.put("m/f", b"1")
    proxy.fault = Fault("answer", times=None, answer=refusal)
    with pytest.raises(kind) as caught:
        opened(s3, through).list()
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == 3
    with pytest.raises(kind, match=message) as caught:
        open_destination(Location.parse(s3.url("out")), through).check_writable()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("size", [2 * MIB, 24 * MIB])
def test_a_token_that_expires_in_the_middle_of_a_download(
    s3: S3Bucket, proxy: Proxy, through: dict[str, str], tmp_path: Path, size: int
) -> None:
    s3.put("m/f", os.urandom(size))
    found = opened(s3, through)
    found.list()

    expired = Fault("answer", method=b"GET", times=None, answer=answer("403 Forbidden", "ExpiredToken"))
    proxy.fault = Fault("cut", after=MIB, then=expired)
    with pytest.raises(AccessDeniedError, match=r"m/f` with the credentials from .*: the session token has"):
        found.fetch(["f"], tmp_path, nothing)


def test_an_object_in_an_archive(s3: S3Bucket, proxy: Proxy, through: dict[str, str], tmp_path: Path) -> None:
    s3.put("m/f", b"1")
    more = "<StorageClass>GLACIER</StorageClass>"
    proxy.fault = Fault(
        "answer",
        method=b"GET",
        target=b"m/f",
        times=None,
        answer=answer("403 Forbidden", "InvalidObjectState", more),
    )
    found = opened(s3, through)
    with pytest.raises(LocationError, match="m/f` lies in an archive") as caught:
        found.fetch(["f"], tmp_path, nothing)
    assert not isinstance(caught.value, AccessDeniedError)
    assert "restore it first" in (caught.value.hint or "")


def test_one_file_is_enough_where_listing_is_denied(
    s3: S3Bucket, proxy: Proxy, through: dict[str, str], tmp_path: Path
) -> None:
    s3.put("m/f", b"1")
    s3.put("m/f.data", b"2")
    proxy.fault = Fault(
        "answer", target=b"list-type", times=None, answer=answer("403 Forbidden", "AccessDenied")
    )
    found = opened(s3, through, "m/f")
    assert [entry.path for entry in found.list().entries] == ["f"]
    assert found.read("f.data") == b"2"
    found.fetch(["f", "f.data"], tmp_path, nothing)
    assert (tmp_path / "f").read_bytes() == b"1"
    with pytest.raises(AccessDeniedError):
        opened(s3, through, "m").list()


def test_a_directory_marker_alone_is_nothing(s3: S3Bucket) -> None:
    s3.put("m/", b"")
    for key in ("m", "m/"):
        with pytest.raises(NotFoundError, match="there is nothing at"):
            opened(s3, s3.environ(), key).list()


def test_a_deleted_object_of_a_bucket_with_versions(s3: S3Bucket, tmp_path: Path) -> None:
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    s3.put("m/f", b"1")
    found = opened(s3, s3.environ(), "m/f")
    found.list()
    s3.delete("m/f")
    with pytest.raises(NotFoundError, match="there is nothing at"):
        opened(s3, s3.environ(), "m/f").list()
    with pytest.raises(NotFoundError, match=r"there is no `s3://.*/m/f`"):
        found.fetch(["f"], tmp_path, nothing)


@pytest.fixture
def resetting() -> Iterator[tuple[str, list[int]]]:
    """A server that resets every connection once the client has begun to speak."""
    met: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                client.recv(100)
                met.append(1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", met
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.slow
def test_a_connection_that_is_reset_while_tls_begins(resetting: tuple[str, list[int]]) -> None:
    endpoint, met = resetting
    keys = {"S3_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    with pytest.raises(UnavailableError, match=f"`{endpoint}` is not available: ") as caught:
        open_source(Location.parse("s3://b/m"), keys).list()
    assert len(met) > 2
    assert "certificate" not in caught.value.message
