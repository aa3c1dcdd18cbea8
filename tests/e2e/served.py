"""What a client of the published model would get, and how it compares with what the source computed."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from servers import S3Bucket

FULL_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


def run_command(*arguments: str, environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """`ovms-converter ARGUMENTS` as a user's shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", "ovms_converter", *arguments],
        capture_output=True,
        text=True,
        env=dict(environ),
        check=False,
        timeout=300,
    )


def download(bucket: S3Bucket, prefix: str, directory: Path) -> Path:
    """The objects below a prefix as files."""
    for key in bucket.keys(f"{prefix}/"):
        path = directory / key.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.get(key))
    return directory


def assert_computes(version: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """The one model in a version directory has just these inputs and outputs and computes these numbers."""
    (xml,) = version.glob("*.xml")
    model = openvino.Core().read_model(xml)
    assert [port.get_names() for port in model.inputs] == [{port.get_any_name()} for port in model.inputs]
    assert [port.get_names() for port in model.outputs] == [{port.get_any_name()} for port in model.outputs]
    assert {port.get_any_name() for port in model.inputs} == set(inputs)
    assert {port.get_any_name() for port in model.outputs} == set(outputs)
    compiled = openvino.Core().compile_model(model, "CPU", FULL_PRECISION)
    computed = compiled(dict(inputs))
    for name, expected in outputs.items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
