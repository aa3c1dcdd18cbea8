"""Rules of our own for ONNX operators: each is still needed, and right by the standard's own test cases."""

import json
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, names, run, value, write_model
from ovms_converter import coverage
from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.own_rules import OWN_RULES
from ovms_converter.optimizer.repairs import ONNX_REPAIRS
from ovms_converter.optimizer.repairs.lrn_bias import LRN_BIAS
from ovms_converter.optimizer.repairs.onnx_first import FIRST
from ovms_converter.optimizer.repairs.onnx_pool_indices import MAX_POOL_INDICES
from ovms_converter.optimizer.repairs.onnx_quantize import DYNAMIC_QUANTIZE, QUANTIZE
from ovms_converter.optimizer.repairs.onnx_recurrent import RECURRENT
from ovms_converter.optimizer.repairs.onnx_reduce_axes import REDUCE_AXES
from ovms_converter.optimizer.repairs.onnx_refused import ROI_ALIGN_MAX
from ovms_converter.optimizer.repairs.onnx_spatial import GLOBAL_LP_POOL
from ovms_converter.optimizer.repairs.tile_repeats import TILE_REPEATS
from test_early_opsets import CASES as EARLY_CASES
from test_early_opsets import TRANSPOSED

CASES = {
    "onnx-Attention": (
        "attention_local_window",
        "attention_local_window_gqa_rank4_mask",
        "attention_3d_local_window",
        "attention_bidirectional_window",
    ),
    "onnx-BitShift": ("bitshift_right_int8_negative_input", "bitshift_left_int8_overflow"),
    "onnx-CausalConvWithState": ("causal_conv_with_state_silu_with_past_state",),
    "onnx-Celu": ("celu_float16",),
    "onnx-CumProd": ("cumprod_2d_negative_axis", "cumprod_1d_reverse_exclusive", "cumprod_2d_int32"),
    "onnx-DFT": ("dft_axis", "dft_rfft", "dft_irfft"),
    "onnx-DFT-19": ("dft_rfft_opset19", "dft_irfft_opset19"),
    "onnx-DeformConv": ("deform_conv_with_mask_bias", "deform_conv_with_multiple_offset_groups"),
    "onnx-Det": ("det_nd", "det_2d"),
    "onnx-GRU-layout": ("gru_batchwise",),
    "onnx-LSTM-layout": ("lstm_batchwise",),
    "onnx-LinearAttention": ("linear_attention_gated_delta_gqa", "linear_attention_prefill_with_past"),
    "onnx-MaxPool-ceil": ("maxpool_2d_ceil_output_size_reduce_by_one",),
    "onnx-MaxUnpool": ("maxunpool_export_with_output_shape", "maxunpool_export_without_output_shape"),
    "onnx-Mod": ("mod_float32_mixed_sign_fmod_0", "mod_float_edge_cases_fmod_0_float32"),
    "onnx-NegativeLogLikelihoodLoss": (
        "nllloss_NCd1_mean_weight_negative_ii",
        "nllloss_NCd1d2d3_none_no_weight_negative_ii",
    ),
    "onnx-NonMaxSuppression-threshold": ("nonmaxsuppression_iou_threshold_boundary",),
    "onnx-RNN-layout": ("simple_rnn_batchwise",),
    "onnx-Resize-aspect-ratio": (
        "resize_upsample_sizes_nearest_not_larger",
        "resize_downsample_sizes_nearest_not_smaller",
    ),
    "onnx-Resize-weights": (
        "resize_downsample_sizes_linear_antialias",
        "resize_upsample_scales_cubic_A_n0p5_exclude_outside",
        "resize_downsample_scales_linear_half_pixel_symmetric",
    ),
    "onnx-SpaceToDepth-mode": ("spacetodepth_crd_mode_example",),
    "onnx-SwiGLU": ("swiglu_alpha",),
    "onnx-TensorScatter": ("tensorscatter_circular", "tensorscatter_3d"),
}
"""Cases of ONNX's backend node tests, by the repair that makes them right."""

PAIRS = [(repair, case) for repair, cases in CASES.items() for case in cases]


