"""TFLite, PaddlePaddle and IR: what their own runtimes computed, names, and every parameter on them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimizer_models import DATA, Array, converted, names, run, shapes, types
from ovms_converter.errors import CorruptModelError, ModelError, RequestError, UnsupportedModelError
from ovms_converter.formats.saved_model import read_saved_model
from ovms_converter.optimizer.native import opset13, ov

NATIVE = DATA / "native"
PADDLE = DATA.parent / "formats/mlflow/2.9.2-paddle/model.pdmodel"
IMAGE = "serving_default_image:0"
LOGITS, FEATURES = "StatefulPartitionedCall:1", "StatefulPartitionedCall:0"


def arrays(name: str) -> dict[str, Array]:
    return dict(np.load(NATIVE / f"{name}.npz"))


def write_ir(path: Path) -> Path:
    """`x` (also `x:0`) → Add 1 `mid` → Relu `y` (also `y/sink:0`); `mid` is an output, too."""
    parameter = opset13.parameter([-1, 3], np.float32, name="p")
    parameter.output(0).set_names({"x", "x:0"})
    middle = opset13.add(parameter, opset13.constant(np.ones(3, np.float32)), name="plus")
    middle.output(0).set_names({"mid"})
    last = opset13.relu(middle, name="last")
    last.output(0).set_names({"y", "y/sink:0"})
    ov.save_model(ov.Model([last, middle], [parameter], "m"), str(path), compress_to_fp16=False)
    return path


@pytest.mark.parametrize(("name", "tolerance"), [("float", 1e-6), ("int8", 0)])
def test_tflite_computes_what_its_interpreter_did(name: str, tolerance: float, tmp_path: Path) -> None:
    expected = arrays(name)
    result = converted(NATIVE / f"{name}.tflite", tmp_path, "tflite")
    assert names(result) == ([IMAGE], [LOGITS, FEATURES])
    computed = run(result, **{IMAGE: expected[IMAGE]})
    for output in (LOGITS, FEATURES):
        np.testing.assert_allclose(computed[output], expected[output], atol=tolerance)


def test_paddle_computes_what_paddle_did(tmp_path: Path) -> None:
    recorded = arrays("paddle")
    result = converted(PADDLE, tmp_path, "paddle")
    inputs, (output,) = names(result)
    assert inputs == ["x"]
    np.testing.assert_allclose(run(result, x=recorded["x"])[output], recorded["out0"], atol=1e-6)


def test_an_ir_without_its_weights_is_told_so(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "m.xml")
    path.with_suffix(".bin").unlink()
    with pytest.raises(CorruptModelError, match=r"`m.xml` has its weights in `m.bin`, which is missing"):
        converted(path, tmp_path, "openvino.ir")


def test_ir_computes_the_same_with_one_name_for_each_end(tmp_path: Path) -> None:
    result = converted(write_ir(tmp_path / "m.xml"), tmp_path, "openvino.ir")
    assert names(result) == (["x"], ["y", "mid"])
    assert shapes(result)["x"] == "[?,3]"
    computed = run(result, x=np.array([[-5, 0, 3]], np.float32))
    assert computed["y"].tolist() == [[0, 1, 4]]
    assert computed["mid"].tolist() == [[-4, 1, 4]]


def test_ir_of_2021_has_the_names_and_types_that_its_clients_know(tmp_path: Path) -> None:
    result = converted(NATIVE / "old.xml", tmp_path, "openvino.ir")
    assert names(result) == (["image"], ["sum"])
    assert types(result) == {"image": "f32", "sum": "f32"}
    assert run(result, image=np.ones((1, 3), np.float32))["sum"].tolist() == [[2, 3, 4]]


def test_ir_is_named_by_any_name_that_it_has(tmp_path: Path) -> None:
    source = write_ir(tmp_path / "m.xml")
    for name in ("x", "x:0", "p"):
        assert shapes(converted(source, tmp_path, "openvino.ir", input=f"{name}[4,3]"))["x"] == "[4,3]"
    for name in ("y", "y/sink:0", "last"):
        assert names(converted(source, tmp_path, "openvino.ir", output=name))[1] == ["y"]


@pytest.mark.parametrize(
    ("values", "inputs", "outputs"),
    [
        ({"output": "mid,y"}, ["x"], ["mid", "y"]),
        ({"output": "plus:0"}, ["x"], ["mid"]),
        ({"output": "0:last"}, ["x"], ["mid"]),
        ({"input": "mid", "output": "y"}, ["mid"], ["y"]),
        ({"input": "last", "output": "y"}, ["last"], ["y"]),
        ({"input": "0:last", "output": "y"}, ["0:last"], ["y"]),
        ({"rename": "x=image,y=probs"}, ["image"], ["probs", "mid"]),
    ],
)
def test_ends_of_ir_can_be_chosen(
    values: dict[str, str], inputs: list[str], outputs: list[str], tmp_path: Path
) -> None:
    result = converted(write_ir(tmp_path / "m.xml"), tmp_path, "openvino.ir", **values)
    assert names(result) == (inputs, outputs)
    fed = np.array([[-5, 0, 3]], np.float32)
    cut = inputs[0] not in ("x", "image")
    last = {"mid": fed + 1}.get(outputs[-1], np.maximum(fed if cut else fed + 1, 0))
    np.testing.assert_array_equal(run(result, **{inputs[0]: fed})[outputs[-1]], last)


@pytest.mark.parametrize("format", ["tflite", "paddle", "openvino.ir"])
def test_shapes_and_batch(format: str, tmp_path: Path) -> None:
    source, name = {
        "tflite": (NATIVE / "float.tflite", IMAGE),
        "paddle": (PADDLE, "x"),
        "openvino.ir": (write_ir(tmp_path / "m.xml"), "x"),
    }[format]
    whole = {"tflite": "[2,8,8,3]", "paddle": "[2,4]", "openvino.ir": "[2,3]"}[format]
    for values in ({"batch": "2"}, {"input_shape": whole}):
        result = shapes(converted(source, tmp_path, format, **values))
        assert {shape.split(",")[0] for shape in result.values()} == {"[2"}
        assert result[name].startswith("[2,")


def test_preprocessing_of_tflite_knows_where_its_channels_are(tmp_path: Path) -> None:
    recorded = arrays("float")
    image = recorded[IMAGE]
    mean, scale = np.array([1, 2, 3], np.float32), np.array([2, 4, 8], np.float32)
    result = converted(
        NATIVE / "float.tflite",
        tmp_path,
        "tflite",
        mean_values="[1,2,3]",
        scale_values="[2,4,8]",
        reverse_input_channels="true",
        nhwc_to_nchw="true",
        rename="serving_default_image=image",
    )
    assert names(result)[0] == ["image"]
    assert shapes(result)["image"] == "[?,3,8,8]"
    turned = np.ascontiguousarray((image * scale + mean)[..., ::-1].transpose(0, 3, 1, 2))
    np.testing.assert_allclose(run(result, image=turned)[LOGITS], recorded[LOGITS], atol=1e-5)


def test_an_input_becomes_a_constant(tmp_path: Path) -> None:
    first, second = (opset13.parameter([1], np.float32, name=name) for name in ("a", "b"))
    first.output(0).set_names({"a"})
    second.output(0).set_names({"b"})
    total = opset13.add(first, second)
    total.output(0).set_names({"sum"})
    ov.save_model(ov.Model([total], [first, second]), str(tmp_path / "m.xml"))
    result = converted(tmp_path / "m.xml", tmp_path, "openvino.ir", freeze_placeholder_with_value="b->[2]")
    assert names(result) == (["a"], ["sum"])
    assert run(result, a=np.ones(1, np.float32))["sum"].tolist() == [3]


def test_outputs_that_share_a_tensor_get_names_of_their_own(tmp_path: Path) -> None:
    parameter = opset13.parameter([2], np.float32, name="data")
    doubled: Any = opset13.add(parameter, parameter, name="twice")
    ov.save_model(
        ov.Model([opset13.result(doubled), opset13.result(doubled)], [parameter]), str(tmp_path / "m.xml")
    )
    inputs, outputs = names(converted(tmp_path / "m.xml", tmp_path, "openvino.ir"))
    assert inputs == ["data"]
    assert outputs[1] == "twice"
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input": "nothing"}, "`input` names `nothing`"),
        ({"output": "nothing"}, "`output` names `nothing`"),
        ({"output": "last:7"}, "has 1 input and 1 output"),
        ({"input_shape": "[1,7]"}, "does not convert with this `input_shape`"),
        ({"framework": "tf"}, "`framework` is `tf`"),
    ],
)
def test_what_does_not_fit_is_the_fault_of_the_request(
    values: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError) as caught:
        converted(write_ir(tmp_path / "m.xml"), tmp_path, "openvino.ir", **values)
    assert message in caught.value.message


def test_a_graph_with_variables_is_not_frozen(tmp_path: Path) -> None:
    saved = (DATA / "models/tf1_saved/saved_model.pb").read_bytes()
    (tmp_path / "graph.pb").write_bytes(read_saved_model(memoryview(saved))[0].graph)
    with pytest.raises(UnsupportedModelError, match=r"not frozen: .* 3 variables, first `w`"):
        converted(tmp_path / "graph.pb", tmp_path, "tensorflow.frozen")


def test_damage_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes((NATIVE / "float.tflite").read_bytes()[:300])
    (tmp_path / "m.pdmodel").write_bytes(PADDLE.read_bytes())
    (tmp_path / "m.pdiparams").write_bytes(b"")
    write_ir(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(b"\0")
    for name, format in (("m.tflite", "tflite"), ("m.pdmodel", "paddle"), ("m.xml", "openvino.ir")):
        with pytest.raises(ModelError, match="cannot be read"):
            converted(tmp_path / name, tmp_path, format)
