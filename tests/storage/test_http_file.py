"""One file over http: what arrives, and what a user is told if it does not."""

import base64
import errno
import hashlib
import random
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from http_servers import FaultyServer, Page, run_faulty
from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    NotFoundError,
    ResourceError,
    UnavailableError,
)
from ovms_converter.storage.crc import CRC32C, CRC64NVME, Crc, Polynomial
from ovms_converter.storage.http import HttpSource
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.location import Location

BODY = random.Random(7).randbytes(700_000)
QUICK = HttpLimits(
    connect_seconds=5, idle_seconds=0.5, attempts=4, first_wait=0.001, longest_wait=0.002, wait_budget=5,
    progress_bytes=1000, ranged_from=1 << 30, part_bytes=100_000, streams=3,
)  # fmt: skip
PARTS = replace(QUICK, ranged_from=200_000)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with run_faulty() as site:
        yield site


def source(url: str, limits: HttpLimits = QUICK, environ: dict[str, str] | None = None) -> HttpSource:
    return HttpSource(Location.parse(url), environ or {}, limits)


def fetched(url: str, directory: Path, limits: HttpLimits = QUICK) -> bytes:
    """The bytes that a fetch of the URL's file brings; its digest and progress are right."""
    reader = source(url, limits)
    (entry,) = reader.list().entries
    moved: list[int] = []
    (file,) = reader.fetch([entry.path], directory, moved.append).files
    data = (directory / file.path).read_bytes()
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.size == len(data) == sum(moved)
    return data


def test_a_file_is_listed_by_the_name_in_its_url(server: FaultyServer) -> None:
    server.pages["/a%20b/m%C3%B6del.onnx"] = Page(BODY)
    listing = source(server.url("/a%20b/m%C3%B6del.onnx?token=abc#part")).list()
    assert listing.is_file
    (entry,) = listing.entries
    assert (entry.path, entry.size, entry.etag) == ("mödel.onnx", len(BODY), '"v1"')
    assert server.asked[0].target.endswith("onnx?token=abc")