@cache
def node_cases() -> Mapping[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {case.name.removeprefix("test_"): case for case in collect_testcases(None)}


def inputs_of(case: Any) -> dict[str, Array]:
    declared = [port.name for port in case.model.graph.input]
    return {name: np.asarray(array) for name, array in zip(declared, case.data_sets[0][0], strict=False)}


def is_expected(case: Any, results: Mapping[str, Array]) -> bool:
    declared = [port.name for port in case.model.graph.output]
    pairs = [
        (results[name], np.asarray(array)) for name, array in zip(declared, case.data_sets[0][1], strict=True)
    ]
    return all(
        one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)
        for one, other in pairs
    )


def plain_is_right(case: Any, path: Path) -> bool:
    """Whether OpenVINO converts the case by itself and computes what is expected."""
    try:
        model = ov.Core().read_model(path)
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        given = inputs_of(case)
        results = compiled([given[next(iter(port.get_names() & given.keys()))] for port in compiled.inputs])
    except (RuntimeError, ov.frontend.OpConversionFailure, ov.frontend.GeneralFailure):
        return False
    declared = [port.name for port in case.model.graph.output]
    return is_expected(
        case, dict(zip(declared, (np.asarray(results[n]) for n in range(len(results))), strict=True))
    )


@pytest.mark.parametrize(("repair", "name"), PAIRS)
def test_a_repair_is_needed_and_makes_the_case_right(repair: str, name: str, tmp_path: Path) -> None:
    case = node_cases()[name]
    path = tmp_path / "m.onnx"
    onnx.save(case.model, path)
    assert not plain_is_right(case, path), f"{ov.get_version()} is right by itself: the repair can go"
    result = converted(path, tmp_path / "scratch")
    assert repair in result.repairs
    given = inputs_of(case)
    assert is_expected(case, run(result, **{name: given[name] for name in names(result)[0]}))
    assert any(note.endswith(": repaired") for note in result.notes)


def test_every_rule_has_a_case() -> None:
    elsewhere = {repair.name for repair in (*REDUCE_AXES, *RECURRENT, *FIRST)} | {
        case.repair for case in (*EARLY_CASES, *TRANSPOSED)
    }
    elsewhere |= {
        each.name for each in (ROI_ALIGN_MAX, DYNAMIC_QUANTIZE, QUANTIZE, MAX_POOL_INDICES, GLOBAL_LP_POOL)
    }
    assert {repair.name for repair in ONNX_REPAIRS} == CASES.keys() | (elsewhere - {LRN_BIAS.name})


def test_what_nothing_makes_right_is_refused(tmp_path: Path) -> None:
    case = node_cases()["roialign_mode_max"]
    onnx.save(case.model, tmp_path / "m.onnx")

    with pytest.raises(UnsupportedModelError, match="other numbers than ONNX asks for") as refused:
        converted(tmp_path / "m.onnx", tmp_path / "scratch")
    assert "`--repairs off`" in (refused.value.hint or "")
    plain = converted(tmp_path / "m.onnx", tmp_path / "scratch", repairs="off")
    given = inputs_of(case)
    results = run(plain, **{each: given[each] for each in names(plain)[0]})
    assert not is_expected(case, results), f"{ov.get_version()} is right by itself: it need not be refused"


def test_switched_off_it_is_refused(tmp_path: Path) -> None:
    onnx.save(node_cases()["cumprod_1d"].model, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModelError, match="CumProd"):
        converted(tmp_path / "m.onnx", tmp_path / "scratch", repairs="off")


