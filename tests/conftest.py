"""What every test gets: an environment without the developer's own storage settings, and real servers on
request.
"""

import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from azurite import AzureBucket, run_azurite
from servers import GcsBucket, GoogleByXml, S3Bucket, S3Server, run_gcs, run_moto, run_rclone

pytest_plugins = ("command_line",)

PREFIXES = (
    "AWS_", "S3_", "OUTPUT_", "GOOGLE_", "GCP_", "GCLOUD_", "STORAGE_", "CLOUDSDK_", "AZURE_", "AZ_",
    "MLFLOW_", "FUSEML_", "TASK_", "CA_BUNDLE_", "OVMS_CONVERTER_",
)  # fmt: skip
NAMES = {
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWSANONYMOUSCREDENTIAL", "NO_COLOR", "FORCE_COLOR",
}  # fmt: skip


def pytest_configure() -> None:
    """Let SIGINT interrupt, here and in what is started: a shell's background jobs begin with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes, which may hold a time, do not name a test: each process must give it the same name."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def own_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a run that a test kills leaves among the temporary files goes when the tests end."""
    directory = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(directory))
        patch.setattr("tempfile.tempdir", None)
        yield
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory without `~/.aws` and the like."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """No test reads the settings of the person or machine that runs it."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIXES) or name.upper() in NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(empty_home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server that checks signatures and honours conditional requests."""
    with run_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A second one with other keys: neither server accepts the other's."""
    with run_moto(tmp_path_factory.mktemp("moto-other")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One that checks no signatures: with its check, moto refuses presigned URLs."""
    with run_moto(tmp_path_factory.mktemp("moto-open"), {"INITIAL_NO_AUTH_ACTION_COUNT": "inf"}) as server:
        yield server


@pytest.fixture(scope="session")
def s3_unconditional_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server that ignores `If-None-Match`."""
    with run_rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a Google storage emulator."""
    with run_gcs(tmp_path_factory.mktemp("gcs")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of an Azure storage emulator."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(run_azurite(tmp_path_factory.mktemp("azurite")))
        except FileNotFoundError:
            pytest.skip("Azurite is not installed: npm install --global azurite")


def _new_bucket(server: S3Server) -> Iterator[S3Bucket]:
    client: Any = server.client()
    with contextlib.closing(client):
        yield S3Bucket.create(server, f"test-{uuid.uuid4().hex[:12]}", client)


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket of its own for this test."""
    yield from _new_bucket(s3_server)


@pytest.fixture
def s3_other(s3_other_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket on the second server."""
    yield from _new_bucket(s3_other_server)


@pytest.fixture
def s3_open(s3_open_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket on the server that checks no signatures."""
    yield from _new_bucket(s3_open_server)


@pytest.fixture
def s3_unconditional(s3_unconditional_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket on the server without conditional writes."""
    yield from _new_bucket(s3_unconditional_server)


@pytest.fixture
def gcs(gcs_server: str) -> Iterator[GcsBucket]:
    """An empty bucket of the Google emulator."""
    with urllib3.PoolManager() as http:
        name = f"test-{uuid.uuid4().hex[:12]}"
        http.request("POST", f"{gcs_server}/storage/v1/b?project=test", json={"name": name})
        yield GcsBucket(gcs_server, name, http)


@pytest.fixture(scope="session")
def google_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that answers for Google's XML interface."""
    with run_rclone(tmp_path_factory.mktemp("google"), checks_keys=False) as server:
        yield server


@pytest.fixture
def google(google_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket behind Google's XML interface."""
    for made in _new_bucket(google_server):
        yield GoogleByXml(made.server, made.name, made.client)


@pytest.fixture
def azure(azure_server: str) -> Iterator[AzureBucket]:
    """An empty container of the Azure emulator."""
    with urllib3.PoolManager() as http:
        container = AzureBucket(azure_server, f"test-{uuid.uuid4().hex[:12]}", http)
        container.create()
        yield container
