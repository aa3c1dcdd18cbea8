"""Stores that redirect to another server: what credentials hold does not go there."""

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import trustme

from command_line import CommandLine
from http_servers import run_handler
from ovms_converter.errors import LocationError
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.location import Location
from relays import running_http_proxy
from servers import S3Bucket

TOKEN = "FwoGZXIvYXdzEXAMPLE"
SAS = "sv=2021-12-02&sr=c&sp=rlcw&sig=Zm9yYmlkZGVu%3D"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret-access-key"}
CREDENTIALS = ("x-amz-security-token", "authorization", "x-amz-signature", "sig=")


@dataclass(frozen=True)
class Request:
    """One that arrived, with names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def is_signed(self) -> bool:
        """Whether anything in it is or holds a credential, the URL that led here among them."""
        text = " ".join([self.target, *(f"{name} {value}" for name, value in self.headers.items())])
        return any(sign in text.lower() for sign in CREDENTIALS)


@dataclass
class Store:
    """A server with one object, `model.onnx`, in every bucket.

    `leads_to`  base URL of the server that it redirects to, with `status`; `only` says which requests
    """

    leads_to: str = ""
    status: int = 307
    only: str = "all"
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    url: str = ""

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def redirects(self, request: Request) -> bool:
        """Whether this request is sent elsewhere."""
        about_object = "model.onnx" in request.target.partition("?")[0]
        return {
            "all": True,
            "signed writes": request.is_signed and request.method == "PUT",
            "signed": request.is_signed,
            "signed reads": request.is_signed and request.method == "GET" and about_object,
            "the bucket": not about_object,
            "what has not moved": not request.target.startswith("/moved"),
        }[self.only]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    store: Store

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        # Of a proxy, the whole URL is asked for.
        path = f"/{self.path.split('/', 3)[3]}" if self.path.startswith("http") else self.path
        request = Request(self.command, path, headers)
        self.store.asked.append(request)
        if self.store.leads_to and self.store.redirects(request):
            more = {"location": self.store.leads_to + path} if self.store.leads_to != "nowhere" else {}
            self.answer(self.store.status, b"", more | self.store.headers)
        elif "comp=list" in path:
            self.answer(200, b"<EnumerationResults><Blobs/></EnumerationResults>")
        elif "list-type=2" in path:
            self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        elif self.command in ("GET", "HEAD") and "/model.onnx" in path:
            told = {"etag": '"1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
            self.answer(200, b"model", told)
        else:
            self.answer(403, b"")

    do_HEAD = do_PUT = do_GET

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextlib.contextmanager
def running(host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> Iterator[Store]:
    store = Store()
    with run_handler(type("Handler", (_Handler,), {"store": store}), context, host) as port:
        store.url = f"{'https' if context else 'http'}://{host}:{port}"
        yield store


@pytest.fixture
def gate() -> Iterator[Store]:
    """The server that the user names."""
    with running() as store:
        yield store


@pytest.fixture(params=["127.0.0.2", "127.0.0.1"], ids=["other host", "other port"])
def other(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A server that the user does not name."""
    with running(request.param) as store:
        yield store


@pytest.fixture
def stranger() -> Iterator[Store]:
    """One on another host."""
    with running("127.0.0.2") as store:
        yield store


def with_token(gate: Store) -> dict[str, str]:
    return {"S3_ENDPOINT": gate.url, **KEYS, "AWS_SESSION_TOKEN": TOKEN}


def with_signature(gate: Store) -> dict[str, str]:
    return {
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_STORAGE_ENDPOINT": f"{gate.url}/account",
        "AZURE_STORAGE_SAS_TOKEN": SAS,
    }


def with_connection_string(gate: Store) -> dict[str, str]:
    text = f"AccountName=account;BlobEndpoint={gate.url}/account;SharedAccessSignature={SAS}"
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


Settings = Callable[[Store], dict[str, str]]
SECRETS = [
    pytest.param("s3://bucket/model.onnx", with_token, "`S3_ENDPOINT=", id="session token"),
    pytest.param("az://bucket/model.onnx", with_signature, "`AZURE_STORAGE_ENDPOINT=", id="signature"),
    pytest.param("az://bucket/model.onnx", with_connection_string, "`BlobEndpoint`", id="connection string"),
]


