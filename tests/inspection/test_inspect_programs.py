"""Programs in what somebody stored as a model are listed, and never run."""

import json
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection_models import DATA, onnx_model
from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.programs import keras_programs, pickle_globals
from ovms_converter.inspection import Inspection, inspect

MLFLOW = DATA / "formats" / "mlflow"


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def look(path: Path) -> Inspection:
    return inspect(str(path), environ={})


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_listed_with_what_it_imports_and_not_opened(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([Evil(f"touch {marker}")] * 3, protocol))
    found = look(tmp_path / "model.pkl")
    (item,) = found.executable
    assert (item.path, item.found) == ("model.pkl", ("posix.system",))
    assert not marker.exists()
    assert isinstance(found.refusal, UnsupportedModelError)
    assert not found.convertible
    assert not found.command


def test_names_that_a_pickle_remembers_are_found_again() -> None:
    data = pickle.dumps([Path, Path("a").resolve, pickletools.genops, Path], 4)
    assert pickle_globals(data)[0] == f"{Path.__module__}.Path"  # pathlib._local from Python 3.13 on
    assert "pickletools.genops" in pickle_globals(data)


def test_lambda_layers_of_a_keras_archive_are_named() -> None:
    (item,) = look(MLFLOW / "3.18.0-keras-lambda").executable
    assert item.path == "data/model.keras"
    assert item.found[0].startswith("Lambda")


def test_the_pickle_in_a_pytorch_archive_is_looked_through() -> None:
    (item,) = look(MLFLOW / "2.22.1-pytorch-pickle").executable
    assert "torch.nn.modules.module.Module" in item.found


def test_a_custom_python_model_of_mlflow_is_told_with_its_pickle() -> None:
    found = look(MLFLOW / "2.9.2-pyfunc-custom")
    assert "mlflow.pyfunc.model.PythonModel" in found.executable[0].found
    assert found.mlflow is not None
    assert found.mlflow.mlflow_version == "2.9.2"


def test_python_files_beside_a_model_are_listed() -> None:
    assert [item.path for item in look(MLFLOW / "1.20.2-pyfunc-loader").executable] == ["code/myloader.py"]


def test_a_plain_model_has_none(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx_model())
    assert look(tmp_path / "net.onnx").executable == ()


def test_an_archive_that_expands_without_end_is_not_expanded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", b'{"class_name": "Lambda", "more": "' + b"x" * (64 << 20))
    (item,) = look(tmp_path / "m.keras").executable
    assert item.found == ("Lambda",)


def test_the_directory_of_an_archive_is_not_read_without_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", '{"class_name": "Lambda"}')
        for number in range(1000):
            member = zipfile.ZipInfo(f"{number}")
            member.comment = bytes(8000)
            archive.writestr(member, b"")
    found = look(tmp_path)
    assert (found.total_bytes or 0) > 8_000_000
    assert found.bytes_read < 6_000_000
    assert "could not be looked into" in found.executable[0].kind


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_readers(data: bytes) -> None:
    for found in (pickle_globals(b"\x80\x04" + data), keras_programs(data)):
        assert all(isinstance(name, str) for name in found)


@given(
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["class_name", "module", "config", "name"]), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_no_configuration_upsets_the_reader(document: object) -> None:
    keras_programs(json.dumps(document).encode())
