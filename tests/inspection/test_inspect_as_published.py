"""What `inspect` tells of inputs and outputs is what `convert` publishes: names, types, ranks, sizes."""

from pathlib import Path

import pytest

from published_ends import both

DATA = Path(__file__).parent.parent / "data"

NATIVE = [
    "formats/mlflow/2.9.2-paddle",
    "mlflow/1.20.2-tensorflow-cnn/model",
    "mlflow/1.20.2-tensorflow-signature/model",
    "mlflow/1.30.1-keras-tf-two/model",
    "mlflow/2.22.1-tensorflow-module-signature/model",
    "mlflow/3.18.0-onnx-single/model",
    "mlflow/2.9.2-onnx-external/model",
]
"""Models of the tests' data that openvino reads alone."""


@pytest.mark.parametrize("name", NATIVE)
def test_models_that_openvino_reads(name: str, tmp_path: Path) -> None:
    found = both(DATA / name, tmp_path)
    assert found.inputs
    assert found.outputs


def test_an_ir_with_several_names_of_a_tensor(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    value = ov.opset13.parameter([-1, 3], ov.Type.f16, name="zebra")
    value.output(0).get_tensor().set_names({"image", "zebra:0", "a,b"})
    flag = ov.opset13.parameter([], ov.Type.boolean, name="flag")
    total = ov.opset13.select(flag, value, ov.opset13.relu(value))
    total.output(0).get_tensor().set_names({"sum", "Identity:0"})
    flag.output(0).get_tensor().set_names({"flag"})
    ov.save_model(ov.Model([total], [value, flag], "net"), tmp_path / "net.xml", compress_to_fp16=False)
    assert both(tmp_path / "net.xml", tmp_path).inputs


def test_an_ir_whose_names_change_says_so(tmp_path: Path) -> None:
    found = both(DATA / "optimizer" / "native" / "old.xml", tmp_path)
    assert (found.inputs, found.outputs) == ((), ())
    assert any("before IR version 11" in note for note in found.notes)


OTHERS = [
    "optimizer/boosters/booster.lgb",
    "optimizer/boosters/classifier.xgb",
    "optimizer/boosters/regressor.json",
    "optimizer/native/int8.tflite",
    "optimizer/native/paddle-two",
    "optimizer/models/conv_dynhw.onnx",
    "optimizer/models/two_input.onnx",
    "optimizer/models/tf_multi",
    "optimizer/models/frozen",
    "optimizer/signatures/dup",
    "optimizer/signatures/tf1",
]


@pytest.mark.parametrize("name", OTHERS)
def test_models_without_mlflow(name: str, tmp_path: Path) -> None:
    found = both(DATA / name, tmp_path)
    assert found.inputs
    assert found.outputs


KERAS = ["keras-2.13-image.keras", "keras-3.15-dictionaries.keras", "keras-2.4-two.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
def test_keras_models(name: str, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras is not installed")
    found = both(DATA / "keras" / name, tmp_path)
    assert found.inputs
    assert found.outputs


@pytest.mark.slow
def test_a_pickled_estimator_tells_nothing_before_it_is_opened(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    joblib = pytest.importorskip("joblib", reason="scikit-learn is not installed")
    joblib.dump(linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "model.joblib")
    found = both(tmp_path / "model.joblib", tmp_path, trust_source="true")
    assert (found.inputs, found.outputs) == ((), ())
    assert any("not known before it is opened" in note for note in found.notes)
