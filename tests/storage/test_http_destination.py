"""Publishing to servers that take PUT: claimed first, completed last, and only where they list it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovms_converter.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConverterError,
    LocationError,
    NotFoundError,
    RequestError,
    ResourceError,
    UnavailableError,
)
from ovms_converter.storage import open_destination
from ovms_converter.storage.http_destination import HttpDestination
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.location import Location
from proxy import Fault, running_proxy
from put_servers import PutSite, Site, run_put_site, run_rclone_webdav, run_wsgidav

QUICK = HttpLimits(
    connect_seconds=5, idle_seconds=20, attempts=3, first_wait=0.001, longest_wait=0.002, wait_budget=5
)
WEIGHTS = os.urandom(3 << 20)


def destination(url: str, environ: dict[str, str] | None = None) -> HttpDestination:
    return HttpDestination(Location.parse(url), environ or {}, QUICK)


def nothing(count: int) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def wsgidav(tmp_path: Path) -> Iterator[Site]:
    with run_wsgidav(tmp_path / "wsgidav") as site:
        yield site


@pytest.fixture
def rclone(tmp_path: Path) -> Iterator[Site]:
    with run_rclone_webdav(tmp_path) as site:
        yield site


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[PutSite]:
    with run_put_site(tmp_path / "pages") as site:
        yield site


@pytest.fixture(params=["wsgidav", "rclone", "pages"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each of the servers in turn."""
    found: Site = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"conversion.json": b"{}", "m.bin": WEIGHTS, "m.xml": b"<net/>"}
    (tmp_path / "made").mkdir()
    for name, data in contents.items():
        (tmp_path / "made" / name).write_bytes(data)
    return {name: tmp_path / "made" / name for name in contents}


def test_a_version_is_published_whole(site: Site, files: dict[str, Path]) -> None:
    found = destination(site.url("models/x/"))
    found.check_writable()
    assert site.tree() == {}
    assert found.list() == ()
    assert found.scratch() is None
    moved: list[int] = []
    found.publish("1", files, moved.append)
    assert site.tree() == {f"models/x/1/{name}": path.read_bytes() for name, path in files.items()}
    assert sum(moved) == sum(path.stat().st_size for path in files.values())
    listed = {entry.path: entry.size for entry in found.list()}
    assert listed == {f"1/{name}": path.stat().st_size for name, path in files.items()}
    assert all(entry.modified for entry in found.list() if site.root.name != "pages")
    with pytest.raises(AlreadyExistsError):
        found.publish("1", files, nothing)
    found.check_writable()
    assert len(site.tree()) == 3


def test_looking_leaves_no_directories(wsgidav: Site) -> None:
    (wsgidav.root / "team").mkdir()
    destination(wsgidav.url("team/models/x")).check_writable()
    assert wsgidav.directories() == ["team"]


def test_the_record_is_written_first_and_the_graph_last(wsgidav: Site, files: dict[str, Path]) -> None:
    destination(wsgidav.url("x")).publish("1", files, nothing)
    puts = [path for method, path in wsgidav.asked if method == "PUT"]
    assert puts == ["/x/1/conversion.json", "/x/1/m.bin", "/x/1/m.xml"]


def test_the_first_and_the_last_file_are_written_only_if_absent(
    pages: PutSite, files: dict[str, Path]
) -> None:
    destination(pages.url("x")).publish("1", files, nothing)
    asked = zip(pages.asked, pages.headers, strict=True)
    sent = [headers for (method, _), headers in asked if method == "PUT"]
    assert [headers.get("if-none-match") for headers in sent] == ["*", None, "*"]
    assert [headers["content-length"] for headers in sent] == ["2", str(len(WEIGHTS)), "6"]


def test_names_with_spaces_and_other_letters(site: Site, files: dict[str, Path]) -> None:
    names = ("conversion.json", "möd & el.bin", "ü x.xml")
    named = dict(zip(names, files.values(), strict=True))
    found = destination(site.url("models/größe 1"))
    found.check_writable()
    found.publish("1", named, nothing)
    assert sorted(site.tree()) == sorted(f"models/größe 1/1/{name}" for name in named)
    assert [entry.path for entry in found.list()] == sorted(f"1/{name}" for name in named)
    assert found.read("1/möd & el.bin") == WEIGHTS
    found.remove([f"1/{name}" for name in named])
    assert found.list() == ()


