"""All methods of running a model compute the same; the cheap ones are taken for large models only."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine_rig import convert, job, value, write
from ovms_converter.engine.worker import cutting, execution, samples
from ovms_converter.engine.worker.execution import Runner
from ovms_converter.engine.worker.samples import Draw, Sizes
from ovms_converter.optimizer.native import ov

WIDTH = 800  # 800 x 800 x 2 bytes: large enough to be fed even in FP16


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An embedding, convolutions and dense layers, as IR in both precisions."""
    directory = tmp_path_factory.mktemp("execution")
    generator = np.random.default_rng(3)

    def weight(*shape: int) -> np.ndarray:
        values: np.ndarray = generator.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        return values

    weights = {
        "table": weight(900, WIDTH),
        "d0": weight(WIDTH, WIDTH),
        "d1": weight(WIDTH, WIDTH),
        "k0": weight(64, 1, 3, 3),
        "k1": weight(64, 64, 3, 3),
        "k2": weight(8, 64, 3, 3),
        "to4d": np.array([0, 1, 20, 40]),
        "half": np.float32(0.5),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("MatMul", ["e", "d0"], ["m0"]),
        helper.make_node("Tanh", ["m0"], ["t0"]),
        helper.make_node("Gemm", ["t0", "d1"], ["m1"], transB=1),
        helper.make_node("Add", ["m1", "t0"], ["s"]),
        helper.make_node("Reshape", ["s", "to4d"], ["r"]),
        helper.make_node("Conv", ["r", "k0"], ["c0"], pads=[1] * 4),
        helper.make_node("Conv", ["c0", "k1"], ["c1"], pads=[1] * 4),
        helper.make_node("Add", ["c1", "c0"], ["c2"]),
        helper.make_node("Conv", ["c2", "k2"], ["y"]),
        helper.make_node("Mul", ["t0", "half"], ["z"]),
    ]
    inputs = [value("ids", TensorProto.INT64, ["N"])]
    outputs = [value("y", TensorProto.FLOAT, None), value("z", TensorProto.FLOAT, ["N", WIDTH])]
    source = write(directory / "m.onnx", nodes, inputs, outputs, weights)
    return {
        precision: convert(
            job(source, directory / precision, verify="off", data_type=precision), directory / "s"
        ).xml
        for precision in ("FP32", "FP16")
    }


def run(runner: Runner, inputs: Sequence[ov.Output]) -> list[np.ndarray]:
    tensors = samples.fill(inputs, Sizes(3, 1), Draw.TIES)
    assert tensors is not None
    return runner.run(tensors)


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
@pytest.mark.parametrize(
    ("part", "fed", "fewest"),
    [(48 << 20, 192 << 20, 1), (1 << 16, 192 << 20, 3), (48 << 20, 1, 3), (1, 1, 6)],
    ids=["fed", "cut by what is compiled", "cut by what is fed", "an operation a part"],
)
def test_every_method_computes_the_same(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, precision: str, part: int, fed: int, fewest: int
) -> None:
    expected = execution.run_file(models[precision], run)
    monkeypatch.setattr(execution, "WHOLE_BYTES", 0)
    monkeypatch.setattr(cutting, "PART_BYTES", part)
    monkeypatch.setattr(cutting, "FED_PART_BYTES", fed)
    methods = []

    def use(runner: Runner, inputs: Sequence[ov.Output]) -> list[np.ndarray]:
        methods.append(runner.method)
        return run(runner, inputs)

    results = execution.run_file(models[precision], use)
    (told,) = re.findall(r"in (\d+) parts with 3 large weights read from the file", methods[0])
    assert int(told) >= fewest
    assert len(methods) == 1
    assert [result.shape for result in results] == [(3, 8, 18, 38), (3, WIDTH)]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)


def test_a_small_model_is_compiled_whole(models: dict[str, Path]) -> None:
    assert execution.run_file(models["FP32"], lambda runner, _: runner.method) == "compiled and run"


def test_a_failing_method_is_done_again_with_the_whole_model(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "WHOLE_BYTES", 0)
    tried = []

    def use(runner: Runner, inputs: Sequence[ov.Output]) -> str:
        tried.append(runner.method)
        if len(tried) == 1:
            raise RuntimeError("the method's fault")
        return runner.method

    assert execution.run_file(models["FP32"], use) == "compiled and run"
    assert len(tried) == 2


def test_a_weight_in_fp16_weighs_what_the_plugin_makes_of_it(models: dict[str, Path]) -> None:
    core = ov.Core()
    full, half = (execution.weigh(core.read_model(str(models[name]))) for name in ("FP32", "FP16"))
    assert half == pytest.approx(full, rel=0.01)


def port(shape: str, kind: str = "f32") -> ov.Output:
    from openvino import op

    return op.Parameter(getattr(ov.Type, kind), ov.PartialShape(shape)).output(0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("[2,3]", [(2, 3)]),
        ("[?,3]", [(1, 3), (2, 3), (8, 3), (16, 3)]),
        ("[?,?]", [(1, 1), (1, 2), (1, 8), (1, 16)]),
        ("[4..6,2..3]", [(4, 2), (4, 2), (4, 3), (4, 3)]),
        ("[...]", [(1, 1), (1, 2), (1, 8), (1, 16)]),
    ],
)
def test_free_dimensions_are_tried_small_first(shape: str, expected: list[tuple[int, ...]]) -> None:
    inputs = [port(shape)]
    filled = [samples.fill(inputs, sizes, Draw.ZEROS) for sizes in samples.candidates(inputs)]
    assert [tuple(tensors[0].shape) for tensors in filled[:4] if tensors] == expected


def test_an_input_of_absurd_size_is_not_made() -> None:
    assert samples.fill([port("[1000000,1000000]")], Sizes(1, 1), Draw.ZEROS) is None


@pytest.mark.parametrize("kind", ["f32", "f16", "f64", "i8", "u8", "i32", "i64", "boolean", "string", "bf16"])
@pytest.mark.parametrize("draw", list(Draw))
def test_every_type_can_be_drawn_and_the_same_again(kind: str, draw: Draw) -> None:
    first, again = (samples.fill([port("[64]", kind)], Sizes(1, 1), draw) for _ in range(2))
    assert first
    assert again
    assert tuple(first[0].shape) == (64,)
    if kind != "bf16":
        np.testing.assert_array_equal(execution.array_of(first[0]), execution.array_of(again[0]))