def refused(error: LocationError, gate: str, other: str) -> None:
    """Both servers are named, and nothing else of the redirect."""
    assert error.message == f"`{gate}` redirects to `{other}`, and credentials are not sent there"
    assert error.exit_code == 3
    shown = f"{error.message} {error.hint}"
    assert not any(secret in shown for secret in (TOKEN, "Zm9yYmlk", "leaked", "hunter2", "?"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_a_source_that_leads_elsewhere_is_refused(
    gate: Store, other: Store, url: str, environ: Settings, hint: str, status: int
) -> None:
    gate.leads_to, gate.status = other.url, status
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse(url), environ(gate)).list()
    refused(caught.value, gate.url, other.url)
    assert hint in str(caught.value.hint)
    assert other.asked == []
    assert gate.asked
    assert not any(request.is_signed for request in gate.asked)


@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_a_destination_that_leads_elsewhere_is_refused(
    gate: Store, other: Store, url: str, environ: Settings, hint: str
) -> None:
    gate.leads_to = other.url
    with pytest.raises(LocationError) as caught:
        open_destination(Location.parse(url), environ(gate)).check_writable()
    refused(caught.value, gate.url, other.url)
    assert hint in str(caught.value.hint)
    assert other.asked == []


def test_a_redirect_is_told_without_what_it_holds(gate: Store, stranger: Store) -> None:
    gate.leads_to = f"http://user:hunter2@127.0.0.2:{stranger.port}/?X-Amz-Signature=leaked&to="
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse("s3://bucket/m"), with_token(gate)).list()
    refused(caught.value, gate.url, stranger.url)


@pytest.mark.parametrize("kind", ["web identity", "assumed role"])
def test_keys_that_a_role_gives_stay_too(
    gate: Store, other: Store, s3_open: S3Bucket, tmp_path: Path, kind: str
) -> None:
    gate.leads_to = other.url
    role = "arn:aws:iam::123456789012:role/converter"
    environ = {"S3_ENDPOINT": gate.url, "AWS_ENDPOINT_URL_STS": s3_open.endpoint, "HOME": str(tmp_path)}
    if kind == "web identity":
        (tmp_path / "token").write_text("a-signed-token")
        environ |= {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    else:
        keys = "\n".join(f"{name.lower()} = {value}" for name, value in KEYS.items())
        (tmp_path / "config").write_text(
            f"[profile keys]\n{keys}\n[profile taker]\nrole_arn = {role}\nsource_profile = keys\n"
        )
        environ |= {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "taker"}
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse("s3://bucket/m"), environ).list()
    refused(caught.value, gate.url, other.url)
    assert other.asked == []
    assert not any(request.is_signed for request in gate.asked)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "127.0.0.2", "localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_a_redirect_from_https_is_refused(
    authority: trustme.CA,
    secure: ssl.SSLContext,
    tmp_path: Path,
    scheme: str,
    host: str,
    url: str,
    environ: Settings,
    hint: str,
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with running(context=secure) as gate, running(host, secure if scheme == "https" else None) as other:
        gate.leads_to = other.url
        settings = environ(gate) | {"AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}
        with pytest.raises(LocationError) as caught:
            open_source(Location.parse(url), settings).list()
        refused(caught.value, gate.url, other.url)
        assert hint in str(caught.value.hint)
        assert other.asked == []


def test_a_redirect_behind_a_proxy_is_refused(gate: Store, other: Store) -> None:
    gate.leads_to = other.url
    with running_http_proxy() as proxy:
        environ = with_token(gate) | {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
        with pytest.raises(LocationError) as caught:
            open_source(Location.parse("s3://bucket/m"), environ).list()
        refused(caught.value, gate.url, other.url)
        assert {line.split(" ")[0] for line in proxy.asked} == {"HEAD"}
    assert other.asked == []


def test_the_question_passes_a_proxy_that_wants_a_password(gate: Store, stranger: Store) -> None:
    """This proxy answers in the store's place."""
    gate.leads_to, gate.only = stranger.url, "the bucket"
    proxy = f"http://user:hunter2@127.0.0.1:{gate.port}"
    environ = with_token(gate) | {"HTTP_PROXY": proxy, "S3_ENDPOINT": "http://store.invalid:9000"}
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse("s3://bucket/m"), environ).list()
    refused(caught.value, "http://store.invalid:9000", stranger.url)
    assert {request.headers.get("proxy-authorization") for request in gate.asked} == {
        "Basic dXNlcjpodW50ZXIy"
    }


def test_the_systems_authorities_count_beside_the_bundle(
    authority: trustme.CA,
    secure: ssl.SSLContext,
    stranger: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the environment of this process, `SSL_CERT_FILE` names what OpenSSL takes for the system's."""
    authority.cert_pem.write_to_path(tmp_path / "system.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "more.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    with running(context=secure) as gate:
        gate.leads_to = stranger.url
        environ = with_token(gate) | {"AWS_CA_BUNDLE": str(tmp_path / "more.pem")}
        with pytest.raises(LocationError) as caught:
            open_source(Location.parse("s3://bucket/m"), environ).list()
        refused(caught.value, gate.url, stranger.url)


def test_a_bucket_before_the_host_is_asked_there(gate: Store, other: Store) -> None:
    """The bucket `127` before the host `0.0.1` needs no name to be resolved."""
    gate.leads_to = other.url
    environ = with_token(gate) | {"S3_ENDPOINT": f"http://0.0.1:{gate.port}", "S3_USER_VIRTUAL_BUCKET": "1"}
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse("s3://127/m"), environ).list()
    refused(caught.value, gate.url, other.url)
    assert {(request.method, request.target) for request in gate.asked} == {("HEAD", "/")}
    gate.leads_to = ""
    assert open_source(Location.parse("s3://127/model.onnx"), environ).read("model.onnx") == b"model"


@pytest.mark.parametrize("status", [301, 307])
def test_the_region_that_amazon_names_is_the_hint(gate: Store, stranger: Store, status: int) -> None:
    gate.leads_to, gate.status = stranger.url, status
    gate.headers = {"x-amz-bucket-region": "eu-central-1"}
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse("s3://bucket/m"), with_token(gate)).list()
    assert caught.value.hint == "set `AWS_REGION=eu-central-1`"


def test_the_hint_names_a_server_without_the_bucket_before_it(gate: Store) -> None:
    """Nothing is asked of that server, which is none."""
    gate.leads_to = f"http://bucket.s3.example.com:{gate.port}"
    with pytest.raises(LocationError, match=r"redirects to `http://bucket\.s3\.example\.com") as caught:
        open_source(Location.parse("s3://bucket/m"), with_token(gate)).list()
    assert f"`S3_ENDPOINT=http://s3.example.com:{gate.port}`" in str(caught.value.hint)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_a_store_that_redirects_only_what_is_signed_is_refused(
    gate: Store, other: Store, url: str, environ: Settings, hint: str, status: int
) -> None:
    """As one that asks who it is first does; the client would follow to another port of the same host."""
    gate.leads_to, gate.only, gate.status = other.url, "signed", status
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse(url), environ(gate)).list()
    refused(caught.value, gate.url, other.url)
    assert hint in str(caught.value.hint)
    assert other.asked == []
    assert {request.method for request in gate.asked} == {"HEAD"}


