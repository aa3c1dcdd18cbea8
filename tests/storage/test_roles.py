"""Keys that are fetched when they are needed, and work that is interrupted."""

import _thread
import asyncio
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from ovms_converter.errors import AccessDeniedError, RequestError, UnavailableError
from ovms_converter.storage import background, open_source
from ovms_converter.storage.aws_signature import signed_headers
from ovms_converter.storage.credentials import AwsKeys
from ovms_converter.storage.location import Location
from servers import S3Bucket


def identity(s3: S3Bucket, token: Path) -> dict[str, str]:
    return {
        "S3_ENDPOINT": s3.endpoint,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/converter",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ENDPOINT_URL_STS": s3.endpoint,
        "HOME": "/nonexistent",
    }


def test_a_web_identity_is_exchanged_for_keys(s3_open: S3Bucket, tmp_path: Path) -> None:
    s3_open.put("m/f", b"1")
    token = tmp_path / "token"
    token.write_text("a-signed-token\n")
    assert open_source(Location.parse(s3_open.url("m")), identity(s3_open, token)).read("f") == b"1"


def test_a_token_that_is_not_there_is_told(s3_open: S3Bucket, tmp_path: Path) -> None:
    with pytest.raises(AccessDeniedError, match="`AWS_ROLE_ARN`"):
        open_source(Location.parse(s3_open.url("m")), identity(s3_open, tmp_path / "absent")).list()


def test_a_token_service_that_is_not_there_is_unavailable(s3_open: S3Bucket, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-signed-token")
    environ = identity(s3_open, token) | {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
    with pytest.raises(UnavailableError, match="`AWS_ROLE_ARN`"):
        open_source(Location.parse(s3_open.url("m")), environ).list()


def profiles(s3: S3Bucket, directory: Path, *, secret: str | None = None) -> dict[str, str]:
    """Settings with a profile `outer` that takes a role by another role, which profile `keys` may take."""
    keys = s3.environ()
    (directory / "config").write_text(
        "[profile keys]\n"
        f"aws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {secret or keys['AWS_SECRET_ACCESS_KEY']}\n"
        "[profile inner]\nrole_arn = arn:aws:iam::123456789012:role/converter\nsource_profile = keys\n"
        "[profile outer]\nrole_arn = arn:aws:iam::123456789012:role/converter\nsource_profile = inner\n"
        "[profile circle]\nrole_arn = arn:aws:iam::123456789012:role/converter\nsource_profile = circle\n"
        "[profile person]\nrole_arn = arn:aws:iam::123456789012:role/converter\nsource_profile = keys\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/someone\n"
    )
    return {
        "S3_ENDPOINT": s3.endpoint,
        "AWS_CONFIG_FILE": str(directory / "config"),
        "AWS_ENDPOINT_URL_STS": s3.endpoint,
        "HOME": "/nonexistent",
    }


@pytest.mark.parametrize("profile", ["inner", "outer"])
def test_a_role_is_taken_with_another_profiles_keys(s3_open: S3Bucket, tmp_path: Path, profile: str) -> None:
    s3_open.put("m/f", b"1")
    environ = profiles(s3_open, tmp_path) | {"AWS_PROFILE": profile}
    assert open_source(Location.parse(s3_open.url("m")), environ).read("f") == b"1"


def test_a_role_that_may_not_be_taken_is_told(s3: S3Bucket, tmp_path: Path) -> None:
    """This server checks signatures."""
    environ = profiles(s3, tmp_path, secret="wrong-secret") | {"AWS_PROFILE": "inner"}
    with pytest.raises(AccessDeniedError, match="no keys for profile `inner`: answered 403") as caught:
        open_source(Location.parse(s3.url("m")), environ).list()
    assert "wrong-secret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("token", [None, "session/token=="])
@pytest.mark.parametrize(
    ("method", "url", "service", "body"),
    [
        ("POST", "https://sts.eu-west-1.amazonaws.com/", "sts", "Action=AssumeRole&RoleArn=arn%3Aaws"),
        ("HEAD", "http://store:9000/my-bucket", "s3", ""),
        ("GET", "http://store:9000/b/a%20key%2B?list-type=2&prefix=a%2Fb", "s3", ""),
    ],
)
def test_the_signature_is_that_of_amazons_own_program(
    token: str | None, method: str, url: str, service: str, body: str
) -> None:
    keys = AwsKeys("AKIDEXAMPLE", "secret/with+signs", token, "test")
    more = {"content-type": "application/x-www-form-urlencoded"} if body else {}
    headers = signed_headers(
        method,
        url,
        keys,
        region="eu-west-1",
        service=service,
        now=datetime.now(timezone.utc),
        headers=more,
        body=body,
    )
    request = AWSRequest(method, url, data=body or None, headers=more)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    request.context["payload_signing_enabled"] = True
    signer(Credentials(keys.key_id, keys.secret, token), service, "eu-west-1").add_auth(request)
    assert headers["x-amz-date"] == request.headers["X-Amz-Date"]
    assert headers["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize(
    ("profile", "words"), [("circle", "profile `circle`, which has no keys"), ("person", "by `mfa_serial`")]
)
def test_a_role_that_nothing_leads_to_is_refused(
    s3: S3Bucket, tmp_path: Path, profile: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        open_source(Location.parse(s3.url("m")), profiles(s3, tmp_path) | {"AWS_PROFILE": profile})


def test_work_is_done_inside_a_running_loop_too() -> None:
    async def inner() -> int:
        return 42

    async def notebook() -> int:
        return background.run(inner)

    assert asyncio.run(notebook()) == 42


def test_an_error_of_the_work_is_the_callers() -> None:
    async def fails() -> None:
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        background.run(fails)


def test_an_interrupt_stops_the_work() -> None:
    """Ctrl-C while the caller waits cancels the work and is raised when the work has stopped."""
    begun, stopped = threading.Event(), threading.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    def interrupt() -> None:
        begun.wait()
        _thread.interrupt_main()

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        background.run(endless)
    interrupter.join()
    assert stopped.is_set()
