"""Damaged graphs: reading and rewriting them ends in an error of ours, whatever the bytes are."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizer_models import DATA
from ovms_converter.errors import ConverterError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.onnx_source import OnnxSource
from ovms_converter.optimizer.plan import make_plan
from ovms_converter.optimizer.saved_model_source import SavedModelSource
from ovms_converter.optimizer.source import GraphSource

NOTHING = OptimizerArguments()
damage = st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=4)


def open_onnx(directory: Path, data: bytes) -> GraphSource:
    (directory / "m.onnx").write_bytes(data)
    return OnnxSource(directory / "m.onnx")


def open_saved_model(directory: Path, data: bytes) -> GraphSource:
    (directory / "saved_model.pb").write_bytes(data)
    return SavedModelSource(directory, NOTHING)


@pytest.mark.parametrize(
    ("file", "opener", "values"),
    [
        ("conv_nchw.onnx", open_onnx, {"input": "conv2[1,4,16,16]{f32}", "output": "gap"}),
        ("conv_nchw.onnx", open_onnx, {"output": "relu1"}),
        ("tf1_saved/saved_model.pb", open_saved_model, {"input": "relu[1,8,8,4]"}),
        ("tf_varcollide/saved_model.pb", open_saved_model, {}),
        ("tf_conv/saved_model.pb", open_saved_model, {"output": "model/relu1/Relu"}),
        ("tf_conv/saved_model.pb", open_saved_model, {"input": "model/gap/Mean[1,8]"}),
    ],
)
def test_any_damage_is_told(
    file: str, opener: Callable[[Path, bytes], GraphSource], values: dict[str, str]
) -> None:
    data = (DATA / "models" / file).read_bytes()
    arguments = OptimizerArguments.parse(values)

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
    @given(damage)
    def check(changes: list[tuple[float, int]]) -> None:
        damaged = bytearray(data)
        for place, byte in changes:
            damaged[int(place * len(damaged))] = byte
        with tempfile.TemporaryDirectory() as directory, contextlib.suppress(ConverterError):
            source = opener(Path(directory), bytes(damaged))
            source.prepare(make_plan(source, arguments), Path(directory) / "scratch")

    check()
