"""Formats that their own library exports: what is said where it is missing, and where code would run."""

import importlib.util
import io
import json
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats_helpers import DATA, MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, UnsupportedModelError
from ovms_converter.formats.base import MLflowModel, SourceModel
from ovms_converter.formats.describe import describe
from ovms_converter.formats.framework import FrameworkFormat, example_of, versions_of
from ovms_converter.formats.keras_config import parse_keras_model

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
        if sys.version_info >= (3, 11):
            assert caught.value.hint.startswith("pip install 'ovms-converter[keras]', or load it with")


@pytest.mark.usefixtures("nothing_installed")
def test_where_python_is_too_old_the_hint_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(MemoryFiles({"m.keras": archive()}))
    assert (caught.value.hint or "").startswith(
        "run this program with Python 3.11 or later and its extra `keras`"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_one_line_of_advice_and_an_extra_that_exists(row: FrameworkFormat) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f"\n{row.extra} = [" in text
    assert "\n" not in row.recipe
    assert row.modules


@pytest.mark.usefixtures("all_installed")
def test_layers_that_run_code_are_refused_by_name_and_taken_from_a_trusted_source() -> None:
    inside = [layer("Dense", "hidden"), layer("Lambda", "scale")]
    files = MemoryFiles({"m.keras": archive({"config": {"layers": inside}})})
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(files)
    assert caught.value.message.startswith("`m.keras` is a Keras archive, with layers that run")
    assert "author: Lambda (scale)" in caught.value.message
    assert caught.value.hint is not None
    assert "`--trust-source`" in caught.value.hint
    assert formats.recognise(files, trusted=True).format == "keras.keras"


@pytest.mark.usefixtures("all_installed")
@pytest.mark.parametrize("trusted", [True, False])
def test_code_that_is_not_in_the_file_cannot_be_trusted_either(trusted: bool) -> None:
    own = {**layer("Gate", "g"), "module": None, "registered_name": "mine>Gate"}
    inside = [layer("Dense", "hidden"), layer("Swish", "swish", "author.layers"), own]
    files = MemoryFiles({"m.keras": archive({"class_name": "Sequential", "config": {"layers": inside}})})
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(files, trusted=trusted)
    assert caught.value.message == (
        "`m.keras` uses code of its author that is not in the file: `author.layers.Swish`, `Gate`"
    )
    assert "model.export" in (caught.value.hint or "")


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


@pytest.mark.parametrize(
    ("name", "producer", "inputs", "outputs", "layers"),
    [
        (
            "1.20.2-keras-h5/data/model.h5",
            "Keras 2.4.0",
            ["features float32 [?,4]"],
            ["probs float32 [...]"],
            {"Dense": 2, "InputLayer": 1},
        ),
        (
            "2.22.1-tensorflow-keras-default/data/model.keras",
            "Keras 3.15.1",
            ["features float32 [?,4]"],
            ["probs float32 [...]"],
            {"Dense": 2, "InputLayer": 1},
        ),
    ],
)
def test_a_keras_file_tells_of_itself_without_keras(
    name: str, producer: str, inputs: list[str], outputs: list[str], layers: dict[str, int]
) -> None:
    files = formats.LocalFiles(ARTIFACTS / name)
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert found.producer == producer
    assert [str(spec) for spec in found.inputs] == inputs
    assert [str(spec) for spec in found.outputs] == outputs
    assert found.operations == {"keras": layers}


def tensor(name: str, number: int = 0) -> list[object]:
    return [name, 0, number]


def shaped(kind: str, name: str, shape: list[int | None], key: str = "batch_shape") -> dict[str, object]:
    return {"class_name": kind, "config": {"name": name, key: shape, "dtype": "int32", "trainable": True}}


@pytest.mark.parametrize(
    ("config", "inputs", "outputs"),
    [
        (
            {
                "layers": [shaped("InputLayer", "x1", [None, 4]), shaped("InputLayer", "x2", [2])],
                "input_layers": {"wide": tensor("x2"), "deep": tensor("x1")},
                "output_layers": [tensor("d"), tensor("d", 1), tensor("x1")],
            },
            ["deep int32 [?,4]", "wide int32 [2]"],
            ["d float32 [...]", "d_1 float32 [...]", "x1 int32 [...]"],
        ),
        (
            {"layers": [shaped("Dense", "first", [None, 3], "batch_input_shape")]},
            ["first_input int32 [?,3]"],
            ["first int32 [...]"],
        ),
        ({"layers": [{"class_name": "Dense", "config": {"name": "first"}}]}, [], ["first float32 [...]"]),
        ({"layers": "none", "input_layers": 3, "output_layers": [[["a"]], {}]}, [], []),
    ],
)
def test_inputs_and_outputs_have_the_names_that_a_caller_uses(
    config: object, inputs: list[str], outputs: list[str]
) -> None:
    found = parse_keras_model(json.dumps({"class_name": "Functional", "config": config}))
    assert found is not None
    assert [str(spec) for spec in found.inputs] == inputs
    assert [str(spec) for spec in found.outputs] == outputs


WORDS = st.sampled_from(
    ["class_name", "config", "name", "layers", "dtype", "module", "registered_name", "input_layers",
     "output_layers", "batch_shape", "trainable", "keras", "a>b", "Lambda", "InputLayer", ""]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=40,
)


@given(JSON | st.builds(lambda config: {"class_name": "Model", "config": config}, JSON))
def test_no_configuration_breaks_the_reader(value: object) -> None:
    parse_keras_model(json.dumps(value) + "\0rest")


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_depth_does_not_break_the_reader(depth: int) -> None:
    nested = '{"class_name": "M", "config": {"input_layers": ' + "[" * depth + "]" * depth + "}}"
    parse_keras_model(nested)
