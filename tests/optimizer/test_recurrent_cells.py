"""`LSTM`, `GRU` and `RNN` with what OpenVINO's cells lack, beside ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from old_runtime import skip_with_old_runtime
from optimizer_models import Array, converted, run, value
from ovms_converter.optimizer.native import ov

TIME, BATCH, WIDTH, HIDDEN = 4, 3, 2, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
HARD = {"LSTM": ["HardSigmoid", "Tanh", "Tanh"], "GRU": ["HardSigmoid", "Tanh"], "RNN": ["HardSigmoid"]}
LEAKY = {
    "LSTM": ["HardSigmoid", "LeakyRelu", "Elu"], "GRU": ["HardSigmoid", "Softsign"], "RNN": ["ScaledTanh"],
}  # fmt: skip
DIRECTIONS = ("forward", "reverse", "bidirectional")

LAYERS: list[tuple[str, dict[str, Any]]] = [
    *((operation, {"activations": names}) for operation, names in HARD.items()),
    ("LSTM", {"activations": LEAKY["LSTM"], "activation_alpha": [0.3, 0.2], "activation_beta": [0.4]}),
    ("GRU", {"activations": LEAKY["GRU"], "linear_before_reset": 1}),
    ("RNN", {"activations": LEAKY["RNN"], "activation_alpha": [1.2], "activation_beta": [0.5], "clip": 0.6}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"peepholes": True, "activations": HARD["LSTM"], "clip": 0.7}),
]


def random(*shape: int) -> Array:
    values: Array = np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)
    return values


def write(
    path: Path,
    operation: str,
    attributes: dict[str, Any],
    direction: str,
    *,
    opset: int = 11,
    more: bool = False,
    free: bool = False,
) -> Path:
    """A layer of `x` (and `lengths`); with `more` it has biases, lengths and first states."""
    directions = 2 if direction == "bidirectional" else 1
    gates = GATES[operation] * HIDDEN
    given = dict(attributes)
    weights = {"w": random(directions, gates, WIDTH), "r": random(directions, gates, HIDDEN)}
    names = ["x", "w", "r"]
    if more:
        weights |= {"b": random(directions, 2 * gates), "h": random(directions, BATCH, HIDDEN)}
        weights |= {"c": weights["h"] / 2} if operation == "LSTM" else {}
        names += ["b", "lengths", *(name for name in ("h", "c") if name in weights)]
    if given.pop("peepholes", False):
        weights["p"] = random(directions, 3 * HIDDEN)
        names += [""] * (7 - len(names)) + ["p"]
    for name in ("activations", "activation_alpha", "activation_beta"):
        if name in given:
            given[name] = given[name] * directions
    outputs = ["y", "last", "memory"][: 3 if operation == "LSTM" else 2]
    node = helper.make_node(operation, names, outputs, hidden_size=HIDDEN, direction=direction, **given)
    inputs = [value("x", [None, None, WIDTH] if free else [TIME, BATCH, WIDTH])]
    inputs += [value("lengths", [None] if free else [BATCH], TensorProto.INT32)] if more else []
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([node], "g", inputs, [value(name, None) for name in outputs], constants)
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def is_right(results: dict[str, Array], model: Path, given: dict[str, Array]) -> bool:
    session = onnxruntime.InferenceSession(model)
    expected = zip((port.name for port in session.get_outputs()), session.run(None, given), strict=True)
    return all(np.allclose(results[name], array, rtol=1e-3, atol=1e-5) for name, array in expected)


def is_right_plainly(model: Path, given: dict[str, Array]) -> bool:
    """Whether OpenVINO computes it by itself."""
    try:
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results = compiled(given)
    except RuntimeError:
        return False
    plain = {port.get_any_name(): np.asarray(results[port]) for port in compiled.outputs}
    return is_right(plain, model, given)


@pytest.mark.parametrize(("operation", "attributes"), LAYERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_layer_is_right(operation: str, attributes: dict[str, Any], direction: str, tmp_path: Path) -> None:
    if operation == "RNN" and attributes:
        skip_with_old_runtime()
    model = write(tmp_path / "m.onnx", operation, attributes, direction)
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == (f"onnx-{operation}-cell",)
    x = random(TIME, BATCH, WIDTH)
    assert is_right(run(result, x=x), model, {"x": x})


@pytest.mark.parametrize(("operation", "attributes"), LAYERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lengths_states_and_free_sizes(
    operation: str, attributes: dict[str, Any], direction: str, tmp_path: Path
) -> None:
    if operation == "RNN" and attributes:
        skip_with_old_runtime()
    model = write(tmp_path / "m.onnx", operation, attributes, direction, more=True, free=True)
    result = converted(model, tmp_path / "scratch")
    for time in (TIME, TIME + 2):
        given = {"x": random(time, BATCH, WIDTH), "lengths": np.array([time, 1, time - 1], np.int32)}
        assert is_right(run(result, **given), model, given)


@pytest.mark.parametrize(
    ("operation", "attributes"), [LAYERS[0], LAYERS[1], LAYERS[2], LAYERS[6], LAYERS[7]], ids=str
)
def test_openvino_still_needs_a_repair(operation: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", operation, attributes, "forward")
    x = random(TIME, BATCH, WIDTH)
    assert not is_right_plainly(model, {"x": x}), f"{ov.get_version()} computes this right: narrow the repair"


@pytest.mark.parametrize("operation", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lengths_where_sizes_are_free(operation: str, direction: str, tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", operation, {}, direction, more=True, free=True)
    given = {"x": random(TIME, BATCH, WIDTH), "lengths": np.array([TIME, 1, TIME - 1], np.int32)}
    assert not is_right_plainly(model, given), f"{ov.get_version()} computes this right: narrow the repair"
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == (f"onnx-{operation}-cell",)
    assert is_right(run(result, **given), model, given)


def test_a_layer_that_openvino_reads_right_is_no_repair(tmp_path: Path) -> None:
    known = {"activations": ["Sigmoid", "Relu", "Tanh"], "clip": 0.5}
    model = write(tmp_path / "m.onnx", "LSTM", known, "bidirectional")
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == ()
    x = random(TIME, BATCH, WIDTH)
    assert is_right(run(result, x=x), model, {"x": x})


def test_the_batch_first_and_an_activation(tmp_path: Path) -> None:
    """Two repairs of one node; ONNX Runtime does not know `layout`."""
    model = write(tmp_path / "m.onnx", "GRU", {"activations": HARD["GRU"]}, "bidirectional", opset=14)
    turned = onnx.load(model)
    turned.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    turned.graph.input[0].CopyFrom(value("x", [BATCH, TIME, WIDTH]))
    onnx.save(turned, tmp_path / "turned.onnx")
    result = converted(tmp_path / "turned.onnx", tmp_path / "scratch")
    assert result.repairs == ("onnx-GRU-cell", "onnx-GRU-layout")
    x = random(TIME, BATCH, WIDTH)
    results = run(result, x=x.transpose(1, 0, 2))
    back = {"y": results["y"].transpose(1, 2, 0, 3), "last": results["last"].transpose(1, 0, 2)}
    assert is_right(back, model, {"x": x})
