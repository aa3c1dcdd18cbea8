"""Formats that their own library exports: what is said where it is missing, and where code would run."""

import importlib.util
import io
import json
import zipfile
from pathlib import Path

import pytest

from formats_helpers import DATA, MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, UnsupportedModelError
from ovms_converter.formats.base import MLflowModel, SourceModel
from ovms_converter.formats.framework import FrameworkFormat, example_of, versions_of

ARTIFACTS = DATA / "formats/mlflow"
HDF5 = b"\x89HDF\r\n\x1a\n" + b"\0" * 64
ROWS = [row for row in formats.FORMATS if isinstance(row, FrameworkFormat)]


def archive(config: object = None) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as written:
            for name in ("metadata.json", "config.json", "model.weights.h5"):
                written.writestr(name, json.dumps(config or {}))
        return file.getvalue()


def layer(kind: str, name: str, module: str = "keras.layers") -> dict[str, object]:
    return {"class_name": kind, "module": module, "config": {"name": name}}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("name", "path", "data"),
    [("keras.keras", "m.keras", archive()), ("keras.h5", "m.h5", HDF5 + b"keras_version")],
)
def test_without_the_extra_the_hint_is_how_to_install_it(name: str, path: str, data: bytes) -> None:
    for tree in ({path: data}, {f"sub/{path}": data, "sub/README.md": b"# text"}):
        with pytest.raises(UnsupportedModelError) as caught:
            formats.recognise(MemoryFiles(tree))
        assert formats.identify(formats.open_tree(MemoryFiles(tree))).format == name
        assert (
            f"`{next(iter(tree))}` is {formats.format_named(name).title}, which needs" in caught.value.message
        )
        assert "keras, h5py, scipy are not installed here" in caught.value.message
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("pip install 'ovms-converter[keras]', or load it with")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_one_line_of_advice_and_an_extra_that_exists(row: FrameworkFormat) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f"\n{row.extra} = [" in text
    assert "\n" not in row.recipe
    assert row.modules


@pytest.mark.usefixtures("all_installed")
def test_layers_that_run_code_are_refused_by_name_and_taken_from_a_trusted_source() -> None:
    inside = [layer("Dense", "hidden"), layer("Lambda", "scale"), layer("Swish", "swish", "author.layers")]
    files = MemoryFiles({"m.keras": archive({"config": {"layers": inside}})})
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(files)
    assert caught.value.message.startswith("`m.keras` is a Keras archive, with layers that run")
    assert {"Lambda (scale)", "author.layers.Swish"} <= set(caught.value.message.split(": ")[1].split(", "))
    assert caught.value.hint is not None
    assert "`--trust-source`" in caught.value.hint
    assert formats.recognise(files, trusted=True).format == "keras.keras"


@pytest.mark.usefixtures("all_installed")
def test_layers_of_hdf5_are_refused_as_well() -> None:
    config = json.dumps({"class_name": "Sequential", "config": {"layers": [layer("Lambda", "twice")]}})
    files = MemoryFiles({"m.h5": HDF5 + b"keras_version\0" + config.encode() + b"\0weights"})
    with pytest.raises(UnsupportedModelError, match=r"Lambda \(twice\)"):
        formats.recognise(files)
    assert formats.recognise(files, trusted=True).format == "keras.h5"


@pytest.mark.usefixtures("all_installed")
def test_what_needs_no_framework_goes_before_what_does() -> None:
    files = {"m.keras": archive(), "m.onnx": onnx_bytes(), "m.h5": HDF5 + b"keras_version"}
    assert formats.recognise(MemoryFiles(files)).path == "m.onnx"
    del files["m.onnx"]
    with pytest.raises(AmbiguousModelError, match=r"2 models: `m\.h5`, `m\.keras`"):
        formats.recognise(MemoryFiles(files))


@pytest.mark.usefixtures("all_installed")
def test_what_runs_no_code_goes_before_what_does() -> None:
    unsafe = archive({"config": {"layers": [layer("Lambda", "scale")]}})
    files = MemoryFiles({"a.keras": unsafe, "b.keras": archive()})
    assert formats.recognise(files).path == "b.keras"


@pytest.mark.usefixtures("all_installed")
def test_an_input_example_that_is_not_there_is_not_asked_for() -> None:
    files = formats.LocalFiles(ARTIFACTS / "2.22.1-tensorflow-keras-default")
    found = formats.recognise(files)
    assert found.mlflow is not None
    assert found.mlflow.example == "input_example.json"
    assert formats.companions(ARTIFACTS, found, files) == ()


@pytest.mark.parametrize(("data", "wanted"), [(b"[[1.0]]", ("model/input.json",)), (b"", ())])
@pytest.mark.usefixtures("all_installed")
def test_an_input_example_is_a_companion(data: bytes, wanted: tuple[str, ...], tmp_path: Path) -> None:
    mlmodel = "flavors: {keras: {data: data}}\nsaved_input_example_info: {artifact_path: input.json}\n"
    files = MemoryFiles(
        {"model/MLmodel": mlmodel.encode(), "model/data/model.keras": archive(), "model/input.json": data}
    )
    assert formats.companions(tmp_path, formats.recognise(files), files) == wanted


@pytest.mark.parametrize("path", ["../x.json", "/etc/passwd", "file:///x"])
def test_an_input_example_lies_inside_the_artifact(path: str) -> None:
    mlflow = MLflowModel("model", None, {}, example=path)
    with pytest.raises(CorruptModelError, match="not inside the model's directory"):
        example_of(SourceModel("keras.keras", "m.keras", (), "m", "", mlflow))


def test_the_recorded_versions_are_kept() -> None:
    found = formats.identify(
        formats.open_tree(formats.LocalFiles(ARTIFACTS / "2.22.1-tensorflow-keras-default"))
    )
    versions = versions_of(found.mlflow)
    assert versions["python_version"] == "3.11.7"
    assert {"keras_version"} <= versions.keys()
    assert versions_of(None) == {}