@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_objects_that_lie_elsewhere_are_refused(
    gate: Store, other: Store, url: str, environ: Settings, hint: str
) -> None:
    """A server whose listing is its own, and whose objects are another's."""
    gate.leads_to, gate.only = other.url, "signed reads"
    with pytest.raises(LocationError) as caught:
        open_source(Location.parse(url), environ(gate)).read("model.onnx")
    refused(caught.value, gate.url, other.url)
    assert hint in str(caught.value.hint)
    assert other.asked == []


@pytest.mark.parametrize("only", ["signed", "signed reads"])
@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_a_redirect_of_what_is_signed_is_refused_behind_a_proxy(
    gate: Store, other: Store, url: str, environ: Settings, hint: str, only: str
) -> None:
    gate.leads_to, gate.only = other.url, only
    with running_http_proxy() as proxy:
        settings = environ(gate) | {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
        with pytest.raises(LocationError) as caught:
            open_source(Location.parse(url), settings).read("model.onnx")
        assert proxy.asked
    refused(caught.value, gate.url, other.url)
    assert hint in str(caught.value.hint)
    assert other.asked == []


@pytest.mark.parametrize("endpoint", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_what_is_signed_reaches_no_other_host(
    gate: Store, stranger: Store, url: str, environ: Settings, hint: str, endpoint: str
) -> None:
    """A server that redirects nothing but the signed request for an object."""
    gate.url = gate.url.replace("127.0.0.1", endpoint)
    source = open_source(Location.parse(url), environ(gate))
    assert source.read("model.onnx") == b"model"
    gate.leads_to, gate.only = stranger.url, "signed reads"
    with pytest.raises(LocationError, match="redirects to another host, and credentials are not sent there"):
        source.read("model.onnx")
    assert any(gate.redirects(request) for request in gate.asked)
    assert stranger.asked == []


@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_writes_reach_no_other_host(
    gate: Store, stranger: Store, url: str, environ: Settings, hint: str
) -> None:
    # Of the others, the client follows none with a body.
    gate.leads_to, gate.only, gate.status = stranger.url, "signed writes", 303
    with pytest.raises(LocationError, match="and credentials are not sent there") as caught:
        open_destination(Location.parse(url), environ(gate)).check_writable()
    assert caught.value.exit_code == 3
    assert stranger.asked == []


@pytest.mark.parametrize(
    ("url", "bucket", "environ"),
    [
        ("s3://{}/model.onnx", "/{}", with_token),
        ("az://{}/model.onnx", "/account/{}?restype=container", with_signature),
    ],
    ids=["session token", "signature"],
)
def test_one_question_a_bucket(gate: Store, url: str, bucket: str, environ: Settings) -> None:
    """However often a bucket is opened; and it holds nothing that is secret."""
    for name in ("first", "first", "second"):
        location = Location.parse(url.format(name))
        assert open_source(location, environ(gate)).read("model.onnx") == b"model"
        assert open_destination(location.child("out"), environ(gate)).list() == ()
    questions = [request for request in gate.asked if not request.is_signed]
    assert [(one.method, one.target) for one in questions] == [
        ("HEAD", bucket.format("first")),
        ("HEAD", bucket.format("second")),
    ]
    repeated = [one for one in gate.asked if one.headers.get("range") == "bytes=0-0"]
    assert len(repeated) == 2
    signed = [one for one in gate.asked if one.target.startswith(bucket.format("first")) and one.is_signed]
    assert [one.method for one in signed if "model.onnx" not in one.target].count("HEAD") == 1


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("s3://bucket/model.onnx", {"S3_ENDPOINT": "{}", **KEYS}),
        ("s3://bucket/model.onnx", {"S3_ENDPOINT": "{}", "AWS_NO_SIGN_REQUEST": "true"}),
        (
            "az://bucket/model.onnx",
            {
                "AZURE_STORAGE_ACCOUNT": "account",
                "AZURE_STORAGE_KEY": "c2VjcmV0",
                "AZURE_STORAGE_ENDPOINT": "{}/account",
            },
        ),
        (
            "az://bucket/model.onnx",
            {"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_ENDPOINT": "{}/account"},
        ),
    ],
    ids=["keys", "no keys", "account key", "no account key"],
)
def test_what_stays_behind_by_itself_needs_no_question(
    gate: Store, stranger: Store, url: str, environ: dict[str, str]
) -> None:
    """Redirects are followed as ever, without the signature."""
    gate.leads_to = stranger.url
    settings = {name: value.format(gate.url) for name, value in environ.items()}
    assert open_source(Location.parse(url), settings).list().is_file
    assert [request.method for request in gate.asked].count("HEAD") == 1
    assert all("model.onnx" in request.target for request in gate.asked)
    assert stranger.asked
    assert not any(request.is_signed for request in stranger.asked)


