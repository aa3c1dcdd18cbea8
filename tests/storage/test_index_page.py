"""Directories over http: pages of real servers, walked whole and never left."""

import functools
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_servers import FaultyServer, Page, run_faulty, run_handler
from ovms_converter.errors import LocationError, NotFoundError
from ovms_converter.storage.http import HttpSource
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.index_page import IndexLimits, links_of, walk
from ovms_converter.storage.location import Location

PAGES = Path(__file__).parent.parent / "data" / "storage" / "index"
"""The same directory as six servers show it: `NAME.html`, and `NAME-odd.html` its directory `a b & c`."""
SERVERS = ["nginx", "lighttpd", "apache", "apache-fancy", "apache-table", "python"]

LONG = "a-very-long-file-name-that-an-index-page-shows-only-shortened-with-dots-at-its-end.onnx"
HERE = HttpUrl.parse("http://host:8080/model/")


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with run_faulty() as site:
        yield site


def index(*hrefs: str) -> Page:
    links = "".join(f'<a href="{href}">x</a>\n' for href in hrefs)
    return Page(f"<html><head><title>Index of /</title></head><body>{links}</body></html>".encode())


def source(url: str) -> HttpSource:
    return HttpSource(Location.parse(url), {})


def paths(url: str) -> list[str]:
    listing = source(url).list()
    assert not listing.is_file
    return [entry.path for entry in listing.entries]


@pytest.mark.parametrize("name", SERVERS)
def test_pages_of_real_servers_are_read(name: str) -> None:
    links = links_of((PAGES / f"{name}.html").read_text(), HERE)
    assert links is not None
    assert {(link.name, link.is_directory) for link in links} == {
        ("a b & c", True),
        ("assets", True),
        ("variables", True),
        (LONG, False),
        ("saved_model.pb", False),
        ('we"ird<name>.txt', False),
    }


@pytest.mark.parametrize("name", SERVERS)
def test_names_keep_their_odd_letters(name: str) -> None:
    page = HttpUrl.parse("http://host:8080/model/a%20b%20%26%20c/")
    links = links_of((PAGES / f"{name}-odd.html").read_text(), page)
    assert links is not None
    assert [link.name for link in links] == ["möd#1 ?%.onnx"]


def test_a_directory_is_fetched_from_pythons_own_server(tmp_path: Path) -> None:
    served = tmp_path / "served"
    files = {
        "model/saved_model.pb": b"graph",
        "model/variables/variables.index": b"index",
        "model/a b/möd#1 ?%.onnx": b"odd",
        "model/empty": b"",
        "other": b"not asked for",
    }
    for path, data in files.items():
        (served / path).parent.mkdir(parents=True, exist_ok=True)
        (served / path).write_bytes(data)
    target = tmp_path / "target"
    target.mkdir()
    with run_handler(functools.partial(_QuietHandler, directory=str(served))) as port:
        for url in (f"http://127.0.0.1:{port}/model/", f"http://127.0.0.1:{port}/model"):
            reader = source(url)
            wanted = [entry.path for entry in reader.list().entries]
            tree = reader.fetch(wanted, target, lambda _: None)
            assert {f"model/{file.path}": (target / file.path).read_bytes() for file in tree.files} == {
                path: data for path, data in files.items() if path.startswith("model/")
            }
            assert reader.read("saved_model.pb", 1, 2) == b"ra"
            with pytest.raises(NotFoundError, match="no `other`"):
                reader.read("other")


