"""Whatever is damaged in a file, `inspect` ends with a report or with an error of ours."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection_models import DATA, onnx_model, saved_model
from ovms_converter.cli.inspection import inspection_lines
from ovms_converter.errors import ConverterError
from ovms_converter.inspection import inspect, inspection_document

MLFLOW = DATA / "formats" / "mlflow"
WHOLE = {
    "net.onnx": onnx_model(),
    "saved_model.pb": saved_model("classify", "embed"),
    "model.keras": (MLFLOW / "3.18.0-keras-lambda" / "data" / "model.keras").read_bytes(),
    "model.pth": (MLFLOW / "2.22.1-pytorch-pickle" / "data" / "model.pth").read_bytes(),
    "model.pkl": (MLFLOW / "2.22.1-sklearn-mlp" / "model.pkl").read_bytes(),
    "1/conversion.json": b'{"inputs": [{"name": "x", "type": "f32", "shape": "[1,3]"}], "files": {}}',
}


def report(path: str, data: bytes) -> None:
    """Everything that the command does with a directory that holds this file."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        if path.startswith("1/"):
            file.with_name("net.xml").write_bytes(data)
        try:
            found = inspect(name, environ={})
        except ConverterError:
            return
        json.dumps(inspection_document(found))
        assert inspection_lines(found, 0.1)


@pytest.mark.parametrize("path", WHOLE)
def test_the_whole_files_are_told(path: str) -> None:
    report(path, WHOLE[path])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_bytes(path: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(WHOLE[path])
    for place, byte in changes:
        data[int(place * len(data))] = byte
    report(path, bytes(data))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1))
def test_missing_ends(path: str, part: float) -> None:
    report(path, WHOLE[path][: int(part * len(WHOLE[path]))])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.binary(max_size=300))
def test_other_bytes(path: str, data: bytes) -> None:
    report(path, data)