@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_a_redirect_to_nowhere_is_none(gate: Store, url: str, environ: Settings, hint: str) -> None:
    """Of the bucket's own URL; the object is there."""
    gate.leads_to, gate.only, gate.status = "nowhere", "the bucket", 301
    assert open_source(Location.parse(url), environ(gate)).read("model.onnx") == b"model"


def test_a_redirect_within_the_server_is_followed(gate: Store) -> None:
    gate.leads_to, gate.only = f"{gate.url}/moved", "what has not moved"
    assert (
        open_source(Location.parse("s3://bucket/model.onnx"), with_token(gate)).read("model.onnx") == b"model"
    )
    assert any(request.is_signed and request.target == "/moved/bucket/model.onnx" for request in gate.asked)


@pytest.mark.parametrize(("url", "environ", "hint"), SECRETS)
def test_doctor_names_it(
    command: CommandLine, gate: Store, stranger: Store, tmp_path: Path, url: str, environ: Settings, hint: str
) -> None:
    gate.leads_to = stranger.url
    done = command("doctor", url, str(tmp_path), **environ(gate))
    shown = done.out + done.err
    assert done.code == 3
    assert f"`{gate.url}` redirects to `{stranger.url}`" in shown
    assert hint in shown
    assert TOKEN not in shown
    assert "Zm9yYmlk" not in shown
