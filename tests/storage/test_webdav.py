"""What a WebDAV server answers to PROPFIND, and what is refused of it."""

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import LocationError
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.webdav import Child, children_of

DIRECTORY = HttpUrl.parse("https://host/dav/a%20b/")


def answer(*hrefs: str, facts: str = "") -> bytes:
    responses = "".join(
        f"<D:response><D:href>{href}</D:href><D:propstat><D:prop>{facts}</D:prop></D:propstat></D:response>"
        for href in hrefs
    )
    return f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{responses}</D:multistatus>'.encode()


def test_files_and_directories() -> None:
    facts = (
        '<D:resourcetype/><D:getcontentlength>12</D:getcontentlength><D:getetag>"e"</D:getetag>'
        "<D:getlastmodified>Sun, 01 Nov 2026 00:00:00 GMT</D:getlastmodified>"
    )
    when = datetime(2026, 11, 1, tzinfo=timezone.utc)
    found = children_of(answer("/dav/a b/", "/dav/a%20b/m.bin", facts=facts), DIRECTORY)
    assert found == (Child("m.bin", False, 12, '"e"', when),)
    facts = "<D:resourcetype><D:collection/></D:resourcetype><D:getcontentlength>4096</D:getcontentlength>"
    assert children_of(answer("/dav/a%20b/1/", facts=facts), DIRECTORY) == (Child("1", True),)


@pytest.mark.parametrize(
    "href", ["https://host/dav/a%20b/x", "http://host:8080/dav/a%20b/x", "x", "/dav/%61%20b/x"]
)
def test_every_way_to_write_an_address(href: str) -> None:
    assert [child.name for child in children_of(answer(href), DIRECTORY)] == ["x"]


@pytest.mark.parametrize(
    "href",
    ["/dav/c", "/dav/a%20b/x/y", "https://other/dav/a%20b/x", "/dav/a%20b/%2e%2e", "/dav/a%20b/x%2Fy", ".."],
)
def test_what_is_not_in_the_directory_is_refused(href: str) -> None:
    with pytest.raises(LocationError):
        children_of(answer(href), DIRECTORY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'<!DOCTYPE m [<!ENTITY a "aaaa">]><multistatus xmlns="DAV:">&a;</multistatus>',
        b'<multistatus xmlns="DAV:">' + b"<a>" * 200,
        answer("/dav/a%20b/x")[:-9],
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(LocationError, match="cannot be read"):
        children_of(body, DIRECTORY)


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_answer_is_read_or_refused(data: bytes, href: str) -> None:
    for body in (data, answer(href.translate({ord(c): None for c in "<&"})), answer() + data):
        try:
            found = children_of(body, DIRECTORY)
        except LocationError:
            continue
        assert all(child.name and "/" not in child.name for child in found)
