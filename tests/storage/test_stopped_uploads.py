"""A run that is stopped while a store says nothing any more."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from azurite import AzureBucket
from large_models import one_product
from proxy import Fault, running_proxy
from servers import GcsBucket, S3Bucket

PATIENCE = 8
"""Seconds after which a program that was stopped counts as hanging: less than a silent connection is given,
and enough for a busy machine.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(one_product())
    return path


def stopped(
    source: Path | str, url: str, environ: dict[str, str], fault: Fault, number: int, scratch: Path
) -> int:
    """Convert, send the signal once the fault has happened, and look at what the program says and leaves."""
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "ovms_converter", "convert", str(source), url, "--verify", "off"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ | {"TMPDIR": str(scratch)},
    )
    while not fault.happened and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert fault.happened, err
    assert out == ""
    assert err.splitlines()[-1].startswith(("error: interrupted", "error: stopped by a signal"))
    assert "Traceback" not in err
    assert list(scratch.iterdir()) == []
    return process.returncode


SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
SILENCE = pytest.mark.parametrize(
    "then",
    [None, Fault("mute", times=None)],
    ids=["of uploads", "of everything from then on"],
)


def silent_from(target: bytes, then: Fault | None) -> Fault:
    """Parts of an upload are not answered; nor is what comes `then`."""
    return Fault("mute", method=b"PUT", target=target, times=None, then=then)


@SIGNALS
@SILENCE
def test_a_silent_upload_to_s3_can_be_stopped(
    s3: S3Bucket, model: Path, tmp_path: Path, number: int, code: int, then: Fault | None
) -> None:
    with running_proxy(s3.endpoint) as proxy:
        proxy.fault = fault = silent_from(b"partNumber=", then)
        environ = s3.environ() | {"S3_ENDPOINT": proxy.endpoint}
        assert stopped(model, s3.url("out"), environ, fault, number, tmp_path / "scratch") == code
    assert not [key for key in s3.keys("out/") if key.endswith(".xml")]


@SILENCE
def test_a_silent_upload_to_azure_can_be_stopped(
    azure: AzureBucket, model: Path, tmp_path: Path, then: Fault | None
) -> None:
    with running_proxy(azure.endpoint) as proxy:
        proxy.fault = fault = silent_from(b"comp=block", then)
        environ = replace(azure, endpoint=proxy.endpoint).environ()
        assert stopped(model, azure.url("out"), environ, fault, signal.SIGTERM, tmp_path / "scratch") == 143
    assert not [key for key in azure.keys("out/") if key.endswith(".xml")]


@SILENCE
def test_a_silent_upload_to_google_can_be_stopped(
    gcs: GcsBucket, model: Path, tmp_path: Path, then: Fault | None
) -> None:
    with running_proxy(gcs.endpoint) as proxy:
        proxy.fault = fault = silent_from(b"upload", then)
        environ = {"STORAGE_EMULATOR_HOST": proxy.endpoint}
        assert stopped(model, gcs.url("out"), environ, fault, signal.SIGTERM, tmp_path / "scratch") == 143
    assert not [key for key in gcs.keys("out/") if key.endswith(".xml")]


@SIGNALS
def test_a_silent_download_can_be_stopped(
    s3: S3Bucket, model: Path, tmp_path: Path, number: int, code: int
) -> None:
    s3.put("m/model.onnx", model.read_bytes())
    with running_proxy(s3.endpoint) as proxy:
        proxy.fault = fault = Fault("stall", after=2 << 20, times=None)
        environ = s3.environ() | {"S3_ENDPOINT": proxy.endpoint}
        output = str(tmp_path / "out")
        source = s3.url("m/model.onnx")
        assert stopped(source, output, environ, fault, number, tmp_path / "scratch") == code
    assert not list(tmp_path.rglob("*.xml"))