def test_reading_and_removing(site: Site, files: dict[str, Path], tmp_path: Path) -> None:
    found = destination(site.url("o"))
    found.publish("1", files, nothing)
    found.publish("2", files, nothing)
    assert found.read("1/m.xml") == b"<net/>"
    with pytest.raises(NotFoundError):
        found.read("1/absent")
    with pytest.raises(LocationError):
        found.read("../x")
    with pytest.raises(LocationError, match="more than"):
        found.read("1/m.bin", 1 << 20)
    source = found.as_source()
    assert [entry.path for entry in source.list().entries] == [entry.path for entry in found.list()]
    (tmp_path / "back").mkdir()
    source.fetch(["2/m.bin"], tmp_path / "back", nothing)
    assert (tmp_path / "back" / "2" / "m.bin").read_bytes() == WEIGHTS
    found.remove(["1/m.xml", "1/m.bin", "1/absent"])
    assert [entry.path for entry in found.list()][:1] == ["1/conversion.json"]
    found.remove(["1/conversion.json"])
    assert {entry.path[0] for entry in found.list()} == {"2"}


def test_an_empty_directory_goes_with_its_last_file(wsgidav: Site, files: dict[str, Path]) -> None:
    found = destination(wsgidav.url("o"))
    found.publish("1", files, nothing)
    found.remove([f"1/{name}" for name in files])
    assert wsgidav.directories() == ["o"]


def test_names_beside_the_location(site: Site) -> None:
    for name in ("net", "net-old", "other"):
        (site.root / "m" / name).mkdir(parents=True)
    assert destination(site.url("m/net")).siblings() == ("net-old",)


