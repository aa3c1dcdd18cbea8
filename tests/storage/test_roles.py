"""Keys that are fetched when they are needed, and work that is interrupted."""

import _thread
import asyncio
import threading
from pathlib import Path

import pytest

from ovms_converter.errors import AccessDeniedError, UnavailableError
from ovms_converter.storage import background, open_source
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
