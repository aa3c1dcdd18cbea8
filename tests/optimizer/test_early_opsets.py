"""Operations as old operation sets have them: OpenVINO is wrong by itself, and right with the repair."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from old_runtime import skip_with_old_runtime
from optimizer_models import Array, converted, run, value
from ovms_converter.optimizer.native import ov


@dataclass(frozen=True)
class Case:
    """A node of an operation set, and what it is given; `weights` are the inputs that are constants."""

    repair: str
    opset: int
    operation: str
    inputs: Sequence[Array]
    weights: Sequence[int] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = "-".join(str(each) for each in self.attributes.values())
        return f"{self.operation}-{self.opset}-{shown}-{len(self.weights)}".replace(" ", "")


def random(*shape: int) -> Array:
    numbers: Array = np.random.RandomState(len(shape)).randn(*shape).astype(np.float32) * 2
    return numbers


def positive(*shape: int) -> Array:
    return np.asarray(np.abs(random(*shape)) + np.float32(0.5))


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


BOXES = np.array([[0, 0, 5, 6], [1, 1.5, 7, 6.2], [2, 2, 3, 3]], np.float32)

SOFTMAX = [
    Case("onnx-Softmax", opset, "Softmax", [random(2, 3, 4, 5)], attributes=attributes)
    for opset in (11, 12)
    for attributes in ({}, {"axis": 0}, {"axis": 1}, {"axis": 2}, {"axis": -2})
]
POOLS = [
    Case(
        "onnx-AveragePool-ceil",
        opset,
        "AveragePool",
        [random(1, 2, 7, 8)],
        attributes={
            "kernel_shape": [3, 3], "strides": strides, "pads": pads, "ceil_mode": 1, "count_include_pad": 1,
        },
    )
    for opset in (10, 11)
    for strides, pads in (([2, 2], [1, 1, 1, 1]), ([3, 3], [1, 0, 0, 1]), ([4, 2], [1, 1, 1, 1]))
]  # fmt: skip
SLOPES = [
    Case("onnx-PRelu-last-axis", opset, "PRelu", [random(*shape), random(shape[-1])], weights)
    for opset in (7, 9, 16)
    for shape, weights in (((2, 3, 3), (1,)), ((2, 3, 4, 3), ()))
]
MEANS = [
    Case(
        "onnx-MeanVarianceNormalization-batch",
        8,
        "MeanVarianceNormalization",
        [random(2, 3, 4, 5)],
        attributes=attributes,
    )
    for attributes in ({}, {"across_channels": 1}, {"normalize_variance": 0})
]
SLICES = [
    Case("onnx-DynamicSlice", opset, "DynamicSlice", [random(4, 5), *places])
    for opset in (7, 9)
    for places in (
        (integers(1), integers(-1), integers(1)),
        (integers(0, 1), integers(2, 99)),
        (integers(-3), integers(4), integers(0)),
    )
]
STATISTICS = [random(3, 4), random(3, 4), random(3, 4), positive(3, 4)]
CASES = [
    *SOFTMAX,
    *POOLS,
    *SLOPES,
    *MEANS,
    *SLICES,
    *(
        Case("cpu-lrn-bias", opset, "LRN", [random(2, 6, 3, 3)], attributes=attributes)
        for opset, attributes in (
            (7, {"size": 3, "bias": 1.5, "alpha": 0.5, "beta": 0.7}),
            (13, {"size": 3, "bias": 0.5, "alpha": 0.1}),
        )
    ),
    *(
        Case(
            "onnx-RoiAlign-sampling",
            opset,
            "RoiAlign",
            [random(2, 3, 8, 8), BOXES, integers(0, 1, 0)],
            attributes={"output_height": 3, "output_width": 2},
        )
        for opset in (10, 16)
    ),
    Case(
        "onnx-BatchNormalization-spatial",
        7,
        "BatchNormalization",
        [random(2, 3, 4), *STATISTICS],
        (1, 2, 3, 4),
        {"spatial": 0, "epsilon": 0.01},
    ),
]


def write(case: Case, path: Path, *, free: bool = False) -> Path:
    """A model of the one node; its sizes are free or fixed."""
    names = [f"i{number}" for number in range(len(case.inputs))]
    node = helper.make_node(case.operation, names, ["y"], **case.attributes)
    ports = [
        value(names[number], [None] * array.ndim if free else array.shape, element_type(array))
        for number, array in enumerate(case.inputs)
        if number not in case.weights
    ]
    constants = [numpy_helper.from_array(case.inputs[number], names[number]) for number in case.weights]
    graph = helper.make_graph([node], "g", ports, [value("y", None)], constants)
    opset = helper.make_opsetid("", case.opset)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def element_type(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def given(case: Case) -> dict[str, Array]:
    return {f"i{at}": array for at, array in enumerate(case.inputs) if at not in case.weights}


def expected(case: Case, model: Path) -> Array:
    if case.repair == "onnx-AveragePool-ceil":
        skip_with_old_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return np.asarray(onnxruntime.InferenceSession(model, options).run(None, given(case))[0])


def equal(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-3, atol=1e-5))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_repair_is_needed_and_right(case: Case, tmp_path: Path) -> None:
    model = write(case, tmp_path / "m.onnx")
    wanted = expected(case, model)
    try:
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        plain = np.asarray(compiled(given(case))[0])
    except (RuntimeError, ov.frontend.OpConversionFailure, ov.frontend.GeneralFailure):
        plain = np.zeros(0, np.float32)
    assert not equal(plain, wanted), f"{ov.get_version()} is right by itself: {case.repair} can go"
    result = converted(model, tmp_path / "scratch")
    assert case.repair in result.repairs
    assert equal(run(result, **given(case))["y"], wanted)


@pytest.mark.parametrize("case", [each for each in CASES if each.operation != "RoiAlign"], ids=str)
def test_a_repair_is_right_for_free_sizes(case: Case, tmp_path: Path) -> None:
    model = write(case, tmp_path / "m.onnx", free=True)
    result = converted(model, tmp_path / "scratch")
    assert case.repair in result.repairs
    assert equal(run(result, **given(case))["y"], expected(case, model))


TRANSPOSED = [
    Case(
        "onnx-ConvTranspose-same",
        opset,
        "ConvTranspose",
        [random(1, 2, 7, 8), random(2, 4, 3, 2)],
        (1,),
        {"kernel_shape": [3, 2], "auto_pad": kind, "strides": [2, 1], **more},
    )
    for opset in (7, 11)
    for kind in ("SAME_UPPER", "SAME_LOWER")
    for more in ({}, {"dilations": [2, 3]})
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_a_transposed_convolution_of_free_sizes(case: Case, tmp_path: Path) -> None:
    """With fixed sizes OpenVINO is right."""
    model = write(case, tmp_path / "m.onnx", free=True)
    wanted = expected(case, model)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    plain = np.asarray(compiled(given(case))[0])
    assert not equal(plain, wanted), f"{ov.get_version()} is right by itself: {case.repair} can go"
    result = converted(model, tmp_path / "scratch")
    assert case.repair in result.repairs
    assert equal(run(result, **given(case))["y"], wanted)


@pytest.mark.parametrize(
    "case",
    [
        *(
            Case("", opset, "Softmax", [random(*shape)], attributes={"axis": axis})
            for opset, shape, axis in (
                (10, (2, 3, 4), 1), (11, (2, 3), 1), (12, (2, 3, 4), -1), (12, (2, 3, 4), 2),
                (13, (2, 3, 4), 1),
            )
        ),
        Case("", 9, "PRelu", [random(2, 3), random(3)], (1,)),
        Case("", 9, "PRelu", [random(2, 3, 4), random(1)], (1,)),
        Case("", 9, "PRelu", [random(2, 3, 4), random(3, 1)], (1,)),
        Case("", 9, "MeanVarianceNormalization", [random(2, 3, 4, 5)]),
        Case("", 7, "LRN", [random(2, 6, 3, 3)], attributes={"size": 3, "bias": 2.0, "alpha": 0.5}),
        Case("", 8, "BatchNormalization", [random(2, 3, 4), *(positive(3) for _ in range(4))], (1, 2, 3, 4)),
        Case(
            "",
            10,
            "AveragePool",
            [random(1, 2, 7, 8)],
            attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_openvino_reads_right_is_no_repair(case: Case, tmp_path: Path) -> None:
    model = write(case, tmp_path / "m.onnx")
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == ()
    assert equal(run(result, **given(case))["y"], expected(case, model))