def test_a_slash_behind_a_file_changes_nothing(tmp_path: Path, server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(b"model")
    listing = source(server.url("/m.onnx/")).list()
    assert listing.is_file
    assert listing.entries[0].path == "m.onnx"


def test_links_that_lead_elsewhere_are_no_files(server: FaultyServer) -> None:
    server.pages["/d/"] = index(
        "?C=N;O=D", "?", "#top", "/", "/d/", "./", "../", "../other", "/e/f",
        "http://elsewhere.invalid/d/x",
        "a?x=1", "mailto:me@host", "javascript:alert(1)", "data:text/plain,x", "ftp://host/d/x",
        "sub/deeper/x", "http://[bad",
        "m.onnx", "/d/n.onnx", server.url("/d/o.onnx"), "m.onnx#again",
    )  # fmt: skip
    assert paths(server.url("/d/")) == ["m.onnx", "n.onnx", "o.onnx"]


@pytest.mark.parametrize("href", ["%2e%2e/", "a%2fb", "%2e", "a%00b", "a%0ab", "%ff%fe", "a%5cb", "x" * 256])
def test_a_name_that_is_no_file_name_is_refused(server: FaultyServer, href: str) -> None:
    server.pages["/d/"] = index("m.onnx", href)
    with pytest.raises(LocationError, match="/d/` has a name that is"):
        paths(server.url("/d/"))
    assert {asked.path for asked in server.asked} == {"/d/"}


def test_a_page_that_leads_out_is_refused(server: FaultyServer) -> None:
    server.pages["/d/"] = index("sub/")
    server.pages["/d/sub/"] = Page(redirect="/")
    server.pages["/"] = index("d/", "etc/")
    with pytest.raises(LocationError, match="leads out of the directory"):
        paths(server.url("/d/"))


def test_a_page_of_another_host_is_refused(server: FaultyServer) -> None:
    with run_faulty() as other:
        other.pages["/d/sub/"] = index("x")
        server.pages["/d/"] = index("sub/")
        server.pages["/d/sub/"] = Page(redirect=other.url("/d/sub/"))
        with pytest.raises(LocationError, match="leads out of the directory"):
            paths(server.url("/d/"))


def test_a_loop_of_redirects_is_walked_once(server: FaultyServer) -> None:
    server.pages["/d/"] = index("m", "again/")
    server.pages["/d/again/"] = Page(redirect="/d/")
    assert paths(server.url("/d/")) == ["m"]


def test_a_directory_that_contains_itself_ends(server: FaultyServer) -> None:
    pages: list[str] = []

    def page(url: HttpUrl) -> tuple[HttpUrl, str]:
        pages.append(url.path)
        return url, index("again/", "m").body.decode()

    with pytest.raises(LocationError, match="does not end") as caught:
        walk(HERE, page, IndexLimits(depth=5))
    assert len(pages) == 6
    assert "model's own directory" in str(caught.value.hint)


@pytest.mark.parametrize("limits", [IndexLimits(pages=3), IndexLimits(files=3)])
def test_a_directory_of_too_much_is_refused(limits: IndexLimits) -> None:
    def page(url: HttpUrl) -> tuple[HttpUrl, str]:
        return url, index(*(f"{number}/" for number in range(9)), "a", "b").body.decode()

    with pytest.raises(LocationError, match="does not end"):
        walk(HERE, page, limits)


def test_a_page_that_lists_nothing_is_told(server: FaultyServer) -> None:
    server.pages["/d/"] = Page(b"<html><title>Sign in</title><a href='m.onnx'>")
    with pytest.raises(LocationError, match="/d/` gives a web page that lists no files") as caught:
        paths(server.url("/d/"))
    assert "directory listing" in str(caught.value.hint)


def test_a_token_in_the_url_is_sent_for_every_file(server: FaultyServer) -> None:
    server.pages["/d/"] = index("m")
    server.pages["/d/m"] = Page(b"model", authorization="Basic bWU6U0VDUkVU")
    server.pages["/d/"].authorization = "Basic bWU6U0VDUkVU"
    url = server.url("/d/?token=abc", user="me:SECRET@")
    assert source(url).read("m") == b"model"
    assert all(asked.target.endswith("?token=abc") for asked in server.asked)


@given(st.text(max_size=300))
def test_no_page_makes_the_parser_fail(html: str) -> None:
    try:
        links_of("<title>Index of</title>" + html, HERE)
    except LocationError as refusal:
        assert "name" in refusal.message


@given(st.lists(st.text(max_size=20), max_size=5))
def test_no_link_leads_out_of_the_page(hrefs: list[str]) -> None:
    try:
        links = links_of(
            index(*(href.replace('"', "%22") for href in hrefs)).body.decode(errors="replace"), HERE
        )
    except LocationError:
        return
    assert links is not None
    for link in links:
        assert "/" not in link.name
        assert link.name not in {"", ".", ".."}
        assert link.path.startswith(HERE.path)
