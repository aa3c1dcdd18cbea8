"""Operations of opset 1 to 6, which ONNX Runtime does not run: the expected values are numpy's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from optimizer_models import Array, converted, run, value
from ovms_converter.optimizer.native import ov
from ovms_converter.optimizer.repairs.onnx_first import FIRST

RANDOM = np.random.RandomState(0)
X: Array = RANDOM.rand(3, 3, 3).astype(np.float32)
ROW: Array = RANDOM.rand(3).astype(np.float32)
COUNTS: Array = RANDOM.randint(0, 2, (3, 3, 3)).astype(np.int32)
TRUTHS: Array = COUNTS > 0
AT_1: Mapping[str, int] = {"broadcast": 1, "axis": 1}

CASES: list[tuple[str, int, Sequence[Array], Mapping[str, Any], Array]] = [
    ("Greater", 6, [X, ROW], AT_1, np.greater(X, ROW[:, None])),
    ("Less", 1, [X, ROW], {"broadcast": 1, "axis": 0}, np.less(X, ROW[:, None, None])),
    ("Equal", 1, [COUNTS, COUNTS[0, 0]], AT_1, np.equal(COUNTS, COUNTS[0, 0][:, None])),
    ("Or", 1, [TRUTHS, TRUTHS[0]], {"broadcast": 1, "axis": 0}, TRUTHS | TRUTHS[0][:, :, None]),
    ("Xor", 6, [TRUTHS, TRUTHS[0, 0]], AT_1, TRUTHS ^ TRUTHS[0, 0][:, None]),
    ("Pow", 1, [X, ROW], AT_1, X ** ROW[:, None]),
    ("Tile", 1, [X, np.array([2], np.int64), np.array([1], np.int64)], {}, np.tile(X, (1, 2, 1))),
    ("Cast", 5, [X * 4], {"to": "INT32"}, (X * 4).astype(np.int32)),
    ("Concat", 1, [X, X], {}, np.concatenate([X, X], 1)),
]


def write(
    path: Path, operation: str, opset: int, inputs: Sequence[Array], attributes: Mapping[str, Any]
) -> Path:
    names = [f"i{number}" for number in range(len(inputs))]
    ports = [
        value(name, array.shape, helper.np_dtype_to_tensor_dtype(array.dtype))
        for name, array in zip(names, inputs, strict=True)
    ]
    node = helper.make_node(operation, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", ports, [onnx.ValueInfoProto(name="y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3), path)
    return path


def equal(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other))


@pytest.mark.parametrize(("operation", "opset", "inputs", "attributes", "expected"), CASES)
def test_a_repair_is_needed_and_right(
    operation: str,
    opset: int,
    inputs: Sequence[Array],
    attributes: Mapping[str, Any],
    expected: Array,
    tmp_path: Path,
) -> None:
    model = write(tmp_path / "m.onnx", operation, opset, inputs, attributes)
    given = {f"i{number}": array for number, array in enumerate(inputs)}
    try:
        plain = np.asarray(ov.Core().compile_model(model, "CPU")(given)[0])
    except (RuntimeError, ov.frontend.OpConversionFailure, ov.frontend.GeneralFailure):
        plain = np.zeros(0)
    assert not equal(plain, expected), f"{ov.get_version()} is right by itself: the repair can go"
    result = converted(model, tmp_path / "scratch")
    assert [name for name in result.repairs if name.startswith("onnx-")] == [
        repair.name for repair in FIRST if repair.operation == operation
    ]
    assert equal(run(result, **given)["y"], expected)


def test_every_operation_has_a_case() -> None:
    assert {repair.operation for repair in FIRST} == {case[0] for case in CASES}


@pytest.mark.parametrize("operation", ["Add", "Sub", "Mul", "Div", "And"])
def test_those_that_openvino_knows(operation: str, tmp_path: Path) -> None:
    functions = {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Div": np.divide,
        "And": np.logical_and,
    }
    first, second = (TRUTHS, TRUTHS[0, 0]) if operation == "And" else (X, ROW)
    model = write(tmp_path / "m.onnx", operation, 6, [first, second], AT_1)
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == ()
    expected = functions[operation](first, second[:, None])
    assert equal(run(result, i0=first, i1=second)["y"], expected)
