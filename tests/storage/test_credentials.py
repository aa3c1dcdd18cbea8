"""Which setting wins, where it came from, and that no secret shows."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ovms_converter.errors import RequestError
from ovms_converter.storage import explain, open_destination, open_source
from ovms_converter.storage.aws_credentials import aws_credentials
from ovms_converter.storage.base import Side
from ovms_converter.storage.credentials import Anonymous, AwsKeys, MachineRole, WebIdentity
from ovms_converter.storage.gs import GoogleAccess
from ovms_converter.storage.location import Location
from ovms_converter.storage.network import Network
from ovms_converter.storage.s3 import S3Access

PAIR = {"AWS_ACCESS_KEY_ID": "KEY-IN", "AWS_SECRET_ACCESS_KEY": "HUSH-IN"}
OUTPUT_PAIR = {"OUTPUT_AWS_ACCESS_KEY_ID": "KEY-OUT", "OUTPUT_AWS_SECRET_ACCESS_KEY": "HUSH-OUT"}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A home with a default profile, one more, and one that needs another program."""
    aws = tmp_path / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text(
        "[default]\naws_access_key_id = KEY-DEFAULT\naws_secret_access_key = HUSH-DEFAULT\n"
        "[work]\naws_access_key_id=KEY-WORK\naws_secret_access_key=HUSH-WORK\naws_session_token=HUSH-TOKEN\n"
    )
    (aws / "config").write_text(
        "[default]\nregion = eu-west-1\n"
        "[profile work]\nregion = eu-central-1\nendpoint_url = http://work:9000\n"
        "s3 =\n  addressing_style = path\n"
        "[profile sso]\nsso_start_url = https://example.com\n"
    )
    return {"HOME": str(tmp_path)}


def keys(environ: Mapping[str, str], side: Side = Side.INPUT) -> tuple[str, str, str | None, str]:
    found = aws_credentials(environ, side, is_aws=True)
    assert isinstance(found, AwsKeys)
    return found.key_id, found.secret, found.token, found.origin


def endpoint(environ: Mapping[str, str], side: Side = Side.INPUT) -> tuple[str, str] | None:
    found = S3Access.from_environment(environ, side).endpoint
    return (found.value, found.origin) if found else None


def test_a_pair_comes_from_one_place_with_its_own_token() -> None:
    both = PAIR | OUTPUT_PAIR | {"AWS_SESSION_TOKEN": "HUSH-TOKEN"}
    assert keys(both) == ("KEY-IN", "HUSH-IN", "HUSH-TOKEN", "`AWS_ACCESS_KEY_ID`")
    assert keys(both, Side.OUTPUT) == ("KEY-OUT", "HUSH-OUT", None, "`OUTPUT_AWS_ACCESS_KEY_ID`")
    assert keys(both | {"OUTPUT_AWS_SESSION_TOKEN": "HUSH-2"}, Side.OUTPUT)[2] == "HUSH-2"
    assert keys(PAIR | {"AWS_SESSION_TOKEN": "HUSH-TOKEN"}, Side.OUTPUT)[:3] == (
        "KEY-IN",
        "HUSH-IN",
        "HUSH-TOKEN",
    )


def test_set_but_empty_is_not_given(home: dict[str, str]) -> None:
    empty = dict.fromkeys([*PAIR, *OUTPUT_PAIR, "AWS_SESSION_TOKEN", "AWS_PROFILE", "S3_ENDPOINT"], "")
    assert keys(home | empty)[0] == "KEY-DEFAULT"
    assert keys(PAIR | dict.fromkeys(OUTPUT_PAIR, " "), Side.OUTPUT)[0] == "KEY-IN"
    assert endpoint({"S3_ENDPOINT": "", "AWS_ENDPOINT_URL": "http://a:1"}) == (
        "http://a:1",
        "`AWS_ENDPOINT_URL`",
    )


@pytest.mark.parametrize("lacking", [*PAIR, *OUTPUT_PAIR])
def test_half_a_pair_is_a_mistake(lacking: str) -> None:
    environ = {name: value for name, value in (PAIR | OUTPUT_PAIR).items() if name != lacking}
    with pytest.raises(RequestError, match=f"`{lacking}` is not: they are one pair") as caught:
        aws_credentials(environ, Side.OUTPUT if "OUTPUT" in lacking else Side.INPUT, is_aws=True)
    assert "HUSH" not in str(caught.value)