@pytest.mark.parametrize("limits", [QUICK, PARTS], ids=["stream", "parts"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_arrives_whole(server: FaultyServer, tmp_path: Path, limits: HttpLimits, ranges: bool) -> None:
    server.pages["/m.onnx"] = Page(BODY, ranges=ranges)
    assert fetched(server.url("/m.onnx"), tmp_path, limits) == BODY


def test_a_large_file_comes_in_parts_over_several_connections(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY)
    fetched(server.url("/m.onnx"), tmp_path, PARTS)
    parts = [asked for asked in server.asked if asked.headers["range"].endswith("99999")]
    assert len(parts) == 7
    assert all(asked.headers["if-match"] == '"v1"' for asked in parts)


@pytest.mark.parametrize("limits", [QUICK, PARTS], ids=["stream", "parts"])
@pytest.mark.parametrize(
    "page",
    [
        Page(BODY, cut_after=90_000),
        Page(BODY, cut_after=90_000, etag=None, modified="Sun, 01 Nov 2026 00:00:00 GMT"),
        Page(BODY, cut_after=90_000, etag=None),
        Page(BODY, cut_after=90_000, etag='W/"v1"'),
        Page(BODY, cut_after=300_000, cuts=2, ranges=False),
        Page(BODY, cut_after=300_000, cuts=2, ranges=False, chunked=True),
        Page(BODY, cut_after=300_000, cuts=1, ranges=False, length="none"),
        Page(BODY, ranges=False, length="none", etag=None),
        Page(BODY, ranges=False, chunked=True, etag=None),
        Page(BODY, stall_after=66_000, stalls=1),
        Page(BODY, statuses=[503, 429, 502]),
        Page(b""),
        Page(b"", ranges=False),
        Page(b"x"),
    ],
    ids=lambda page: "-".join(
        f"{k}={v}" for k, v in vars(page).items() if k != "body" and v != vars(Page())[k]
    ),
)
def test_a_broken_connection_is_taken_up_again(
    server: FaultyServer, tmp_path: Path, limits: HttpLimits, page: Page
) -> None:
    server.pages["/m.onnx"] = page
    assert fetched(server.url("/m.onnx"), tmp_path, limits) == page.body


def test_a_transfer_goes_on_where_it_broke(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY, cut_after=200_000)
    fetched(server.url("/m.onnx"), tmp_path)
    first = 64 << 10
    assert server.ranges() == [
        f"bytes=0-{first - 1}",
        *(f"bytes={first + done}-699999" for done in (0, 200_000, 400_000, 600_000)),
    ]


def test_a_connection_cut_for_ever_ends_as_unavailable(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY, cut_after=0)
    with pytest.raises(UnavailableError, match="ended too early"):
        fetched(server.url("/m.onnx"), tmp_path)


def test_a_server_that_always_stalls_ends_as_unavailable(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY, stall_after=500, stalls=99)
    with pytest.raises(UnavailableError, match=r"m\.onnx` gave up after 4 tries: the connection went silent"):
        fetched(server.url("/m.onnx"), tmp_path)


def test_without_ranges_no_progress_is_made_by_reading_the_same_bytes_again(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.pages["/m.onnx"] = Page(BODY, cut_after=300_000, ranges=False)
    with pytest.raises(UnavailableError, match="ended too early"):
        fetched(server.url("/m.onnx"), tmp_path)


@pytest.mark.parametrize("changes", [False, True])
def test_without_ranges_a_second_try_must_bring_the_same_bytes_again(
    server: FaultyServer, tmp_path: Path, changes: bool
) -> None:
    """Nothing else tells that a file of the same length is another one by now."""
    page = server.pages["/m.onnx"] = Page(BODY, cut_after=300_000, cuts=2, ranges=False, etag=None)

    def changed(page: Page) -> None:
        if changes and page.cuts == 0:
            page.body = BODY[:1000] + b"another" + BODY[1007:]

    page.on_request = changed
    if changes:
        with pytest.raises(LocationError, match="changed while it was read"):
            fetched(server.url("/m.onnx"), tmp_path)
    else:
        assert fetched(server.url("/m.onnx"), tmp_path) == BODY


def test_503_for_ever_ends_as_unavailable_and_the_error_page_is_no_model(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(BODY, statuses=[503] * 50)
    with pytest.raises(UnavailableError, match="503"):
        source(server.url("/m.onnx")).list()
    assert len(server.asked) == 4


def test_retry_after_beyond_the_budget_is_told_at_once(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(BODY, statuses=[429] * 50, headers={"retry-after": "3600"})
    with pytest.raises(UnavailableError, match=r"429 .*next try is 3600 s away"):
        source(server.url("/m.onnx")).list()
    assert len(server.asked) == 1


def test_nobody_listening_is_unavailable() -> None:
    with run_faulty() as site:
        url = site.url("/m.onnx")
    with pytest.raises(UnavailableError, match=r"no connection \(refused") as caught:
        source(url).list()
    assert "check the host name and port" in str(caught.value.hint)


def test_an_unknown_host_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="host name cannot be resolved") as caught:
        source("http://no-such-host.invalid/m.onnx").list()
    assert "check the host name and port" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("status", "error", "exit_code"),
    [
        (404, NotFoundError, 3),
        (410, NotFoundError, 3),
        (401, AccessDeniedError, 3),
        (403, AccessDeniedError, 3),
        (400, LocationError, 3),
        (501, LocationError, 3),
        (505, UnavailableError, 4),
    ],
)
def test_what_a_status_means(
    server: FaultyServer, status: int, error: type[ConverterError], exit_code: int
) -> None:
    server.pages["/m.onnx"] = Page(statuses=[status] * 9)
    with pytest.raises(error, match=rf"m\.onnx.*{status}") as caught:
        source(server.url("/m.onnx?sig=SECRET", user="me:SECRET@")).list()
    assert type(caught.value) is error
    assert caught.value.exit_code == exit_code
    assert "SECRET" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("limits", [QUICK, PARTS], ids=["stream", "parts"])
def test_a_change_in_the_middle_is_noticed(server: FaultyServer, tmp_path: Path, limits: HttpLimits) -> None:
    server.pages["/m.onnx"] = Page(BODY)
    reader = source(server.url("/m.onnx"), limits)
    reader.list()
    server.pages["/m.onnx"] = Page(BODY[::-1], etag='"v2"')
    with pytest.raises(LocationError, match=r"m\.onnx` changed while it was read"):
        reader.fetch(["m.onnx"], tmp_path, lambda _: None)


def test_a_change_is_noticed_by_date_and_by_size(server: FaultyServer, tmp_path: Path) -> None:
    for first, second in (
        (Page(BODY, etag=None, modified="Sun, 01 Nov 2026 00:00:00 GMT"),
         Page(BODY, etag=None, modified="Mon, 02 Nov 2026 00:00:00 GMT")),
        (Page(BODY, etag=None), Page(BODY + b"x", etag=None)),
        (Page(BODY, etag=None), Page(BODY + b"x", etag=None, ranges=False)),
    ):  # fmt: skip
        server.pages["/m.onnx"] = first
        reader = source(server.url("/m.onnx"))
        reader.list()
        server.pages["/m.onnx"] = second
        with pytest.raises(LocationError, match="changed while it was read"):
            reader.fetch(["m.onnx"], tmp_path, lambda _: None)


def test_a_length_that_is_too_long_is_never_a_model(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY, ranges=False, length=len(BODY) + 10)
    with pytest.raises(UnavailableError, match="ended too early"):
        fetched(server.url("/m.onnx"), tmp_path)


def b64(algorithm: str, data: bytes = BODY) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def crc(polynomial: Polynomial) -> str:
    found = Crc(polynomial)
    found.update(BODY)
    return base64.b64encode(found.digest()).decode()


DIGESTS = {
    "repr-digest": f"sha-256=:{b64('sha256')}:",
    "digest": f"unknown=x,SHA-512={b64('sha512')}",
    "x-goog-hash": f"crc32c=AAAAAA==,md5={b64('md5')}",
    "content-md5": b64("md5"),
    "x-amz-checksum-sha1": b64("sha1"),
    "x-amz-checksum-crc32": base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode(),
    "x-amz-checksum-crc64nvme": crc(CRC64NVME),
    # Of what was composed of others Google tells no MD5.
    "X-Goog-Hash": f"crc32c={crc(CRC32C)}",
}


@pytest.mark.parametrize("header", DIGESTS)
def test_a_damaged_body_is_noticed_by_its_digest(server: FaultyServer, tmp_path: Path, header: str) -> None:
    page = Page(BODY, headers={header: DIGESTS[header]}, ranges=False, flips=1)
    server.pages["/m.onnx"] = page
    assert fetched(server.url("/m.onnx"), tmp_path) == BODY
    page.flips = 99
    with pytest.raises(UnavailableError, match=r"m\.onnx` is damaged on the way: .* digest"):
        fetched(server.url("/m.onnx"), tmp_path)


@pytest.mark.parametrize("header", ["repr-digest", "digest", "x-goog-hash"])
def test_parts_are_compared_with_the_digest_of_the_whole(
    server: FaultyServer, tmp_path: Path, header: str
) -> None:
    server.pages["/m.onnx"] = Page(BODY, headers={header: DIGESTS[header]}, flips=99)
    with pytest.raises(UnavailableError, match="damaged on the way"):
        fetched(server.url("/m.onnx"), tmp_path, PARTS)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-sha256": "AAAA-3"},
        {"content-md5": "none"},
        {"digest": "md5="},
        {"repr-digest": f"sha-256=:{b64('md5')}:"},
    ],
)
def test_what_is_no_digest_of_the_file_is_passed_over(
    server: FaultyServer, tmp_path: Path, headers: dict[str, str]
) -> None:
    server.pages["/m.onnx"] = Page(BODY, headers=headers, ranges=False)
    assert fetched(server.url("/m.onnx"), tmp_path) == BODY


def test_a_digest_of_a_part_is_not_taken_for_that_of_the_file(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY, headers={"content-md5": b64("md5", b"a part")})
    assert fetched(server.url("/m.onnx"), tmp_path) == BODY


def test_a_full_disk_is_told(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.pages["/m.onnx"] = Page(BODY)
    monkeypatch.setattr("os.pwrite", full)
    for limits in (QUICK, PARTS):
        with pytest.raises(
            ResourceError, match=r"no space left on the disk that holds `.*m\.onnx`"
        ) as caught:
            fetched(server.url("/m.onnx"), tmp_path, limits)
        assert caught.value.exit_code == 7


def test_a_file_larger_than_the_disk_is_not_begun(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(b"x", length=1 << 60, ranges=False)
    server.pages["/m.onnx"].body = bytes(100_000)
    with pytest.raises(ResourceError, match="no space left"):
        fetched(server.url("/m.onnx"), tmp_path)


def test_the_first_failure_of_several_files_stops_the_others(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/d/m.onnx"] = Page(BODY)
    reader = source(server.url("/d/m.onnx"))
    reader.list()
    before = len(server.asked)
    with pytest.raises(NotFoundError):
        reader.fetch([f"{number}.data" for number in range(200)], tmp_path, lambda _: None)
    assert len(server.asked) - before < 100


@pytest.mark.parametrize("limits", [QUICK, PARTS], ids=["stream", "parts"])
def test_an_interrupt_ends_what_is_under_way_without_waiting(
    server: FaultyServer, tmp_path: Path, limits: HttpLimits
) -> None:
    patient = replace(limits, idle_seconds=600, first_wait=600, longest_wait=600, wait_budget=9999)
    server.pages["/d/m.onnx"] = Page(BODY)
    reader = source(server.url("/d/m.onnx"), patient)
    reader.list()
    server.pages["/d/m.onnx"] = Page(BODY, stall_after=10_000, stalls=9)
    server.pages["/d/busy"] = Page(statuses=[503] * 9)
    asked = len(server.asked)

    def interrupt() -> None:
        while len(server.asked) < asked + 2:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        reader.fetch(["m.onnx", "busy"], tmp_path, lambda _: None)
    other.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_compressed_bodies_are_refused(server: FaultyServer, ranges: bool) -> None:
    server.pages["/m.onnx"] = Page(BODY, headers={"content-encoding": "gzip"}, ranges=ranges)
    with pytest.raises(LocationError, match="Content-Encoding: gzip"):
        source(server.url("/m.onnx")).list()
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_the_label_gzip_on_an_archive_is_no_encoding(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.tgz"] = Page(BODY, headers={"content-encoding": "x-gzip"})
    assert fetched(server.url("/m.tgz"), tmp_path) == BODY


@pytest.mark.parametrize(
    "page",
    [b"<!DOCTYPE html><html>", b"\xef\xbb\xbf\n <HTML lang=en>", b"<!-- x --><html><body>Sign in"],
)
def test_a_web_page_is_no_model(server: FaultyServer, page: bytes) -> None:
    server.pages["/m.onnx"] = Page(page, headers={"content-type": "text/html"})
    with pytest.raises(LocationError, match=r"m\.onnx` gives a web page") as caught:
        source(server.url("/m.onnx")).list()
    assert "sign-in" in str(caught.value.hint)


def test_content_and_not_the_label_decides(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/m.onnx"] = Page(BODY, headers={"content-type": "text/html"})
    assert fetched(server.url("/m.onnx"), tmp_path) == BODY


def test_pieces_of_a_file_are_read(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(BODY)
    server.pages["/n.onnx"] = Page(BODY, ranges=False)
    server.pages["/o.onnx"] = Page(BODY, cut_after=70_000)
    for name in ("m.onnx", "n.onnx", "o.onnx"):
        reader = source(server.url(f"/{name}"))
        assert reader.read(name, 0, 8) == BODY[:8]
        assert reader.read(name, 300_000, 150_000) == BODY[300_000:450_000]
        assert reader.read(name, 699_999, 10) == BODY[-1:]
        assert reader.read(name, 700_000, 10) == b""
        assert reader.read(name, 60_000) == BODY[60_000:]


def test_a_small_read_moves_little(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(BODY)
    source(server.url("/m.onnx")).read("m.onnx", 0, 4096)
    assert server.ranges() == ["bytes=0-65535"]


def test_neighbours_come_from_beside_the_file(server: FaultyServer, tmp_path: Path) -> None:
    server.pages["/d/m.onnx"] = Page(BODY)
    server.pages["/d/weights%20%231.data"] = Page(b"weights")
    server.pages["/d/sub/more"] = Page(b"more")
    reader = source(server.url("/d/m.onnx?download=1"))
    tree = reader.fetch(["m.onnx", "weights #1.data", "sub/more"], tmp_path, lambda _: None)
    assert [file.path for file in tree.files] == ["m.onnx", "weights #1.data", "sub/more"]
    assert (tmp_path / "weights #1.data").read_bytes() == b"weights"
    assert (tmp_path / "sub" / "more").read_bytes() == b"more"
    assert server.asked[-1].target.endswith("?download=1")


def test_a_neighbour_that_is_not_there_is_named(server: FaultyServer) -> None:
    server.pages["/d/m.onnx"] = Page(BODY)
    with pytest.raises(NotFoundError, match=r"/d/weights\.data"):
        source(server.url("/d/m.onnx")).read("weights.data")


@pytest.mark.parametrize("path", ["../up", "a/../b", "/etc/passwd", "a//b", "", "a\nb"])
def test_a_neighbour_never_leaves_the_directory(server: FaultyServer, tmp_path: Path, path: str) -> None:
    server.pages["/d/m.onnx"] = Page(BODY)
    server.pages["/up"] = Page(BODY)
    with pytest.raises(LocationError):
        source(server.url("/d/m.onnx")).fetch([path], tmp_path / "in", lambda _: None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert {asked.path for asked in server.asked} <= {"/d/m.onnx"}


@pytest.mark.parametrize("query", ["X-Amz-Signature=SECRET", "sr=b&sig=SECRET", "Signature=SECRET&Expires=1"])
def test_a_presigned_link_has_no_neighbours(server: FaultyServer, query: str) -> None:
    server.pages["/d/m.onnx"] = Page(BODY)
    with pytest.raises(LocationError, match=r"`w\.data` belongs to the model.*signed for one file") as caught:
        source(server.url(f"/d/m.onnx?{query}")).read("w.data")
    assert "SECRET" not in f"{caught.value.message} {caught.value.hint}"


def test_a_signature_for_a_container_serves_neighbours(server: FaultyServer) -> None:
    server.pages["/d/m.onnx"] = Page(BODY)
    server.pages["/d/w.data"] = Page(b"w")
    assert source(server.url("/d/m.onnx?sr=c&sig=abc")).read("w.data") == b"w"
    assert server.asked[-1].target.endswith("?sr=c&sig=abc")


def test_an_url_without_a_file_is_refused(server: FaultyServer) -> None:
    server.pages["/"] = Page(BODY)
    with pytest.raises(LocationError, match="names no file"):
        source(server.url("")).list()


@pytest.mark.parametrize("changes", [{"chunked": True}, {"length": "none"}], ids=["chunked", "closed"])
def test_more_may_be_asked_for_than_there_is_where_no_size_is_told(
    server: FaultyServer, changes: dict[str, Any]
) -> None:
    server.pages["/m.onnx"] = replace(Page(b"x" * 159, ranges=False), **changes)
    reader = source(server.url("/m.onnx"))
    assert reader.read("m.onnx", 0, 8192) == b"x" * 159
    assert reader.read("m.onnx", 100, 8192) == b"x" * 59
    assert reader.read("m.onnx", 159, 10) == b""
