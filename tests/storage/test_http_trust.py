"""Who gets a credential, whose certificate is believed, what a proxy sees, and that no secret is shown."""

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from http_servers import FaultyServer, Page, run_faulty
from ovms_converter.errors import (
    AccessDeniedError,
    ConverterError,
    LocationError,
    RequestError,
    UnavailableError,
)
from ovms_converter.storage.http import HttpSource
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.location import Location
from ovms_converter.storage.proxies import proxy_for
from relays import running_http_proxy

QUICK = HttpLimits(connect_seconds=5, idle_seconds=2, attempts=2, first_wait=0.001, longest_wait=0.002)
BASIC = "Basic " + base64.b64encode(b"me:s3cr@t").decode()


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with run_faulty() as site:
        yield site


@pytest.fixture
def other() -> Iterator[FaultyServer]:
    with run_faulty() as site:
        yield site


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[FaultyServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with run_faulty(context) as site:
        site.pages["/m.onnx"] = Page(b"model")
        yield site


def read(url: str, environ: dict[str, str] | None = None) -> bytes:
    source = HttpSource(Location.parse(url), environ or {}, QUICK)
    return source.read(source.list().entries[0].path)


def test_user_and_password_of_the_url_are_sent_as_basic(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(b"model", authorization=BASIC)
    assert read(server.url("/m.onnx", user="me:s3cr%40t@")) == b"model"


def test_netrc_is_not_read(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    server.pages["/m.onnx"] = Page(b"model")
    assert read(server.url("/m.onnx")) == b"model"
    assert "authorization" not in server.asked[0].headers


def test_credentials_stay_at_home_when_a_redirect_leaves(server: FaultyServer, other: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(redirect=other.url("/blob?signed=1"), authorization=BASIC)
    other.pages["/blob"] = Page(b"model")
    headers = {"127.0.0.1-headers": json.dumps({"Private-Token": "t0ken"})}
    assert read(server.url("/m.onnx", user="me:s3cr%40t@"), headers) == b"model"
    assert server.asked[0].headers["private-token"] == "t0ken"
    assert other.asked
    for asked in other.asked:
        assert not {"authorization", "private-token"} & asked.headers.keys()


def test_credentials_do_not_come_back_over_another_host(server: FaultyServer, other: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(redirect=other.url("/there"))
    other.pages["/there"] = Page(redirect=server.url("/back"))
    server.pages["/back"] = Page(b"model")
    headers = {"127.0.0.1-headers": json.dumps({"Private-Token": "t0ken"})}
    assert read(server.url("/m.onnx", user="me:s3cr%40t@"), headers) == b"model"
    back = next(asked for asked in server.asked if asked.path == "/back")
    assert not {"authorization", "private-token"} & back.headers.keys()


def test_credentials_stay_with_a_redirect_on_the_same_server(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(redirect="v2/m.onnx", status=307)
    server.pages["/v2/m.onnx"] = Page(b"model", authorization=BASIC)
    assert read(server.url("/m.onnx", user="me:s3cr%40t@")) == b"model"


def test_credentials_in_a_redirect_are_not_used(server: FaultyServer, other: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(redirect=other.url("/m.onnx", user="a:b@"))
    other.pages["/m.onnx"] = Page(b"model")
    assert read(server.url("/m.onnx")) == b"model"
    assert "authorization" not in other.asked[0].headers


def test_denied_after_a_redirect_tells_that_credentials_stayed(
    server: FaultyServer, other: FaultyServer
) -> None:
    server.pages["/m.onnx"] = Page(redirect=other.url("/m.onnx"))
    other.pages["/m.onnx"] = Page(b"model", authorization=BASIC)
    with pytest.raises(AccessDeniedError, match=f"at `{other.url('/m.onnx')}`") as caught:
        read(server.url("/m.onnx", user="me:s3cr%40t@"))
    assert "not sent on to another server" in str(caught.value.hint)


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,hello", "gopher://x", "http://["],
)
def test_redirects_to_other_schemes_are_refused(server: FaultyServer, target: str) -> None:
    server.pages["/m.onnx"] = Page(redirect=target)
    with pytest.raises(LocationError, match="leads to what cannot be followed"):
        read(server.url("/m.onnx"))


def test_redirects_end(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(redirect="/m.onnx")
    with pytest.raises(LocationError, match="redirects more than 10 times"):
        read(server.url("/m.onnx"))
    assert len(server.asked) == 11


def test_no_redirect_leaves_https(secure: FaultyServer, server: FaultyServer, authority: trustme.CA) -> None:
    secure.pages["/m.onnx"] = Page(redirect=server.url("/m.onnx?token=s3cret"))
    server.pages["/m.onnx"] = Page(b"model")
    with (
        authority.cert_pem.tempfile() as bundle,
        pytest.raises(LocationError, match="from https to http") as caught,
    ):
        read(secure.url("/m.onnx", host="localhost"), {"SSL_CERT_FILE": bundle})
    assert "s3cret" not in caught.value.message
    assert not server.asked


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"])
def test_a_bundle_is_believed(secure: FaultyServer, authority: trustme.CA, variable: str) -> None:
    with authority.cert_pem.tempfile() as bundle:
        assert read(secure.url("/m.onnx", host="localhost"), {variable: bundle}) == b"model"


def test_an_unknown_authority_is_told_at_once(secure: FaultyServer) -> None:
    with pytest.raises(
        LocationError, match=f"certificate of `localhost:{secure.port}` is not trusted"
    ) as caught:
        read(secure.url("/m.onnx", host="localhost"))
    assert caught.value.exit_code == 3
    assert "SSL_CERT_FILE" in str(caught.value.hint)


def test_a_certificate_for_another_name_is_told(secure: FaultyServer, authority: trustme.CA) -> None:
    with authority.cert_pem.tempfile() as bundle, pytest.raises(LocationError, match="mismatch") as caught:
        read(secure.url("/m.onnx"), {"SSL_CERT_FILE": bundle})
    assert "host name" in str(caught.value.hint)


def test_https_to_a_server_of_http_is_told(server: FaultyServer) -> None:
    with pytest.raises(LocationError, match=f"no TLS with `127.0.0.1:{server.port}`") as caught:
        read(server.url("/m.onnx").replace("http:", "https:"))
    assert "http://" in str(caught.value.hint)


def test_a_bundle_that_is_none_is_named(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    with pytest.raises(RequestError, match="SSL_CERT_FILE"):
        read("https://localhost:1/m.onnx", {"SSL_CERT_FILE": str(bundle)})
    bundle.write_text("nothing")
    with pytest.raises(RequestError, match=r"SSL_CERT_FILE.*no PEM file"):
        read("https://localhost:1/m.onnx", {"SSL_CERT_FILE": str(bundle)})


def test_a_proxy_is_used_with_its_own_password_only(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(b"model")
    environ = {"http_proxy": server.url(user="proxy:pr0xy@")}
    assert read("http://me:s3cr%40t@model.invalid/m.onnx", environ) == b"model"
    asked = server.asked[0]
    assert asked.target == "http://model.invalid/m.onnx"
    assert asked.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"proxy:pr0xy").decode()
    assert asked.headers["authorization"] == BASIC


def test_a_proxy_connects_through_to_https(secure: FaultyServer, authority: trustme.CA) -> None:
    """The proxy sees the server's name and port, and nothing of what is said."""
    url = secure.url("/m.onnx", host="localhost", user="me:s3cr%40t@")
    with authority.cert_pem.tempfile() as bundle, running_http_proxy() as proxy:
        through = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "SSL_CERT_FILE": bundle}
        assert read(url, through) == b"model"
        assert {line.rpartition(" ")[0] for line in proxy.asked} == {f"CONNECT localhost:{secure.port}"}
        proxy.asked.clear()
        assert read(url, through | {"NO_PROXY": f"localhost:{secure.port}"}) == b"model"
        assert not proxy.asked


def test_a_proxy_passes_http_on(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(b"model")
    with running_http_proxy() as proxy:
        through = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
        assert read(server.url("/m.onnx"), through) == b"model"
        assert proxy.asked
        proxy.asked.clear()
        assert read(server.url("/m.onnx"), through | {"NO_PROXY": "127.0.0.0/8"}) == b"model"
        assert not proxy.asked


def test_no_proxy_goes_straight(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(b"model")
    assert (
        read(server.url("/m.onnx"), {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "x,127.0.0.1"})
        == b"model"
    )


def test_a_dead_proxy_is_told(server: FaultyServer) -> None:
    server.pages["/m.onnx"] = Page(b"model")
    with pytest.raises(UnavailableError, match="proxy"):
        read("https://model.invalid/m.onnx", {"HTTPS_PROXY": "http://me:s3cret@127.0.0.1:1"})


def test_a_proxy_of_another_kind_is_refused() -> None:
    with pytest.raises(RequestError, match="the proxy in `HTTP_PROXY`") as caught:
        read("http://model.invalid/m.onnx", {"ALL_PROXY": "socks5://me:s3cret@127.0.0.1:1"})
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "rules", "direct"),
    [
        ("http://host/", "*", True),
        ("http://host/", "host", True),
        ("http://HOST/", "Host", True),
        ("http://a.host/", "host", True),
        ("http://a.host/", ".host", True),
        ("http://a.host/", "*.host", True),
        ("http://ahost/", "host", False),
        ("http://host.evil/", "host", False),
        ("http://host:81/", "host:81", True),
        ("http://host:82/", "host:81", False),
        ("https://host/", "x, host:443", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3/", "10.1.2.3", True),
        ("http://110.1.2.3/", "10.1.2.3", False),
        ("http://[fd00::1]/", "fd00::/8", True),
        ("http://[fd00::1]:81/", "[fd00::1]:81", True),
        ("http://svc.ns.svc.cluster.local/", ".svc,.cluster.local", True),
        ("http://host/", "", False),
    ],
)
def test_no_proxy_rules(url: str, rules: str, direct: bool) -> None:
    environ = {"http_proxy": "proxy:3128", "https_proxy": "proxy:3128", "no_proxy": rules}
    assert proxy_for(HttpUrl.parse(url), environ) == (None if direct else "http://proxy:3128")


def test_headers_for_a_host_must_be_an_object(server: FaultyServer) -> None:
    with pytest.raises(RequestError, match=r"127\.0\.0\.1-headers") as caught:
        read(server.url("/m.onnx"), {"127.0.0.1-headers": '["s3cret"]'})
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


SECRET = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=20).map(
    "sEc".__add__
)


@given(secret=SECRET, place=st.sampled_from(["user", "password", "query", "fragment"]))
def test_no_part_of_an_url_that_may_be_secret_is_printed(secret: str, place: str) -> None:
    text = {
        "user": f"https://{secret}@host/m",
        "password": f"https://me:{secret}@host/m",
        "query": f"https://host/m?sig={secret}",
        "fragment": f"https://host/m#{secret}",
    }[place]
    url = HttpUrl.parse(text)
    for shown in (str(url), repr(url), repr(url.joined("/x")), f"{url.neighbour('w')}"):
        assert secret.lower() not in shown.lower()


@given(text=st.text(max_size=60))
def test_any_text_is_an_url_or_refused(text: str) -> None:
    for scheme in ("http", "https"):
        try:
            url = HttpUrl.parse(f"{scheme}://{text}")
        except RequestError:
            continue
        assert url.target.isascii() or not url.host.isascii()
        assert HttpUrl.parse(url.target).target == url.target


@settings(max_examples=25, deadline=None)
@given(secret=SECRET, status=st.sampled_from([400, 401, 403, 404, 407, 410, 412, 416, 500, 501]))
def test_no_error_shows_a_secret(secret: str, status: int) -> None:
    with run_faulty() as site:
        site.pages["/m.onnx"] = Page(statuses=[status] * 9)
        url = site.url(f"/m.onnx?X-Amz-Signature={secret}", user=f"me:{secret}@")
        with pytest.raises(ConverterError) as caught:
            read(url, {"127.0.0.1-headers": json.dumps({"token": secret})})
        assert secret not in f"{caught.value.message} {caught.value.hint}"
