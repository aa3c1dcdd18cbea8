"""MLflow artifacts of 1.20 to 3.18: what each is, what of it is fetched, how a hostile MLmodel ends."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from formats_helpers import DATA, MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, RequestError, UnsupportedModelError
from ovms_converter.formats.mlmodel import LIMIT, parse_mlmodel

EXPECTED: dict[str, dict[str, Any]] = json.loads((DATA / "formats/mlflow/expected.json").read_text())
CONVERTIBLE = ("onnx", "tensorflow.saved_model", "paddle")
REFUSED = [found.name for found in formats.FORMATS if not found.convertible]

ONNX_MLMODEL = b"flavors:\n  onnx:\n    data: %s\nmlflow_version: 2.9.2\n"


def mlmodel(text: str) -> bytes:
    return f"flavors:\n{text}\nmlflow_version: 2.9.2\n".encode()


@pytest.mark.parametrize("name", EXPECTED)
def test_an_artifact_is_what_the_framework_wrote(name: str) -> None:
    found = formats.identify(formats.open_tree(formats.LocalFiles(DATA / name)))
    assert (found.format, found.path) == (EXPECTED[name]["format"], EXPECTED[name]["path"])
    assert found.mlflow is not None
    assert "`MLmodel`" in found.evidence


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name]["format"] in CONVERTIBLE])
def test_a_convertible_artifact_is_recognised_as_mlflow_and_as_its_format(name: str) -> None:
    files = formats.LocalFiles(DATA / name)
    assert formats.recognise(files, "mlflow") == formats.recognise(files, "auto")
    assert formats.recognise(files, EXPECTED[name]["format"]).path == EXPECTED[name]["path"]


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name]["format"] in REFUSED])
def test_any_other_artifact_is_refused_by_name_with_advice(name: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(formats.LocalFiles(DATA / name))
    assert f"`{EXPECTED[name]['path']}` is a" in caught.value.message
    assert formats.format_named(EXPECTED[name]["format"]).title in caught.value.message
    assert caught.value.hint


def test_only_what_the_model_needs_is_fetched() -> None:
    root = DATA / "mlflow/1.20.2-keras-tf-trained/model"
    assert formats.recognise(formats.LocalFiles(root)).needs == (
        "data/model/saved_model.pb",
        "data/model/variables/variables.data-00000-of-00001",
        "data/model/variables/variables.index",
    )


def test_earlier_results_and_mlflow_3s_copy_of_the_metadata_are_left_aside(tmp_path: Path) -> None:
    root = tmp_path / "model"
    shutil.copytree(DATA / "mlflow/3.18.0-onnx-external/model", root)
    for path in ("metadata/MLmodel", "metadata/conda.yaml"):
        (root / path).parent.mkdir(exist_ok=True)
        shutil.copy(root / Path(path).name, root / path)
    for directory in ("ovms/1", "2"):
        (root / directory).mkdir(parents=True)
        (root / directory / "saved_model.xml").write_text(
            "<?xml version='1.0'?><net name='m' version='11'></net>"
        )
        (root / directory / "saved_model.bin").write_bytes(b"\0" * 8)
    found = formats.recognise(formats.LocalFiles(root))
    assert (found.format, found.path, found.needs) == ("onnx", "model.onnx", ("model.onnx",))


def test_the_files_of_external_data_are_named_by_the_graph() -> None:
    root = DATA / "mlflow/3.18.0-onnx-external/model"
    files = formats.LocalFiles(root)
    found = formats.recognise(files)
    data = next(path.name for path in root.iterdir() if path.suffix == ".data")
    assert formats.companions(root, found) == (data,)
    assert formats.companions(root, found, files) == (data,)


def test_a_missing_external_file_is_named_with_its_tensor() -> None:
    root = DATA / "mlflow/2.9.2-onnx-missing-external/model"
    files = formats.LocalFiles(root)
    with pytest.raises(
        CorruptModelError, match=r"tensor `w.` of `model.onnx` is in the file `.*`, which is missing"
    ):
        formats.companions(root, formats.recognise(files), files)


def test_the_signature_and_the_provenance_are_kept() -> None:
    found = formats.recognise(formats.LocalFiles(DATA / "mlflow/2.9.2-tensorflow-keras-default/model")).mlflow
    assert found is not None
    assert found.mlflow_version == "2.9.2"
    assert found.signature is not None
    assert found.signature["inputs"][0]["tensor-spec"] == {"dtype": "float32", "shape": [-1, 4]}
    assert found.model_uuid
    assert found.run_id
    assert set(found.flavors) == {"tensorflow"}
    assert found.python_function["loader_module"] == "mlflow.tensorflow"


def test_an_mlmodel_in_a_directory_of_a_run_is_used() -> None:
    files = MemoryFiles({"model/MLmodel": ONNX_MLMODEL % b"model.onnx", "model/model.onnx": onnx_bytes()})
    found = formats.recognise(files)
    assert (found.path, found.needs) == ("model/model.onnx", ("model/model.onnx",))
    assert found.mlflow is not None
    assert found.mlflow.directory == "model"


def test_several_mlmodels_are_listed() -> None:
    files = MemoryFiles({f"{name}/MLmodel": ONNX_MLMODEL % b"model.onnx" for name in ("b", "a")})
    with pytest.raises(AmbiguousModelError, match="2 MLflow models: `a`, `b`") as caught:
        formats.recognise(files)
    assert caught.value.hint is not None
    assert "<input_model>/a" in caught.value.hint


def test_the_mlmodel_at_the_root_goes_before_those_of_models_inside() -> None:
    content = ONNX_MLMODEL % b"model.onnx"
    files = MemoryFiles({"MLmodel": content, "model.onnx": onnx_bytes(), "code/inner/MLmodel": content})
    assert formats.recognise(files).path == "model.onnx"


def test_a_model_beside_the_directory_of_an_mlmodel_makes_two() -> None:
    files = MemoryFiles(
        {
            "a/MLmodel": ONNX_MLMODEL % b"model.onnx",
            "a/model.onnx": onnx_bytes(),
            "b/other.onnx": onnx_bytes(),
        }
    )
    with pytest.raises(AmbiguousModelError, match=r"2 models: `a/model\.onnx`, `b/other\.onnx`"):
        formats.recognise(files)


def test_the_bytes_decide_against_the_mlmodel() -> None:
    runtime = b"\x1c\0\0\0ORTM" + b"\0" * 64
    files = MemoryFiles({"MLmodel": ONNX_MLMODEL % b"model.onnx", "model.onnx": runtime})
    with pytest.raises(UnsupportedModelError, match=r"`model\.onnx` is an ONNX Runtime"):
        formats.recognise(files)


def test_bytes_that_are_nothing_contradict_the_mlmodel() -> None:
    files = MemoryFiles({"MLmodel": ONNX_MLMODEL % b"model.onnx", "model.onnx": b"\xff\xfe\xfd" * 30})
    with pytest.raises(CorruptModelError, match=r"`model\.onnx` is not what the MLmodel says"):
        formats.recognise(files)


def test_a_keras_flavor_without_a_model_is_not_mistaken_for_its_text_files() -> None:
    files = MemoryFiles(
        {"MLmodel": mlmodel("  keras:\n    data: data"), "data/keras_module.txt": b"tensorflow.keras"}
    )
    with pytest.raises(CorruptModelError, match="`data` is not what the MLmodel says"):
        formats.recognise(files)


def test_data_that_is_missing_is_named() -> None:
    with pytest.raises(CorruptModelError, match=r"flavor `onnx`, and there is no .*`model.onnx`"):
        formats.recognise(MemoryFiles({"MLmodel": ONNX_MLMODEL % b"model.onnx"}))


def test_windows_separators_in_an_mlmodel_are_read() -> None:
    files = MemoryFiles({"MLmodel": ONNX_MLMODEL % rb"data\model.onnx", "data/model.onnx": onnx_bytes()})
    assert formats.recognise(files).path == "data/model.onnx"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../other/model.onnx",
        "a/../../b",
        r"..\b",
        r"C:\m.onnx",
        "file:///etc/passwd",
        "~root/m",
        "a\x01b",
    ],
)
def test_a_path_never_leaves_the_models_directory(path: str) -> None:
    content = json.dumps({"flavors": {"onnx": {"data": path}}}).encode()
    with pytest.raises(CorruptModelError, match="not inside the model's directory"):
        formats.recognise(MemoryFiles({"model/MLmodel": content, "model.onnx": onnx_bytes()}))


def test_a_custom_python_model_shows_the_basename_of_the_authors_absolute_path() -> None:
    files = formats.LocalFiles(DATA / "formats/mlflow/2.22.1-pyfunc-from-code")
    with pytest.raises(UnsupportedModelError, match=r"`mymodel\.py` is a custom Python model"):
        formats.recognise(files)


def test_native_flavors_go_before_python_function_and_onnx_before_others() -> None:
    flavors = """
  python_function:
    data: x
  sklearn:
    pickled_model: model.pkl
  onnx:
    data: model.onnx"""
    files = MemoryFiles(
        {"MLmodel": mlmodel(flavors), "model.onnx": onnx_bytes(), "model.pkl": b"\x80\x04\x95"}
    )
    assert formats.recognise(files).path == "model.onnx"


def test_a_flavor_that_nobody_here_knows_is_refused_by_its_name() -> None:
    files = MemoryFiles(
        {"MLmodel": mlmodel("  spacy:\n    data: model.spacy"), "model.spacy/meta.json": b"{}"}
    )
    with pytest.raises(
        UnsupportedModelError, match=r"`model\.spacy` is an MLflow model of a flavor .* `spacy`$"
    ):
        formats.recognise(files)


def test_mlflow_without_an_mlmodel_is_a_wrong_request() -> None:
    with pytest.raises(RequestError) as caught:
        formats.recognise(MemoryFiles({"model.onnx": onnx_bytes()}), "mlflow")
    assert caught.value.parameter == "input_format"


def test_another_format_than_asked_for_is_a_wrong_request_that_names_it() -> None:
    with pytest.raises(
        RequestError, match="`input_format` is `onnx`, and the model is a TensorFlow SavedModel"
    ) as caught:
        formats.recognise(formats.LocalFiles(DATA / "mlflow/2.9.2-keras-lambda/model"), "onnx")
    assert caught.value.parameter == "input_format"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no YAML mapping"),
        (b"- a\n- b\n", "is no YAML mapping"),
        (b"mlflow_version: 1.2\n", "names no flavors"),
        (b"flavors: {}\n", "names no flavors"),
        (b"flavors: [unclosed\n", "in line"),
        (b"flavors: \xff\xfe\n", "truncated or damaged"),
        (b"flavors: {onnx: !!python/object:os.system {}}\n", "could not determine a constructor"),
        (b"flavors: {onnx: {a: !!timestamp 2026-99-99}}\n", "could not determine a constructor"),
        (b"a: &a {x: 1}\nflavors: {onnx: {<<: *a}}\n", "merge keys"),
        (b"a: &a [x]\nflavors: [" + b"*a," * 200 + b"]\n", "beyond reason"),
        (b"flavors: " + b"[" * 200 + b"]" * 200, "beyond reason"),
        (b"flavors: {onnx: {}}\n---\nflavors: {}\n", "single document"),
        (b"#" * (LIMIT + 1), "larger than"),
    ],
)
def test_a_broken_mlmodel_is_one_line(content: bytes, said: str) -> None:
    with pytest.raises(CorruptModelError) as caught:
        formats.recognise(MemoryFiles({"MLmodel": content, "model.onnx": onnx_bytes()}))
    assert caught.value.message.startswith("`MLmodel` is truncated or damaged: ")
    assert said in caught.value.message


def test_numbers_in_an_mlmodel_stay_the_text_they_are() -> None:
    found = parse_mlmodel(
        b"mlflow_version: 1.20\nflavors: {onnx: {onnx_version: 1.10, code: null, ok: true, n: 1:30}}\n"
    )
    assert found.mlflow_version == "1.20"
    assert found.flavors["onnx"] == {"onnx_version": "1.10", "code": None, "ok": True, "n": "1:30"}