def test_of_two_runs_at_the_same_moment_one_publishes(wsgidav: Site, tmp_path: Path) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(4)

    def run(number: int) -> None:
        mine = tmp_path / f"run{number}"
        mine.mkdir()
        word = f"{number}"
        contents = {"conversion.json": word, "m.bin": word * 100_000, "m.xml": f"<net{number}/>"}
        for name, text in contents.items():
            (mine / name).write_text(text)
        found = destination(wsgidav.url("c"))
        together.wait()
        try:
            found.publish("1", {name: mine / name for name in contents}, nothing)
        except AlreadyExistsError:
            outcomes.append("late")
        else:
            outcomes.append(f"{number}")

    threads = [threading.Thread(target=run, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] == ["late"] * 3
    (winner,) = set(outcomes) - {"late"}
    assert wsgidav.tree()["c/1/conversion.json"] == winner.encode()
    assert wsgidav.tree()["c/1/m.xml"] == f"<net{winner}/>".encode()
    assert wsgidav.tree()["c/1/m.bin"] == winner.encode() * 100_000


def test_a_server_that_ignores_conditions_loses_nothing(pages: PutSite, files: dict[str, Path]) -> None:
    pages.conditions = False
    (pages.root / "x" / "1").mkdir(parents=True)
    (pages.root / "x" / "1" / "conversion.json").write_text("another's")
    with pytest.raises(AlreadyExistsError):
        destination(pages.url("x")).publish("1", files, nothing)
    assert pages.tree() == {"x/1/conversion.json": b"another's"}


def test_a_claim_that_another_run_wrote_over_is_given_up(
    pages: PutSite, files: dict[str, Path], tmp_path: Path
) -> None:
    pages.conditions = False
    claim = pages.root / "x" / "1" / "conversion.json"

    def overwritten(count: int) -> None:
        if count > 6:
            claim.write_text("another's")

    with pytest.raises(AlreadyExistsError, match="another run"):
        destination(pages.url("x")).publish("1", files, overwritten)
    assert claim.read_text() == "another's"
    assert not (claim.parent / "m.xml").exists()


@pytest.mark.parametrize("name", ["wsgidav", "pages"])
def test_a_claim_that_is_removed_meanwhile_is_given_up(
    request: pytest.FixtureRequest, files: dict[str, Path], name: str
) -> None:
    site: Site = request.getfixturevalue(name)
    found, other = destination(site.url("x")), destination(site.url("x"))
    gone = iter([True])

    def progress(count: int) -> None:
        if count > 6 and next(gone, False):
            other.remove(["1/conversion.json"])

    with pytest.raises(AlreadyExistsError, match="removed"):
        found.publish("1", files, progress)
    assert site.tree() == {}


@pytest.mark.parametrize("target", [b"conversion.json", b"m.bin", b"m.xml"])
def test_an_answer_that_is_lost_is_no_stranger(wsgidav: Site, files: dict[str, Path], target: bytes) -> None:
    with running_proxy(wsgidav.endpoint) as proxy:
        spared = [b"conversion.json", b"m.bin", b"m.xml"].index(target)
        proxy.fault = Fault("lost", method=b"PUT", spared=spared)
        destination(f"{proxy.endpoint}/x").publish("1", files, nothing)
        assert proxy.fault.happened == 1
    assert wsgidav.tree() == {f"x/1/{name}": path.read_bytes() for name, path in files.items()}


def test_a_server_that_is_busy_gets_another_try(wsgidav: Site, files: dict[str, Path]) -> None:
    with running_proxy(wsgidav.endpoint) as proxy:
        proxy.fault = Fault("503", method=b"PUT", times=2)
        moved: list[int] = []
        destination(f"{proxy.endpoint}/x").publish("1", files, moved.append)
        assert proxy.fault.happened == 2
    assert sum(moved) == len(WEIGHTS) + 8
    assert len(wsgidav.tree()) == 3


@pytest.mark.parametrize("name", ["wsgidav", "pages"])
def test_a_server_that_stays_away_keeps_nothing(
    request: pytest.FixtureRequest, files: dict[str, Path], name: str
) -> None:
    site: Site = request.getfixturevalue(name)
    with running_proxy(site.endpoint) as proxy:
        proxy.fault = Fault("503", method=b"PUT", spared=2, times=None)
        with pytest.raises(UnavailableError, match=r"m\.xml` gave up after 3 tries"):
            destination(f"{proxy.endpoint}/x").publish("1", files, nothing)
    assert site.tree() == {}
    # Without WebDAV an empty directory stays, and its number is taken.
    assert site.directories() == (["x"] if name == "wsgidav" else ["x", "x/1"])
    destination(site.url("x")).publish("2", files, nothing)
    assert len(site.tree()) == 3


def test_what_is_interrupted_is_taken_back(wsgidav: Site, files: dict[str, Path]) -> None:
    def interrupt(count: int) -> None:
        if count > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        destination(wsgidav.url("x")).publish("1", files, interrupt)
    assert wsgidav.tree() == {}
    assert wsgidav.directories() == ["x"]


def test_a_server_that_dies_leaves_nothing_that_loads(wsgidav: Site, files: dict[str, Path]) -> None:
    with running_proxy(wsgidav.endpoint) as proxy:

        def die(count: int) -> None:
            proxy.dead = count > 6

        with pytest.raises(UnavailableError):
            destination(f"{proxy.endpoint}/x").publish("1", files, die)
    assert "x/1/conversion.json" in wsgidav.tree()
    assert "x/1/m.xml" not in wsgidav.tree()
    with pytest.raises(AlreadyExistsError):
        destination(wsgidav.url("x")).publish("1", files, nothing)
    destination(wsgidav.url("x")).publish("2", files, nothing)
    assert [entry.size for entry in destination(wsgidav.url("x")).list()][-3:] == [2, len(WEIGHTS), 6]


def test_what_arrives_shorter_is_noticed(pages: PutSite, files: dict[str, Path]) -> None:
    pages.damages = True
    with pytest.raises(UnavailableError, match="stored with 2 bytes and has 1"):
        destination(pages.url("x")).publish("1", files, nothing)
    assert pages.tree() == {}


def test_a_digest_that_the_server_tells_is_compared(pages: PutSite, files: dict[str, Path]) -> None:
    digest = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="  # of `{}`
    pages.digests = {"Repr-Digest": f"sha-256=:{digest}:"}
    with pytest.raises(UnavailableError, match=r"m\.bin` was stored with other bytes"):
        destination(pages.url("x")).publish("1", files, nothing)


REFUSALS = [
    (401, AccessDeniedError, "denied", "USER:PASSWORD@"),
    (403, AccessDeniedError, "denied", "USER:PASSWORD@"),
    (405, LocationError, "does not take PUT", "WebDAV"),
    (501, LocationError, "does not take PUT", "WebDAV"),
    (409, NotFoundError, "makes no directories", "make the directory"),
    (413, LocationError, "larger than its server allows", "limit"),
    (423, UnavailableError, "3 tries: the server answers 423", "try again"),
    (507, ResourceError, "no space is left", "make room"),
    (418, LocationError, "refuses PUT: 418", None),
]


@pytest.mark.parametrize(("status", "kind", "text", "hint"), REFUSALS)
@pytest.mark.parametrize("method", ["check_writable", "publish"])
def test_what_a_server_refuses(
    pages: PutSite, files: dict[str, Path], status: int, kind: type[ConverterError], text: str,
    hint: str | None, method: str,
) -> None:  # fmt: skip
    pages.answers["PUT", ""] = status, {}
    found = destination(pages.url("x"))
    if method == "publish" and status == 409:
        kind, text, hint = LocationError, "refuses PUT: 409", None
    with pytest.raises(kind, match=text) as caught:
        found.check_writable() if method == "check_writable" else found.publish("1", files, nothing)
    assert (hint or "") in (caught.value.hint or "")
    assert pages.tree() == {}


@pytest.mark.parametrize("method", ["PUT", "HEAD", "MKCOL", "PROPFIND", "DELETE"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(
    pages: PutSite, wsgidav: Site, files: dict[str, Path], method: str, status: int
) -> None:
    pages.answers[method, ""] = status, {"Location": f"{wsgidav.endpoint}/stolen?token=abc"}
    found = destination(pages.url("x", "me:secret-word@"))
    with pytest.raises(LocationError, match=f"redirects {method} to `{wsgidav.endpoint}/stolen`") as caught:
        found.check_writable()
        found.publish("1", files, nothing)
    assert "abc" not in str(caught.value)
    assert "secret-word" not in str(caught.value)
    assert wsgidav.asked == []


def test_a_server_that_does_not_list(pages: PutSite) -> None:
    pages.lists = 404
    with pytest.raises(LocationError, match="takes files and does not list them") as caught:
        destination(pages.url("x")).check_writable()
    assert "PROPFIND" in (caught.value.hint or "")
    pages.lists = 403
    with pytest.raises(LocationError, match="neither by WebDAV nor as an index page"):
        destination(pages.url("x")).check_writable()
    assert pages.tree() == {}


def test_a_probe_that_cannot_be_removed(pages: PutSite) -> None:
    pages.answers["DELETE", ""] = 403, {}
    destination(pages.url("x")).check_writable()
    pages.answers["DELETE", ""] = 405, {}
    with pytest.raises(LocationError, match="does not take DELETE"):
        destination(pages.url("x")).check_writable()


def test_credentials_in_the_url_and_in_headers(tmp_path: Path, files: dict[str, Path]) -> None:
    with run_wsgidav(tmp_path / "locked", {"me": "se cret"}) as site:
        for wrong in (site.url("x"), site.url("x", "me:wrong-word@")):
            with pytest.raises(AccessDeniedError) as caught:
                destination(wrong).list()
            assert "wrong-word" not in f"{caught.value} {caught.value.hint}"
        found = destination(site.url("x", "me:se%20cret@"))
        found.check_writable()
        found.publish("1", files, nothing)
        headers = {"127.0.0.1-headers": '{"Authorization": "Basic bWU6c2UgY3JldA=="}'}
        assert len(destination(site.url("x"), headers).list()) == 3
        assert "se%20cret" not in str(found.location) + found.location.reported


@pytest.mark.parametrize("query", ["X-Amz-Signature=abcdef", "sv=1&sig=abcdef&sr=c", "token=abcdef"])
def test_a_url_with_a_query_is_refused(query: str) -> None:
    with pytest.raises(RequestError, match="has a query") as caught:
        open_destination(Location.parse(f"https://host.example/models/x?{query}"), {})
    assert "abcdef" not in f"{caught.value} {caught.value.hint}"
    assert "presigned" in (caught.value.hint or "")


def test_a_server_that_nobody_reaches() -> None:
    with pytest.raises(UnavailableError, match="gave up after 3 tries"):
        destination("http://127.0.0.1:1/x").check_writable()
