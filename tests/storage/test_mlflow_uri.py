"""MLflow URIs, resolved and read through servers that answer as MLflow 1.30, 2.22 and 3.17 did."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import trustme

from http_servers import FaultyServer, Page, run_faulty, run_handler
from ovms_converter.errors import (
    AccessDeniedError,
    LocationError,
    NotFoundError,
    RequestError,
    UnavailableError,
)
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.http_retry import HttpLimits
from ovms_converter.storage.location import Location
from ovms_converter.storage.mlflow import MlflowSource

DATA = Path(__file__).parent.parent / "data" / "storage" / "mlflow"
VERSIONS = ["1.30.1", "2.22.1", "3.17.2"]
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
QUICK = HttpLimits(connect_seconds=5, idle_seconds=2, attempts=2, first_wait=0.001, longest_wait=0.002)


@dataclass
class Recorded:
    """The answers of one server, and what is asked of it."""

    version: str
    url: str = ""
    calls: list[str] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.content = json.loads((DATA / f"{self.version}.json").read_text())
        self.files = DATA / ("2.22.1" if self.version == "3.17.2" else self.version)

    @property
    def uris(self) -> dict[str, str]:
        return {uri: place for uri, place in self.content["resolves_to"].items() if place}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(target)
        self.calls.append(parts.path)
        if parts.path.startswith(f"{ARTIFACTS}/"):
            return 200, (self.files / unquote(parts.path).rpartition("/")[2]).read_bytes()
        asked = (method, parts.path, dict(parse_qsl(parts.query)), json.loads(body or b"{}"))
        for call in self.content["http"]:
            query = {key: str(value) for key, value in (call["query"] or {}).items()}
            if asked == (call["method"], call["path"], query, call["body"] or {}):
                response = call["response"]
                return call["status"], (
                    response if isinstance(response, str) else json.dumps(response)
                ).encode()
        if parts.path == ARTIFACTS:
            return 200, b"{}"
        return 404, b"<!doctype html><title>404 Not Found</title>"


@contextmanager
def replayed(version: str) -> Iterator[Recorded]:
    recorded = Recorded(version)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            recorded.authorizations.add(self.headers.get("authorization"))
            status, answer = recorded.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

    with run_handler(Handler) as port:
        recorded.url = f"http://127.0.0.1:{port}"
        yield recorded


@pytest.fixture(params=VERSIONS)
def mlflow(request: pytest.FixtureRequest) -> Iterator[Recorded]:
    with replayed(request.param) as recorded:
        yield recorded


@pytest.fixture
def newest() -> Iterator[Recorded]:
    with replayed("3.17.2") as recorded:
        yield recorded


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with run_faulty() as site:
        yield site


def source(uri: str, tracking: str, **environ: str) -> MlflowSource:
    return MlflowSource(Location.parse(uri), {"MLFLOW_TRACKING_URI": tracking, **environ}, QUICK)


def test_every_uri_leads_to_the_model(mlflow: Recorded, tmp_path: Path) -> None:
    for number, uri in enumerate(mlflow.uris):
        reader = open_source(Location.parse(uri), {"MLFLOW_TRACKING_URI": mlflow.url})
        listing = reader.list()
        assert not listing.is_file
        sizes = {entry.path: entry.size for entry in listing.entries}
        files = {path.name: path.read_bytes() for path in mlflow.files.iterdir()}
        assert {path: sizes[path] for path in files} == {path: len(data) for path, data in files.items()}
        target = tmp_path / str(number)
        target.mkdir()
        tree = reader.fetch(sorted(files), target, lambda _: None)
        assert {file.path: (target / file.path).read_bytes() for file in tree.files} == files
        assert reader.read("MLmodel", 0, 5) == files["MLmodel"][:5]


def test_a_place_in_the_artifacts_is_read_without_the_registry(mlflow: Recorded) -> None:
    place = mlflow.uris["models:/demo-onnx/1" if mlflow.version != "3.17.2" else "models:/demo/1"]
    host = mlflow.url.removeprefix("http://")
    for uri in (place, place.replace("mlflow-artifacts:/", f"mlflow-artifacts://{host}/")):
        assert b"flavors" in source(uri, mlflow.url).read("MLmodel")
    assert {call for call in mlflow.calls if not call.startswith(ARTIFACTS)} == set()


def test_one_file_of_a_model_has_its_neighbours(newest: Recorded) -> None:
    reader = source("models:/demo/1/model.onnx", newest.url)
    listing = reader.list()
    assert listing.is_file
    assert [(entry.path, entry.size) for entry in listing.entries] == [("model.onnx", 1105)]
    external = next(path.name for path in newest.files.iterdir() if path.stat().st_size == 1024)
    assert reader.read(external) == (newest.files / external).read_bytes()
    with pytest.raises(NotFoundError, match=r"no `weights` at `models:/demo/1/model\.onnx`"):
        reader.read("weights")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/demo/9", "has no version 9 of the model `demo`"),
        ("models:/demo@nobody", "has no model `demo` with the alias `nobody`"),
        ("runs:/00000000000000000000000000000000/model", "has no run `0{32}`"),
        ("models:/demo/1/nothing", "there is nothing at `models:/demo/1/nothing`"),
        ("models:/m-00000000000000000000000000000000", "does not know the call for logged model"),
    ],
)
def test_what_is_not_there_is_named(newest: Recorded, uri: str, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        source(uri, newest.url).list()


def test_an_old_server_knows_no_alias() -> None:
    with replayed("1.30.1") as old, pytest.raises(NotFoundError, match="does not know the call") as caught:
        source("models:/demo-onnx@champion", old.url).list()
    assert "aliases need MLflow 2.3" in str(caught.value.hint)


def test_a_stage_without_a_version_is_named(server: FaultyServer) -> None:
    server.pages["/api/2.0/mlflow/registered-models/get-latest-versions"] = Page(b"{}")
    with pytest.raises(NotFoundError, match="does not have a version in the stage `Staging`"):
        source("models:/demo/Staging", server.url()).list()


@pytest.mark.parametrize(
    "uri", ["models:/demo", "models:/demo@", "models:/@x", "models:/", "runs:/", "models://host/demo/1"]
)
def test_incomplete_uris_are_refused_before_anything_is_asked(uri: str) -> None:
    with pytest.raises(RequestError, match=r"models|runs") as caught:
        source(uri, "http://127.0.0.1:1")
    assert "models:/" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ("", "not set"),
        ("sqlite:///ml.db", "not the http"),
        ("./mlruns", "not the http"),
        ("databricks", "not the http"),
    ],
)
def test_settings_without_a_server_are_refused(tracking: str, message: str) -> None:
    with pytest.raises(RequestError, match=f"`MLFLOW_TRACKING_URI` is {message}"):
        source("models:/demo/1", tracking)


def test_nothing_is_written_to_mlflow() -> None:
    with pytest.raises(RequestError, match="nothing can be written"):
        open_destination(Location.parse("models:/demo/1"), {})


BASIC = "Basic bWU6czNjcjN0"


@pytest.mark.parametrize(
    ("environ", "user", "expected"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "t0ken"}, "", "Bearer t0ken"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cr3t"}, "", BASIC),
        (
            {
                "MLFLOW_TRACKING_USERNAME": "me",
                "MLFLOW_TRACKING_PASSWORD": "s3cr3t",
                "MLFLOW_TRACKING_TOKEN": "t0ken",
            },
            "",
            BASIC,
        ),
        ({}, "me:s3cr3t@", BASIC),
        ({}, "", None),
    ],
)
def test_credentials_go_with_every_request(
    newest: Recorded, environ: dict[str, str], user: str, expected: str | None
) -> None:
    assert source("models:/demo/1", newest.url.replace("//", f"//{user}"), **environ).read("MLmodel")
    assert newest.authorizations == {expected}


def test_credentials_go_to_the_tracking_server_only(newest: Recorded, server: FaultyServer) -> None:
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = Page(
        json.dumps(
            {"artifact_uri": f"mlflow-artifacts://{newest.url[7:]}/{newest.uris['models:/demo/1'][18:]}"}
        ).encode()
    )
    assert source("models:/demo/1", server.url(), MLFLOW_TRACKING_TOKEN="t0ken").read("MLmodel")
    assert server.asked[0].headers["authorization"] == "Bearer t0ken"
    assert newest.authorizations == {None}


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(RequestError, match="`MLFLOW_TRACKING_PASSWORD` is missing"):
        source("models:/demo/1", "http://127.0.0.1:1", MLFLOW_TRACKING_USERNAME="me")


@pytest.mark.parametrize("status", [401, 403])
def test_denied_names_the_variables(server: FaultyServer, status: int) -> None:
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = Page(statuses=[status] * 3)
    with pytest.raises(AccessDeniedError, match="denies access to version 1 of the model `demo`") as caught:
        source("models:/demo/1", server.url()).list()
    assert "MLFLOW_TRACKING_TOKEN" in str(caught.value.hint)


def test_a_refused_host_name_is_explained(server: FaultyServer) -> None:
    page = Page(b"Invalid Host header - possible DNS rebinding attack detected", status=403)
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = page
    with pytest.raises(
        AccessDeniedError, match=r"host name `mlflow\.mlflow\.svc`: 403 Invalid Host"
    ) as caught:
        source("models:/demo/1", "http://mlflow.mlflow.svc:5000", HTTP_PROXY=server.url()).list()
    assert "--allowed-hosts mlflow.mlflow.svc:5000" in str(caught.value.hint)


def test_a_page_in_place_of_json_is_told(server: FaultyServer) -> None:
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = Page(b"<html>Sign in")
    with pytest.raises(LocationError, match="a web page, perhaps to sign in") as caught:
        source("models:/demo/1", server.url()).list()
    assert "MLFLOW_TRACKING_URI" in str(caught.value.hint)


def test_a_server_that_fails_is_unavailable(server: FaultyServer) -> None:
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = Page(statuses=[503] * 9)
    with pytest.raises(UnavailableError, match="503"):
        source("models:/demo/1", server.url()).list()


def place_of_demo(server: FaultyServer, place: object) -> MlflowSource:
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = Page(
        json.dumps({"artifact_uri": place}).encode()
    )
    return source("models:/demo/1", server.url("/prefix").removesuffix("/prefix"))


def test_a_place_on_this_machine_is_read(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_bytes(b"flavors")
    for place in (str(tmp_path), tmp_path.as_uri()):
        assert place_of_demo(server, place).read("MLmodel") == b"flavors"


def test_a_place_on_the_servers_disk_is_told(server: FaultyServer, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="on the tracking server's disk") as caught:
        place_of_demo(server, str(tmp_path / "mlruns")).list()
    assert "--artifacts-destination" in str(caught.value.hint)


def test_a_store_is_read_with_its_own_credentials(server: FaultyServer) -> None:
    with pytest.raises(RequestError, match="AWS_SECRET_ACCESS_KEY"):
        MlflowSource(
            Location.parse("models:/demo/1"),
            {
                "MLFLOW_TRACKING_URI": place_of_demo_url(server, "s3://bucket/model"),
                "AWS_ACCESS_KEY_ID": "alone",
            },
            QUICK,
        ).list()


def place_of_demo_url(server: FaultyServer, place: str) -> str:
    place_of_demo(server, place)
    return server.url()


@pytest.mark.parametrize("place", ["dbfs:/models/1", "hdfs://namenode/models", "s3://", "ftp://x/y"])
def test_a_place_nobody_reads_is_told(server: FaultyServer, place: str) -> None:
    with pytest.raises(LocationError, match="tells a place for `models:/demo/1` that cannot be read"):
        place_of_demo(server, place).list()


def test_uris_that_lead_in_a_circle_end(server: FaultyServer) -> None:
    with pytest.raises(LocationError, match="from one MLflow URI to the next"):
        place_of_demo(server, "models:/demo/1").list()


@pytest.mark.parametrize("answer", [{}, {"artifact_uri": None}, {"artifact_uri": " "}, [], "text"])
def test_odd_answers_are_told(server: FaultyServer, answer: object) -> None:
    server.pages["/api/2.0/mlflow/model-versions/get-download-uri"] = Page(json.dumps(answer).encode())
    with pytest.raises(LocationError, match=r"no usable `artifact_uri`|does not answer as an MLflow server"):
        source("models:/demo/1", server.url()).list()


@pytest.mark.parametrize("name", ["../evil", "..", "/etc/passwd", "a/b", "", "a\nb"])
def test_names_that_lead_elsewhere_are_refused(server: FaultyServer, name: str) -> None:
    listing = {"files": [{"path": name, "is_dir": False, "file_size": 1}]}
    server.pages[ARTIFACTS] = Page(json.dumps(listing).encode())
    with pytest.raises(LocationError, match="has a file that is not read"):
        source("mlflow-artifacts:/1/model", server.url()).list()


def test_directories_without_end_are_refused(server: FaultyServer) -> None:
    server.pages[ARTIFACTS] = Page(json.dumps({"files": [{"path": "again", "is_dir": True}]}).encode())
    with pytest.raises(LocationError, match="too many files or levels"):
        source("mlflow-artifacts:/1/model", server.url()).list()


def test_a_file_that_is_cut_is_noticed_by_the_size_that_was_told(
    server: FaultyServer, tmp_path: Path
) -> None:
    listing = {"files": [{"path": "model.onnx", "is_dir": False, "file_size": 10}]}
    server.pages[ARTIFACTS] = Page(json.dumps(listing).encode())
    server.pages[f"{ARTIFACTS}/1/model/model.onnx"] = Page(b"short", ranges=False, length="none", etag=None)
    with pytest.raises(UnavailableError, match="came with 5 bytes, and the server told 10"):
        source("mlflow-artifacts:/1/model", server.url()).fetch(["model.onnx"], tmp_path, lambda _: None)


def test_a_server_below_a_path_is_asked_there(server: FaultyServer) -> None:
    server.pages[f"/mlflow{ARTIFACTS}"] = Page(b'{"files": [{"path": "MLmodel", "is_dir": false}]}')
    listing = source("mlflow-artifacts:/1/a b&c", server.url("/mlflow/?x=1")).list()
    assert [entry.path for entry in listing.entries] == ["MLmodel"]
    assert server.asked[0].target.endswith("?path=1%2Fa%20b%26c")


def test_tls_settings_of_mlflow_count() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with run_faulty(context) as site, authority.cert_pem.tempfile() as bundle:
        site.pages[ARTIFACTS] = Page(b'{"files": [{"path": "MLmodel", "is_dir": false}]}')
        named = site.url(host="localhost")
        with pytest.raises(LocationError, match="is not trusted"):
            source("mlflow-artifacts:/m", named).list()
        assert source("mlflow-artifacts:/m", named, MLFLOW_TRACKING_SERVER_CERT_PATH=bundle).list().entries
        assert source("mlflow-artifacts:/m", site.url(), MLFLOW_TRACKING_INSECURE_TLS="true").list().entries
        with pytest.raises(RequestError, match="contradict"):
            source(
                "mlflow-artifacts:/m",
                named,
                MLFLOW_TRACKING_INSECURE_TLS="1",
                MLFLOW_TRACKING_SERVER_CERT_PATH=bundle,
            )
    with pytest.raises(RequestError, match="neither true nor false"):
        source("mlflow-artifacts:/m", named, MLFLOW_TRACKING_INSECURE_TLS="perhaps")