def test_profiles(home: dict[str, str]) -> None:
    assert keys(home) == ("KEY-DEFAULT", "HUSH-DEFAULT", None, "profile `default`")
    work = home | {"AWS_PROFILE": "work"}
    assert keys(work) == ("KEY-WORK", "HUSH-WORK", "HUSH-TOKEN", "profile `work`")
    assert keys(work | PAIR)[0] == "KEY-IN"
    assert endpoint(work) == ("http://work:9000", "profile `work`")
    assert S3Access.from_environment(work, Side.INPUT).region.value == "eu-central-1"
    assert keys(PAIR | home | {"OUTPUT_AWS_PROFILE": "work"}, Side.OUTPUT)[0] == "KEY-WORK"
    with pytest.raises(RequestError, match="`absent`"):
        keys(home | {"AWS_PROFILE": "absent"})
    with pytest.raises(RequestError, match="sso_start_url"):
        keys(home | {"AWS_PROFILE": "sso"})
    elsewhere = {"AWS_SHARED_CREDENTIALS_FILE": f"{home['HOME']}/.aws/credentials", "HOME": "/nonexistent"}
    assert keys(elsewhere)[0] == "KEY-DEFAULT"


def test_other_kinds_of_credentials(tmp_path: Path) -> None:
    identity = {
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
        "HOME": "/nonexistent",
    }
    found = aws_credentials(identity, Side.INPUT, is_aws=False)
    assert found == WebIdentity("arn:aws:iam::1:role/r", "/token", "ovms-converter", "`AWS_ROLE_ARN`")
    container = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x", "HOME": "/nonexistent"}
    role = aws_credentials(container, Side.INPUT, is_aws=True)
    assert isinstance(role, MachineRole)
    assert role.url == "http://169.254.170.2/v2/x"
    nothing = {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}
    assert aws_credentials(nothing, Side.INPUT, is_aws=True) == Anonymous("no credentials are set")
    # A machine's role is Amazon's and goes to no other server.
    assert isinstance(aws_credentials(container, Side.INPUT, is_aws=False), Anonymous)
    chosen = aws_credentials(PAIR | {"awsAnonymousCredential": "True"}, Side.INPUT, is_aws=True)
    assert chosen == Anonymous("`awsAnonymousCredential`")


def test_endpoints_in_their_order() -> None:
    names = ["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"]
    environ = {name: f"http://host-{number}:9000/" for number, name in enumerate(names)} | {
        "HOME": "/nonexistent"
    }
    for number, name in enumerate(names):
        assert endpoint(environ) == (f"http://host-{number}:9000", f"`{name}`")
        assert endpoint(environ | {"OUTPUT_S3_ENDPOINT": "http://out"}) == (
            f"http://host-{number}:9000",
            f"`{name}`",
        )
        assert endpoint(environ | {"OUTPUT_S3_ENDPOINT": "http://out"}, Side.OUTPUT) == (
            "http://out",
            "`OUTPUT_S3_ENDPOINT`",
        )
        assert endpoint(environ, Side.OUTPUT) == (f"http://host-{number}:9000", f"`{name}`")
        del environ[name]
    assert endpoint(environ) is None


@pytest.mark.parametrize(
    "value", ["minio:9000", "minio", "ftp://host", "http://", "http://user:HUSH@host", "http://h?x=HUSH"]
)
def test_an_endpoint_that_is_no_url_is_refused(value: str) -> None:
    with pytest.raises(RequestError, match="`S3_ENDPOINT`") as caught:
        endpoint({"S3_ENDPOINT": value})
    assert "HUSH" not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize(
    ("environ", "bucket", "url", "path_style"),
    [
        ({}, "b", "https://b.s3.us-east-1.amazonaws.com", False),
        ({}, "dotted.bucket", "https://s3.us-east-1.amazonaws.com", True),
        ({"AWS_REGION": "eu-west-1"}, "b", "https://b.s3.eu-west-1.amazonaws.com", False),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "b", "https://b.s3.cn-north-1.amazonaws.com.cn", False),
        ({"S3_ENDPOINT": "http://minio:9000"}, "b", "http://minio:9000", True),
        (
            {"S3_ENDPOINT": "http://minio:9000", "S3_USER_VIRTUAL_BUCKET": "1"},
            "b",
            "http://b.minio:9000",
            False,
        ),
        (
            {"S3_ENDPOINT": "http://minio:9000", "S3_USER_VIRTUAL_BUCKET": "false"},
            "b",
            "http://minio:9000",
            True,
        ),
        ({"S3_ENDPOINT": "https://s3.amazonaws.com"}, "b", "https://s3.amazonaws.com", True),
    ],
)
def test_where_requests_go(environ: dict[str, str], bucket: str, url: str, path_style: bool) -> None:
    access = S3Access.from_environment(environ | {"HOME": "/nonexistent"}, Side.INPUT)
    assert access.url(bucket) == url
    assert access.is_path_style(bucket) is path_style


