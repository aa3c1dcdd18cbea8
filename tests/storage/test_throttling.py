"""Stores that have enough for some seconds: 503 or 429, with the time after which they may be asked again."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from azurite import AzureBucket
from command_line import CommandLine
from large_models import one_product
from ovms_converter.errors import UnavailableError
from ovms_converter.storage import throttling
from ovms_converter.storage.store_errors import BusyError
from ovms_converter.storage.throttling import Patience, while_busy
from proxy import Fault, Proxy, running_proxy
from servers import GcsBucket, S3Bucket


@dataclass
class Store:
    """A bucket behind a proxy that can say that it is busy."""

    bucket: S3Bucket | AzureBucket | GcsBucket
    proxy: Proxy
    environ: dict[str, str]

    def is_busy(self, answer: str, method: bytes, target: bytes) -> None:
        """From the first such request on, for eight seconds."""
        text = f"HTTP/1.1 {answer}\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.proxy.fault = Fault(
            "answer", times=None, seconds=8, answer=text.encode(), method=method, target=target
        )


@pytest.fixture
def s3_store(s3: S3Bucket) -> Iterator[Store]:
    with running_proxy(s3.endpoint) as proxy:
        yield Store(s3, proxy, s3.environ() | {"S3_ENDPOINT": proxy.endpoint})


@pytest.fixture
def azure_store(azure: AzureBucket) -> Iterator[Store]:
    with running_proxy(azure.endpoint) as proxy:
        yield Store(azure, proxy, replace(azure, endpoint=proxy.endpoint).environ())


@pytest.fixture
def emulated_store(gcs: GcsBucket) -> Iterator[Store]:
    with running_proxy(gcs.endpoint) as proxy:
        yield Store(gcs, proxy, {"STORAGE_EMULATOR_HOST": proxy.endpoint})


@pytest.fixture
def google_store(google: S3Bucket) -> Iterator[Store]:
    with running_proxy(google.endpoint) as proxy:
        server = replace(google.server, endpoint=proxy.endpoint)
        yield Store(google, proxy, replace(google, server=server).environ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "answer", "method", "target"),
    [
        ("s3_store", "503 Slow Down", b"", b""),
        ("s3_store", "429 Too Many Requests", b"PUT", b"out/"),
        ("s3_store", "503 Slow Down", b"PUT", b"partNumber="),
        ("azure_store", "503 Server Busy\r\nx-ms-retry-after-ms: 5000", b"", b""),
        ("azure_store", "429 Too Many Requests", b"PUT", b"out/"),
        ("azure_store", "503 Server Busy", b"PUT", b"comp=block"),
        ("google_store", "429 Too Many Requests", b"", b""),
        ("google_store", "503 Service Unavailable", b"PUT", b"out"),
        ("emulated_store", "503 Service Unavailable", b"", b""),
    ],
)
def test_a_busy_store_is_waited_for(
    request: pytest.FixtureRequest,
    command: CommandLine,
    store: str,
    answer: str,
    method: bytes,
    target: bytes,
) -> None:
    found: Store = request.getfixturevalue(store)
    found.bucket.put("m/model.onnx", one_product())
    found.is_busy(answer, method, target)
    done = command(
        "convert",
        found.bucket.url("m/model.onnx"),
        found.bucket.url("out"),
        "--verify",
        "off",
        **found.environ,
    )
    assert done.code == 0, done.err
    assert found.proxy.fault.happened
    assert [key for key in found.bucket.keys("out/") if key.endswith(".xml")] == ["out/1/model.xml"]


@pytest.mark.slow
def test_a_busy_web_server_is_waited_for(google_store: Store, command: CommandLine, tmp_path: Path) -> None:
    google_store.bucket.put("m/model.onnx", one_product())
    google_store.is_busy("503 Service Unavailable", b"GET", b"")
    url = f"{google_store.proxy.endpoint}/{google_store.bucket.name}/m/model.onnx"
    done = command("convert", url, str(tmp_path / "out"), "--verify", "off")
    assert done.code == 0, done.err
    assert google_store.proxy.fault.happened


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every wait; nobody waits."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("ovms_converter.storage.throttling.asyncio.sleep", sleep)
    return slept


def asked_for_ever(error: Callable[[], UnavailableError]) -> None:
    async def request() -> None:
        raise error()

    asyncio.run(while_busy(request)())


def test_a_store_that_stays_busy_is_given_up(pauses: list[float]) -> None:
    with pytest.raises(BusyError, match="enough"):
        asked_for_ever(lambda: BusyError("enough"))
    assert 20 < sum(pauses) <= throttling.BUSY_SECONDS


def test_the_wait_is_at_least_what_the_store_asks_for(pauses: list[float]) -> None:
    with pytest.raises(BusyError):
        asked_for_ever(lambda: BusyError("enough", wait=12))
    assert pauses == [12, 12]


def test_what_is_not_busy_is_not_repeated(pauses: list[float]) -> None:
    with pytest.raises(UnavailableError, match="gone"):
        asked_for_ever(lambda: UnavailableError("gone"))
    assert pauses == []


def test_busy_and_broken_are_counted_apart(pauses: list[float]) -> None:
    async def fails() -> None:
        patience = Patience(3)
        for error in (BusyError("enough", wait=1), UnavailableError("gone")) * 2:
            await patience.after(error)
        with pytest.raises(UnavailableError, match="gone"):
            await patience.after(UnavailableError("gone"))

    asyncio.run(fails())
    assert pauses == [1, 1.0, 1, 2.0]
