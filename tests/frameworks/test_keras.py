"""Keras' files become what Keras computes, with its names; what cannot is refused in words that help.

The models are of `make_keras_models.py`, which see for the releases of Keras that wrote them.
"""

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from command_line import CommandLine
from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.frameworks import process
from ovms_converter.frameworks.base import ExportJob

INSTALLED = all(importlib.util.find_spec(name) for name in ("keras", "h5py", "scipy"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not INSTALLED, reason="needs the extra `keras`")]

DATA = Path(__file__).parent.parent / "data"
MODELS = sorted(path for path in (DATA / "keras").iterdir() if path.suffix != ".npz")
ARTIFACTS = DATA / "formats" / "mlflow"


def job(model: Path, directory: Path, *, trusted: bool = False) -> ExportJob:
    output = directory / "exported"
    output.mkdir()
    kind = "keras.h5" if model.suffix == ".h5" else "keras.keras"
    return ExportJob(kind, model, output, trusted=trusted)


def recorded(model: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and outputs by name, as the Keras that wrote the model computed them."""
    with np.load(model.with_suffix(".npz")) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return (
        {name[3:]: value for name, value in arrays.items() if name.startswith("in:")},
        {name[4:]: value for name, value in arrays.items() if name.startswith("out:")},
    )


def computed(xml: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    compiled = ov.Core().compile_model(str(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(dict(inputs))
    return {port.any_name: result[port] for port in compiled.outputs}


def python(program: str, *arguments: object, backend: str = "openvino") -> None:
    """Run a program that needs Keras in a process of its own."""
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, env=environment)


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_the_graph_computes_what_keras_did_under_the_same_names(model: Path, tmp_path: Path) -> None:
    inputs, outputs = recorded(model)
    exported = process.export(job(model, tmp_path))
    assert exported.format == "openvino.ir"
    assert exported.notes == ()
    graph = ov.Core().read_model(str(exported.path))
    assert {port.any_name for port in graph.inputs} == inputs.keys()
    assert [port.any_name for port in graph.outputs] == list(outputs) or "dictionaries" in model.name
    assert all(port.partial_shape[0].is_dynamic for port in (*graph.inputs, *graph.outputs))
    for some in (slice(None), slice(1)):  # a batch of two, and of one
        found = computed(exported.path, {name: value[some] for name, value in inputs.items()})
        assert found.keys() == outputs.keys()
        for name, value in outputs.items():
            np.testing.assert_allclose(found[name], value[some], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.parametrize("name", ["keras-3.15-dictionaries.keras", "keras-2.4-nested.h5"])
def test_another_backend_of_keras_is_the_reference(name: str, tmp_path: Path) -> None:
    model = DATA / "keras" / name
    inputs, outputs = recorded(model)
    with process.FrameworkProcess(job(model, tmp_path), "run") as reference:
        for some in (slice(None), slice(1)):
            found = reference.run({name: value[some] for name, value in inputs.items()})
            assert found.keys() == outputs.keys()
            for key, value in outputs.items():
                np.testing.assert_allclose(found[key], value[some], rtol=1e-4, atol=1e-5, err_msg=key)
        with pytest.raises(ModelError, match="Keras cannot open"):
            reference.run({name: np.zeros((1, 77), "float32") for name in inputs})
        assert reference.run(inputs).keys() == outputs.keys()


@pytest.mark.parametrize(
    ("artifact", "inputs", "outputs"),
    [
        ("1.20.2-keras-h5", ["features"], ["probs"]),
        ("2.22.1-tensorflow-keras-default", ["features"], ["probs"]),
    ],
)
def test_an_artifact_of_mlflow_is_converted(
    artifact: str, inputs: list[str], outputs: list[str], tmp_path: Path, command: CommandLine
) -> None:
    done = command("convert", str(ARTIFACTS / artifact), str(tmp_path / "out"), "--verify", "load", "--json")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "out" / "1" / "conversion.json").read_text())
    assert [port["name"] for port in record["inputs"]] == inputs
    assert [port["name"] for port in record["outputs"]] == outputs
    assert record["inputs"][0]["shape"] == "[?,4]"


def test_options_act_on_the_exported_graph(tmp_path: Path, command: CommandLine) -> None:
    model = DATA / "keras" / "keras-2.13-image.keras"
    done = command("convert", str(model), str(tmp_path / "out"), "--batch", "2", "--data-type", "FP16")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "out" / "1" / "conversion.json").read_text())
    assert record["inputs"][0]["shape"] == "[2,8,8,3]"


LAMBDA = """
import sys, keras
layers = keras.layers
x = layers.Input((4,), name="features")
keras.Model(x, layers.Lambda(lambda t: {call}, output_shape=(4,), name="twice")(x)).save(sys.argv[1])
"""


def with_lambda(path: Path, call: str = "t * 2") -> Path:
    python(LAMBDA.format(call=call), path)
    return path


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_lambda_layer_runs_only_for_a_trusted_source(
    ending: str, tmp_path: Path, command: CommandLine
) -> None:
    model = with_lambda(tmp_path / f"m.{ending}")
    refused = command("convert", str(model), str(tmp_path / "out"))
    assert refused.code == 5
    assert "Lambda (twice)" in refused.err
    assert "`--trust-source`" in refused.err
    done = command("convert", str(model), str(tmp_path / "out"), "--trust-source", "--verify", "load")
    assert done.code == 0, done.err
    x = np.arange(8, dtype="float32").reshape(2, 4)
    xml = tmp_path / "out" / "1" / "m.xml"
    np.testing.assert_array_equal(computed(xml, {"features": x})["twice"], x * 2)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_the_safe_mode_is_on_whatever_was_seen_before(ending: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    model = with_lambda(tmp_path / f"m.{ending}", f"(open({str(marker)!r}, 'w').close(), t)[1]")
    marker.unlink(missing_ok=True)
    with pytest.raises(UnsupportedModelError, match=r"Lambda layers, which run Python code") as caught:
        process.export(job(model, tmp_path))
    assert "`--trust-source`" in (caught.value.hint or "")
    assert not marker.exists()


def test_a_trusted_lambda_layer_has_no_network(tmp_path: Path) -> None:
    opened = "(__import__('socket').socketpair()[0], __import__('socket'))[1]"
    model = with_lambda(tmp_path / "m.keras", f"({opened}.socket(), t)[1]")
    with pytest.raises(ModelError, match=r"cannot trace `m\.keras`: PermissionError: Lambda\.call\(\)"):
        process.export(job(model, tmp_path, trusted=True))


def archive(config: object, version: str = "3.15.1") -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as written:
            written.writestr("metadata.json", json.dumps({"keras_version": version}))
            written.writestr("config.json", json.dumps(config))
            written.writestr("model.weights.h5", b"")
        return file.getvalue()


def layer(kind: str, name: str, **settings: object) -> dict[str, object]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **settings}}


def sequential(*layers: object) -> dict[str, object]:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}}


INPUT = layer("InputLayer", "x", batch_shape=[None, 4], dtype="float32")


def test_what_only_tensorflow_runs_is_named(tmp_path: Path) -> None:
    words = layer("InputLayer", "x", batch_shape=[None, 1], dtype="string")
    lookup = layer("StringLookup", "words", vocabulary=["a", "b"])
    (tmp_path / "m.keras").write_bytes(archive(sequential(words, lookup)))
    with pytest.raises(UnsupportedModelError, match="only TensorFlow runs") as caught:
        process.export(job(tmp_path / "m.keras", tmp_path))
    assert "saved_model" in (caught.value.hint or "")


def test_a_layer_that_is_unknown_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(archive(sequential(INPUT, layer("Gate", "g"))))
    with pytest.raises(UnsupportedModelError, match=r"code that is not in the file.*Gate"):
        process.export(job(tmp_path / "m.keras", tmp_path))


@pytest.mark.parametrize("length", [100, 5000])
@pytest.mark.parametrize("name", ["keras-3.15-image.keras", "keras-2.13-nested.keras", "keras-2.4-two.h5"])
def test_a_truncated_file_is_told_as_such(name: str, length: int, tmp_path: Path) -> None:
    model = tmp_path / name
    model.write_bytes((DATA / "keras" / name).read_bytes()[:length])
    with pytest.raises(CorruptModelError, match="is truncated or damaged"):
        process.export(job(model, tmp_path))


H5 = """
import json, sys, h5py
with h5py.File(sys.argv[1], "w") as file:
    for name, value in json.loads(sys.argv[2]).items():
        file.attrs[name] = value
    file.create_group("model_weights")
"""


def hdf5(path: Path, config: object | None) -> Path:
    attributes = {"keras_version": "2.8.0"} | ({} if config is None else {"model_config": json.dumps(config)})
    python(H5, path, json.dumps(attributes))
    return path


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="holds weights and no graph"):
        process.export(job(hdf5(tmp_path / "m.h5", None), tmp_path))


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("LSTM", {"units": 3, "time_major": True}, "a LSTM with `time_major` True, which Keras 3 lacks"),
        ("Conv2DTranspose", {"filters": 2, "kernel_size": 2, "groups": 2}, "with `groups` 2"),
        ("TFOpLambda", {"function": "linalg.cholesky"}, "TensorFlow's operation `linalg.cholesky`"),
    ],
)
def test_what_keras_3_has_no_equal_of_is_named(
    kind: str, settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    config = sequential(
        layer("InputLayer", "x", batch_input_shape=[None, 3, 4]), layer(kind, "l", **settings)
    )
    with pytest.raises(UnsupportedModelError) as caught:
        process.export(job(hdf5(tmp_path / "m.h5", config), tmp_path))
    assert said in caught.value.message
    assert "the layer `l`" in caught.value.message
    assert "SavedModel" in (caught.value.hint or "")


def test_a_layer_that_keeps_a_state_is_told_of(tmp_path: Path) -> None:
    program = """
import sys, keras
x = keras.layers.Input(batch_shape=(2, 3, 4), name="x")
keras.Model(x, keras.layers.LSTM(3, stateful=True, name="cell")(x)).save(sys.argv[1])
"""
    python(program, tmp_path / "m.keras")
    (note,) = process.export(job(tmp_path / "m.keras", tmp_path)).notes
    assert note == "cell kept a state between calls; here every request begins without one"


def test_another_release_of_keras_is_told_from_a_fault_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its private modules are others: here, a package with an older version's metadata."""
    (tmp_path / "lib" / "keras").mkdir(parents=True)
    (tmp_path / "lib" / "keras" / "__init__.py").write_text("raise ImportError('no module core')")
    (tmp_path / "lib" / "keras-3.99.dist-info").mkdir()
    (tmp_path / "lib" / "keras-3.99.dist-info" / "METADATA").write_text("Name: keras\nVersion: 3.99\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    with pytest.raises(
        UnsupportedModelError, match=r"Keras 3\.99 is not the release that is known"
    ) as caught:
        process.export(job(MODELS[0], tmp_path))
    assert caught.value.hint == "pip install 'ovms-converter[keras]'"


def as_newer(files: bytes, **settings: object) -> bytes:
    """An archive as Keras 3.99 might have written it, with settings of a `Dense` layer of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(files)) as before, zipfile.ZipFile(buffer, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "keras_version": "3.99.0"}).encode()
            if name == "config.json":
                data = data.replace(
                    b'"units":', f'{json.dumps(settings)[1:-1]}{", " if settings else ""}"units":'.encode()
                )
            after.writestr(name, data)
    return buffer.getvalue()


def dense(path: Path) -> None:
    """A model of one layer, `x` to `d`, as a file whose version is that of a newer Keras if it is HDF5."""
    python(
        """
import sys, keras
keras.src.__version__ = "3.99.0"
keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="d")]).save(sys.argv[1])
""",
        path,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_what_a_newer_keras_wrote_is_converted_with_a_note(ending: str, tmp_path: Path) -> None:
    """Keras itself never looks at the version, and leaves out what it does not know beside layers."""
    path = tmp_path / f"m.{ending}"
    dense(path)
    if ending == "keras":
        path.write_bytes(as_newer(path.read_bytes()))
    done = process.export(job(path, tmp_path))
    assert len(done.notes) == 1
    assert done.notes[0].startswith("written by Keras 3.99.0 and read by 3.")
    assert computed(done.path, {"x": np.ones((2, 4), np.float32)})["d"].shape == (2, 3)


def test_what_a_newer_keras_added_to_a_layer_is_named_as_that(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    dense(path)
    path.write_bytes(as_newer(path.read_bytes(), sharpness=0.3))
    with pytest.raises(UnsupportedModelError) as caught:
        process.export(job(path, tmp_path))
    assert "`m.keras` was written by Keras 3.99.0, and Keras 3." in caught.value.message
    assert "does not know all of it: Unrecognized keyword arguments passed to Dense: {'sharpness': 0.3}" in (
        caught.value.message
    )
    assert "saved_model" in (caught.value.hint or "")