def test_a_rule_tells_why_it_refuses(tmp_path: Path) -> None:
    onnx.save(node_cases()["mod_float64_mixed_sign_fmod_0"].model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no infinities of f64"):
        converted(tmp_path / "m.onnx", tmp_path / "scratch")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int8", "int16", "int32"])
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts_of_all_values(kind: str, direction: str, tmp_path: Path) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    shift = helper.make_node("BitShift", ["x", "y"], ["z"], direction=direction)
    ends = [value(name, ["N"], element) for name in ("x", "y")]
    model = write_model(tmp_path / "m.onnx", [shift], ends, [value("z", ["N"], element)])
    result = converted(model, tmp_path / "scratch")
    assert result.repairs == ("onnx-BitShift",)
    limits = np.iinfo(kind)
    numbers = np.array([0, 1, 3, limits.max, limits.min, limits.max // 3, limits.min // 5], kind)
    x, y = (grid.ravel() for grid in np.meshgrid(numbers, np.arange(limits.bits, dtype=kind)))
    expected = np.left_shift(x, y) if direction == "LEFT" else np.right_shift(x, y)
    assert run(result, x=x, y=y)["z"].tolist() == expected.tolist()


def test_a_type_that_openvino_reads_right_is_no_repair(tmp_path: Path) -> None:
    node = helper.make_node("Celu", ["x"], ["y"], alpha=2.0)
    result = converted(
        write_model(tmp_path / "m.onnx", [node], [value("x", [3])], [value("y", [3])]), tmp_path
    )
    assert result.repairs == ()
    x = np.array([-1, 0, 2], np.float32)
    assert np.allclose(run(result, x=x)["y"], np.where(x > 0, x, 2 * np.expm1(x / 2)))


def test_a_rule_inside_a_branch_and_with_free_sizes(tmp_path: Path) -> None:
    def branch(operation: str) -> onnx.GraphProto:
        axis = helper.make_node("Constant", [], [f"{operation}-axis"], value_int=1)
        node = helper.make_node(operation, ["x", f"{operation}-axis"], [operation])
        return helper.make_graph([axis, node], operation, [], [value(operation, None)])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Constant", [], ["limit"], value=helper.make_tensor("", TensorProto.FLOAT, [], [1])),
        helper.make_node("Less", ["limit", "most"], ["large"]),
        helper.make_node("If", ["large"], ["y"], then_branch=branch("CumProd"), else_branch=branch("CumSum")),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", ["N", "M"])], [value("y", ["N", "M"])])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 26)], ir_version=10),
        tmp_path / "m.onnx",
    )
    result = converted(tmp_path / "m.onnx", tmp_path / "scratch")
    assert "onnx-CumProd" in result.repairs
    for size in (2, 5):
        x = np.random.RandomState(size).rand(size, size + 1).astype(np.float32)
        assert np.allclose(run(result, x=x)["y"], np.cumsum(x, 1), rtol=1e-4)
        assert np.allclose(run(result, x=x + 1)["y"], np.cumprod(x + 1, 1), rtol=1e-4)


def test_a_cut_behind_a_rule(tmp_path: Path) -> None:
    onnx.save(node_cases()["swiglu"].model, tmp_path / "m.onnx")
    assert names(converted(tmp_path / "m.onnx", tmp_path / "scratch", output="y")) == (["a", "b"], ["y"])


def tile(shape: list[int]) -> ov.Model:
    data = opset13.parameter(shape, np.float32)
    repeats = opset13.parameter([len(shape)], np.int64)
    for parameter, name in ((data, "x"), (repeats, "r")):
        parameter.output(0).set_names({name})
    last = opset13.tile(data, repeats)
    last.output(0).set_names({"y"})
    return ov.Model([last], [data, repeats], "tile")


@pytest.mark.parametrize("shape", [[2, 3, 4, 5], [-1, -1, -1, -1]])
def test_a_tile_of_computed_repeats(shape: list[int], tmp_path: Path) -> None:
    x = np.random.RandomState(0).rand(2, 3, 4, 5).astype(np.float32)
    repeats = np.array([2, 3, 2, 2], np.int64)
    expected = np.tile(x, repeats)
    plain = ov.Core().compile_model(tile(shape), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wrong = any(not np.array_equal(plain([x, repeats])[0], expected) for _ in range(3))
    assert wrong, (
        f"{ov.get_version()} runs it right: narrow the versions of {TILE_REPEATS.name}, or remove it"
    )

    ov.save_model(tile(shape), str(tmp_path / "m.xml"), compress_to_fp16=False)
    result = converted(tmp_path / "m.xml", tmp_path, "openvino.ir")
    assert result.repairs == ("cpu-tile-repeats",)
    assert np.array_equal(run(result, x=x, r=repeats)["y"], expected)


def test_inspection_knows_the_operators_that_have_a_rule_here_alone() -> None:
    stored = json.loads((Path(coverage.__file__).parent / "operations.json").read_text())
    added = {repair.operation for repair in ONNX_REPAIRS} - set(stored["onnx"]["ai.onnx"])
    assert added == set(OWN_RULES)


def function(name: str, nodes: list[onnx.NodeProto], opset: int = 17) -> onnx.FunctionProto:
    """`a` → `b`, with an attribute `alpha` that the caller may give."""
    return helper.make_function(
        "my.own",
        name,
        ["a"],
        ["b"],
        nodes,
        [helper.make_opsetid("", opset), helper.make_opsetid("my.own", 1)],
        ["alpha"],
    )


def leaky(source: str, target: str) -> onnx.NodeProto:
    node = helper.make_node("LeakyRelu", [source], [target])
    node.attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    )
    return node


def functional(path: Path, functions: list[onnx.FunctionProto], *calls: onnx.NodeProto) -> Path:
    graph = helper.make_graph(list(calls), "g", [value("x", ["N", 3])], [value("y", ["N", 3])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.own", 1)]
    onnx.save(helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8), path)
    return path


X = np.array([[-2, 1, 3], [4, -5, 6]], np.float32)


def test_functions_of_the_model_are_put_in_place(tmp_path: Path) -> None:
    """Called twice, with and without the attribute, one from the other, and with a branch inside."""
    branches = {
        name: helper.make_graph([helper.make_node(kind, ["t"], ["r"])], name, [], [value("r", None)])
        for name, kind in (("then_branch", "Abs"), ("else_branch", "Neg"))
    }
    inner = function("Inner", [leaky("a", "t"), helper.make_node("Add", ["t", "t"], ["b"])])
    outer = function(
        "Outer",
        [
            helper.make_node("Inner", ["a"], ["t"], domain="my.own", alpha=0.5),
            helper.make_node("ReduceMax", ["t"], ["most"], keepdims=0),
            helper.make_node("Constant", [], ["zero"], value_float=0.0),
            helper.make_node("Less", ["zero", "most"], ["c"]),
            helper.make_node("If", ["c"], ["b"], **branches),
        ],
    )
    model = functional(
        tmp_path / "m.onnx",
        [inner, outer],
        helper.make_node("Outer", ["x"], ["s"], domain="my.own"),
        helper.make_node("Inner", ["s"], ["u"], domain="my.own", alpha=0.25),
        helper.make_node("Inner", ["u"], ["y"], domain="my.own", alpha=0.125),
    )
    with pytest.raises(RuntimeError):
        ov.Core().read_model(model)
    result = converted(model, tmp_path / "scratch")
    assert "onnx-functions" in result.repairs
    assert names(result) == (["x"], ["y"])
    for x in (X, -X, -np.abs(X)):
        expected = onnxruntime.InferenceSession(model).run(None, {"x": x})[0]
        assert np.allclose(run(result, x=x)["y"], expected)


def test_what_a_function_calls_is_repaired_too(tmp_path: Path) -> None:
    body = [helper.make_node("ReduceL1", ["a"], ["t"], axes=[1]), helper.make_node("Add", ["a", "t"], ["b"])]
    call = helper.make_node("F", ["x"], ["y"], domain="my.own")
    result = converted(functional(tmp_path / "m.onnx", [function("F", body)], call), tmp_path / "scratch")
    assert result.repairs == ("onnx-ReduceL1-axes", "onnx-functions")
    assert np.allclose(run(result, x=X)["y"], X + np.abs(X).sum(1, keepdims=True))


def test_a_function_that_calls_itself_is_damage(tmp_path: Path) -> None:
    call = [helper.make_node("F", ["a"], ["b"], domain="my.own")]
    model = functional(
        tmp_path / "m.onnx", [function("F", call)], helper.make_node("F", ["x"], ["y"], domain="my.own")
    )
    with pytest.raises(CorruptModelError, match="calls itself"):
        converted(model, tmp_path / "scratch")


def test_a_function_of_another_operation_set_is_left_to_openvino(tmp_path: Path) -> None:
    old = function("F", [helper.make_node("Squeeze", ["a"], ["b"], axes=[1])], opset=11)
    model = functional(tmp_path / "m.onnx", [old], helper.make_node("F", ["x"], ["y"], domain="my.own"))
    with pytest.raises(UnsupportedModelError, match=r"my\.own"):
        converted(model, tmp_path / "scratch")
