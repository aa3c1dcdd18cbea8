"""Stores whose listing leads back to itself, with nothing on it: they are told, not asked for ever."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from http_servers import run_handler
from ovms_converter.errors import UnavailableError
from ovms_converter.storage import listing, open_destination, open_source
from ovms_converter.storage.location import Location

PAGES = {
    "list-type=2": "<ListBucketResult><IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>",
    "comp=list": "<EnumerationResults><Blobs/><NextMarker>again</NextMarker></EnumerationResults>",
    "/o?": '{"nextPageToken": "again"}',
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        page = next((page for sign, page in PAGES.items() if sign in self.path), None)
        body = (page or "").encode()
        self.send_response(404 if page is None else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET


@pytest.fixture
def endpoint() -> Iterator[str]:
    with run_handler(_Handler, None, "127.0.0.1") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("s3://bucket/m", {"S3_ENDPOINT": "{}"}),
        ("az://bucket/m", {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_ENDPOINT": "{}/account"}),
        ("gs://bucket/m", {"STORAGE_EMULATOR_HOST": "{}"}),
    ],
    ids=["s3", "az", "gs"],
)
def test_a_listing_without_an_end_is_given_up(
    endpoint: str, url: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LISTING_SECONDS", 0.5)
    settings = {name: value.format(endpoint) for name, value in environ.items()}
    with pytest.raises(UnavailableError, match="does not end"):
        open_source(Location.parse(url), settings).list()
    with pytest.raises(UnavailableError, match="does not end"):
        open_destination(Location.parse(url), settings).siblings()
