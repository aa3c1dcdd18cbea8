"""`TopK` of equal values: the lowest index, as ONNX and TensorFlow promise."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from optimizer_models import Array, converted, names, run, value, write_model
from ovms_converter.optimizer.native import opset13, ov
from ovms_converter.optimizer.repairs.topk_ties import TOPK_TIES


def equal_scores(rows: int, length: int) -> Array:
    """Few different values, so that the largest is there many times."""
    return np.random.default_rng(5).integers(0, 4, (rows, length)).astype(np.float32)


def test_the_plugin_still_returns_any_index() -> None:
    """The fault itself: when this fails, the installed OpenVINO needs the repair no more."""
    data = opset13.parameter([4, 64], np.float32)
    best = opset13.topk(data, np.int64(1), 1, "max", "value")
    compiled = ov.Core().compile_model(ov.Model([best.output(1)], [data]), "CPU")
    scores = equal_scores(4, 64)

    assert np.any(compiled([scores])[0][:, 0] != scores.argmax(1))


def top(path: Path, length: int, k: int) -> Path:
    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"], axis=1)
    outputs = [value("values", ["n", k]), value("indices", ["n", k], TensorProto.INT64)]
    return write_model(path, [node], [value("x", ["n", length])], outputs, {"k": np.array([k], np.int64)})


@pytest.mark.parametrize(("length", "k"), [(5, 3), (64, 1), (1000, 5), (50_000, 1)])
def test_the_best_few_are_in_the_order_of_their_indices(length: int, k: int, tmp_path: Path) -> None:
    scores = equal_scores(6, length)

    result = converted(top(tmp_path / "m.onnx", length, k), tmp_path)

    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = run(result, x=scores)
    assert result.repairs == (TOPK_TIES.name,)
    assert found["indices"].tolist() == order.tolist()
    assert found["values"].tolist() == np.take_along_axis(scores, order, 1).tolist()


def test_many_of_many_stay_as_fast_as_they_are(tmp_path: Path) -> None:
    result = converted(top(tmp_path / "m.onnx", 8400, 300), tmp_path)

    assert result.repairs == ()
    assert names(result) == (["x"], ["values", "indices"])