def test_regions() -> None:
    def region(environ: dict[str, str], side: Side = Side.INPUT) -> str:
        return S3Access.from_environment(environ | {"HOME": "/nonexistent"}, side).region.value

    assert region({}) == "us-east-1"
    assert region({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}) == "a"
    assert region({"AWS_DEFAULT_REGION": "b"}) == "b"
    assert region({"S3_ENDPOINT": "https://s3.eu-west-3.amazonaws.com"}) == "eu-west-3"
    assert region({"AWS_REGION": "a", "OUTPUT_AWS_REGION": "c"}, Side.OUTPUT) == "c"


def test_certificates(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        found = Network.from_environment({name: str(bundle)}).ca_bundle
        assert found is not None
        assert (found.value, found.origin) == (str(bundle), f"`{name}`")
        with pytest.raises(RequestError, match=f"`{name}`"):
            Network.from_environment({name: str(tmp_path / "absent")})
    (tmp_path / "cabundle.crt").write_text("")
    kserve = {"CA_BUNDLE_CONFIGMAP_NAME": "ca", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(tmp_path)}
    found = Network.from_environment(kserve).ca_bundle
    assert found is not None
    assert found.value == str(tmp_path / "cabundle.crt")
    assert Network.from_environment({}).verify
    assert not Network.from_environment({"S3_VERIFY_SSL": "0"}).verify
    assert not Network.from_environment({"MLFLOW_S3_IGNORE_TLS": "true"}).verify
    assert Network.from_environment({"S3_VERIFY_SSL": "1", "MLFLOW_S3_IGNORE_TLS": "true"}).verify
    for environ in ({"S3_VERIFY_SSL": "perhaps"}, {"S3_READ_TIMEOUT": "soon"}, {"S3_READ_TIMEOUT": "-1"}):
        with pytest.raises(RequestError, match=f"`{next(iter(environ))}`"):
            Network.from_environment(environ)


def google(environ: dict[str, str], side: Side = Side.INPUT) -> GoogleAccess:
    return GoogleAccess.from_environment({"HOME": "/nonexistent", "NO_GCE_CHECK": "true"} | environ, side)


def test_google_in_its_order(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    account.write_text(json.dumps({"type": "service_account", "private_key": "HUSH"}))
    named = {"GOOGLE_APPLICATION_CREDENTIALS": str(account)}
    everything = PAIR | OUTPUT_PAIR | named | {"STORAGE_EMULATOR_HOST": "localhost:9023"}
    emulator = google(everything).emulator
    assert emulator is not None
    assert emulator.value == "http://localhost:9023"
    del everything["STORAGE_EMULATOR_HOST"]
    file = google(everything).file
    assert file is not None
    assert file.origin == "`GOOGLE_APPLICATION_CREDENTIALS`"
    out = google(everything, Side.OUTPUT).hmac
    assert out is not None
    assert isinstance(out.credentials, AwsKeys)
    assert out.credentials.key_id == "KEY-OUT"
    hmac = google(PAIR).hmac
    assert hmac is not None
    assert hmac.endpoint is not None
    assert hmac.endpoint.value == "https://storage.googleapis.com"
    anonymous = google({})
    assert (anonymous.hmac, anonymous.file, anonymous.machine) == (None, None, None)
    gcloud = tmp_path / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    (gcloud / "application_default_credentials.json").write_text(json.dumps({"type": "authorized_user"}))
    assert google({"HOME": str(tmp_path)} | PAIR).kind == "authorized_user"


@pytest.mark.parametrize(
    ("environ", "side", "expected"),
    [
        ({"S3_ENDPOINT": "http://proxy:1"}, Side.INPUT, "http://proxy:1"),
        # Amazon's own endpoint, which an image may preset, is not meant for Google's buckets.
        ({"S3_ENDPOINT": "https://s3.amazonaws.com"}, Side.INPUT, "https://storage.googleapis.com"),
        # The endpoint of an `s3://` input is not a `gs://` output's.
        ({"S3_ENDPOINT": "http://proxy:1"}, Side.OUTPUT, "https://storage.googleapis.com"),
        ({"OUTPUT_S3_ENDPOINT": "http://proxy:2"}, Side.OUTPUT, "http://proxy:2"),
    ],
)
def test_the_endpoint_of_hmac_keys(environ: dict[str, str], side: Side, expected: str) -> None:
    access = google(PAIR | environ, side).hmac
    assert access is not None
    assert access.endpoint is not None
    assert access.endpoint.value == expected


def test_google_files_that_do_not_work(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is no file"):
        google({"GOOGLE_APPLICATION_CREDENTIALS": "/absent.json"})
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(RequestError, match="no JSON"):
        google({"GOOGLE_APPLICATION_CREDENTIALS": str(broken)})
    broken.write_text(json.dumps({"type": "external_account"}))
    with pytest.raises(RequestError, match="`external_account`"):
        google({"GOOGLE_APPLICATION_CREDENTIALS": str(broken)})


AZURE_KEY = "SFVTSA=="


@pytest.mark.parametrize(
    ("url", "environ", "account", "endpoint", "kind"),
    [
        (
            "az://c/p",
            {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;AccountKey={AZURE_KEY};EndpointSuffix=x"},
            "acc", "https://acc.blob.x", "access_key",
        ),
        (
            "abfss://c@other.dfs.core.windows.net/p",
            {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;AccountKey={AZURE_KEY}"},
            "other", "https://other.blob.core.windows.net", "Anonymous",
        ),
        (
            "az://c/p", {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            "devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1", "access_key",
        ),
        (
            "az://c/p", {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_ACCESS_KEY": AZURE_KEY},
            "acc", "https://acc.blob.core.windows.net", "access_key",
        ),
        (
            "az://c/p", {"AZURE_STORAGE_ACCOUNT_NAME": "acc", "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=HUSH"},
            "acc", "https://acc.blob.core.windows.net", "sas_token",
        ),
        (
            "https://acc.blob.core.windows.net/c/p",
            {"AZ_CLIENT_ID": "i", "AZ_CLIENT_SECRET": "HUSH", "AZ_TENANT_ID": "t"},
            "acc", "https://acc.blob.core.windows.net", "client_secret",
        ),
        (
            "az://c/p",
            {
                "AZURE_STORAGE_ACCOUNT": "acc", "AZURE_CLIENT_ID": "i", "AZURE_TENANT_ID": "t",
                "AZURE_FEDERATED_TOKEN_FILE": "/token",
            },
            "acc", "https://acc.blob.core.windows.net", "workload_identity",
        ),
        (
            "az://c/p", {"AZURE_STORAGE_ACCOUNT": "acc"},
            "acc", "https://acc.blob.core.windows.net", "Anonymous",
        ),
    ],
)  # fmt: skip
def test_azure(url: str, environ: dict[str, str], account: str, endpoint: str, kind: str) -> None:
    location = Location.parse(url)
    settings = {setting.name: str(setting) for setting in explain(location, environ, Side.INPUT)}
    assert (settings["account"], settings["endpoint"], settings["credentials"]) == (account, endpoint, kind)
    open_source(location, environ)
    open_destination(location, environ)


def test_azure_needs_an_account() -> None:
    with pytest.raises(RequestError, match="no storage account"):
        open_source(Location.parse("az://c/p"), {})


@pytest.mark.parametrize("url", ["s3://b/k", "gs://b/k", "az://c/k"])
def test_no_explanation_or_repr_holds_a_secret(url: str, home: dict[str, str]) -> None:
    environ = home | PAIR | OUTPUT_PAIR
    environ |= {
        "AWS_SESSION_TOKEN": "HUSH",
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({"type": "service_account", "private_key": "HUSH"}),
        "AZURE_STORAGE_ACCOUNT": "acc",
        "AZURE_STORAGE_KEY": "HUSH",
    }
    for side in Side:
        settings = explain(Location.parse(url), environ, side)
        assert settings
        assert "HUSH" not in "\n".join(f"{setting} {setting!r} {setting.origin}" for setting in settings)
    assert "HUSH" not in repr(aws_credentials(environ, Side.INPUT, is_aws=True))
    assert "HUSH" not in repr(S3Access.from_environment(environ, Side.OUTPUT))
    assert "HUSH" not in repr(google(environ))


def test_opening_reaches_no_server_and_reads_no_other_environment(
    monkeypatch: pytest.MonkeyPatch, s3_server: object
) -> None:
    """The process's own variables do not count where an environment is given, not even malformed ones."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://elsewhere:1",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_S3_EXPRESS": "",
    }.items():
        monkeypatch.setenv(name, value)
    open_source(Location.parse("s3://bucket/key"), {"S3_ENDPOINT": "http://127.0.0.1:1", **PAIR})
    import os

    assert os.environ["AWS_S3_EXPRESS"] == ""


def test_a_key_that_is_given_comes_before_what_gcloud_left(tmp_path: Path) -> None:
    gcloud = tmp_path / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    (gcloud / "application_default_credentials.json").write_text(json.dumps({"type": "authorized_user"}))
    text = json.dumps({"type": "service_account", "private_key": "HUSH"})
    environ = {"HOME": str(tmp_path), "GOOGLE_SERVICE_ACCOUNT_KEY": text}
    access = GoogleAccess.from_environment(environ, Side.INPUT)
    assert (access.kind, access.is_text) == ("service_account", True)
