"""S3 behind TLS with a certificate of one's own authority, and behind an HTTP proxy: with real sockets."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from links import set_fast, watched_pulls
from ovms_converter.errors import LocationError, UnavailableError
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.location import Location
from relays import Relay, running_http_proxy, running_tls_front
from servers import S3Bucket


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(s3: S3Bucket, authority: trustme.CA) -> Iterator[dict[str, str]]:
    """The settings of the bucket behind TLS, without a word about certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with running_tls_front(s3.endpoint, context) as front:
        yield s3.environ() | {"S3_ENDPOINT": f"https://localhost:{front.port}"}


@pytest.fixture
def http_proxy() -> Iterator[Relay]:
    with running_http_proxy() as running:
        yield running


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """A file of several authorities, as they are in clusters: the one that counts is not the first."""
    path = tmp_path / "authorities.pem"
    path.write_bytes(trustme.CA().cert_pem.bytes() + authority.cert_pem.bytes())
    return path


def read(s3: S3Bucket, environ: dict[str, str]) -> bytes:
    s3.put("m.onnx", b"model")
    return open_source(Location.parse(s3.url("m.onnx")), environ).read("m.onnx")


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_private_authority_is_believed(
    s3: S3Bucket, secure: dict[str, str], bundle: Path, variable: str
) -> None:
    assert read(s3, secure | {variable: str(bundle)}) == b"model"


@pytest.mark.parametrize("through_a_proxy", [False, True])
def test_a_large_file_behind_tls_is_pulled_there_too(
    s3: S3Bucket,
    secure: dict[str, str],
    bundle: Path,
    http_proxy: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    through_a_proxy: bool,
) -> None:
    set_fast(monkeypatch)
    is_whole = watched_pulls(monkeypatch)
    data = os.urandom(1 << 20) * 40
    s3.put("m", data)
    environ = secure | {"AWS_CA_BUNDLE": str(bundle)}
    if through_a_proxy:
        environ["HTTPS_PROXY"] = f"http://127.0.0.1:{http_proxy.port}"
    open_source(Location.parse(s3.url("m")), environ).fetch(["m"], tmp_path, lambda count: None)
    assert (tmp_path / "m").read_bytes() == data
    assert is_whole
    assert all(is_whole)
    host = secure["S3_ENDPOINT"].removeprefix("https://")
    asked = {line.rpartition(" ")[0] for line in http_proxy.asked}
    assert asked == ({f"CONNECT {host}"} if through_a_proxy else set())


def test_publishing_behind_tls(s3: S3Bucket, secure: dict[str, str], bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(b"<net/>")
    found = open_destination(Location.parse(s3.url("o")), secure | {"AWS_CA_BUNDLE": str(bundle)})
    found.publish("1", {"m.xml": tmp_path / "m.xml"}, lambda count: None)
    assert s3.get("o/1/m.xml") == b"<net/>"


def test_checks_can_be_switched_off(s3: S3Bucket, secure: dict[str, str]) -> None:
    assert read(s3, secure | {"S3_VERIFY_SSL": "false"}) == b"model"
    assert read(s3, secure | {"MLFLOW_S3_IGNORE_TLS": "true"}) == b"model"


@pytest.mark.parametrize("other_authority", [False, True])
def test_an_unknown_authority_is_named(
    s3: S3Bucket, secure: dict[str, str], tmp_path: Path, other_authority: bool
) -> None:
    if other_authority:
        (tmp_path / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
        secure = secure | {"AWS_CA_BUNDLE": str(tmp_path / "other.pem")}
    with pytest.raises(
        LocationError, match=r"certificate of `https://localhost:\d+` is not trusted"
    ) as caught:
        read(s3, secure)
    assert "AWS_CA_BUNDLE" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_a_proxy_is_used_for_http(s3: S3Bucket, http_proxy: Relay) -> None:
    assert read(s3, s3.environ() | {"HTTP_PROXY": f"http://127.0.0.1:{http_proxy.port}"}) == b"model"
    assert any(line.startswith(f"GET {s3.endpoint}/{s3.name}/m.onnx") for line in http_proxy.asked)


def test_a_proxy_connects_through_for_https(
    s3: S3Bucket, secure: dict[str, str], bundle: Path, http_proxy: Relay
) -> None:
    through = {"HTTPS_PROXY": f"http://127.0.0.1:{http_proxy.port}", "AWS_CA_BUNDLE": str(bundle)}
    assert read(s3, secure | through) == b"model"
    host = secure["S3_ENDPOINT"].removeprefix("https://")
    assert http_proxy.asked
    assert set(http_proxy.asked) == {f"CONNECT {host} HTTP/1.1"}


def test_no_proxy_goes_straight_to_the_store(s3: S3Bucket, http_proxy: Relay) -> None:
    proxy = {"HTTP_PROXY": f"http://127.0.0.1:{http_proxy.port}", "NO_PROXY": "example.org,127.0.0.1"}
    assert read(s3, s3.environ() | proxy) == b"model"
    assert http_proxy.asked == []


def test_the_proxies_that_were_given_count_not_the_processs(
    s3: S3Bucket, http_proxy: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that calls ours hands an environment over, which need not be its own."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert read(s3, s3.environ()) == b"model"
    given = s3.environ() | {"HTTP_PROXY": f"http://127.0.0.1:{http_proxy.port}"}
    assert read(s3, given) == b"model"
    assert http_proxy.asked
    http_proxy.asked.clear()
    assert read(s3, given | {"NO_PROXY": "127.0.0.0/8"}) == b"model"
    assert http_proxy.asked == []


def test_a_dead_proxy_is_no_answer(s3: S3Bucket) -> None:
    with pytest.raises(UnavailableError):
        read(s3, s3.environ() | {"HTTP_PROXY": "http://127.0.0.1:1"})
