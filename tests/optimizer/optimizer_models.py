"""Small ONNX models, and running what became of a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.conversion import Conversion, convert
from ovms_converter.optimizer.native import ov

DATA = Path(__file__).parents[1] / "data" / "optimizer"
Array = npt.NDArray[Any]


def value(name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def write_model(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Mapping[str, Array] | None = None,
    domains: Sequence[str] = (),
    opset: int = 17,
) -> Path:
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), constants)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def chain(path: Path, shape: Sequence[int | str | None] = (None, 3)) -> Path:
    """x → Mul by 2 `double` → t → Add 1 `plus` → u → Neg (no name) → y."""
    return write_model(
        path,
        [
            helper.make_node("Mul", ["x", "two"], ["t"], name="double"),
            helper.make_node("Add", ["t", "one"], ["u"], name="plus"),
            helper.make_node("Neg", ["u"], ["y"]),
        ],
        [value("x", shape)],
        [value("y", shape)],
        {"two": np.array(2, np.float32), "one": np.array(1, np.float32)},
    )


def passing(path: Path, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT) -> Path:
    """`image` → Abs → `y`, of any shape."""
    return write_model(
        path,
        [helper.make_node("Abs", ["image"], ["y"])],
        [value("image", shape, kind)],
        [value("y", shape, kind)],
    )


def converted(model: Path, scratch: Path, format: str = "onnx", **values: str) -> Conversion:
    return convert(model, format, OptimizerArguments.parse(values), scratch)


def run(conversion: Conversion, **inputs: Array) -> dict[str, Array]:
    """The outputs by name, computed in FP32."""
    compiled = ov.Core().compile_model(conversion.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(inputs)
    return {port.get_any_name(): results[port] for port in compiled.outputs}


def names(conversion: Conversion) -> tuple[list[str], list[str]]:
    """The names of inputs and outputs; every one must be the only one."""
    model = conversion.model
    assert all(len(port.get_names()) == 1 for port in (*model.inputs, *model.outputs))
    return [port.get_any_name() for port in model.inputs], [port.get_any_name() for port in model.outputs]


def shapes(conversion: Conversion) -> dict[str, str]:
    model = conversion.model
    return {port.get_any_name(): str(port.get_partial_shape()) for port in (*model.inputs, *model.outputs)}


def types(conversion: Conversion) -> dict[str, str]:
    model = conversion.model
    return {
        p.get_any_name(): str(p.get_element_type().get_type_name()) for p in (*model.inputs, *model.outputs)
    }
