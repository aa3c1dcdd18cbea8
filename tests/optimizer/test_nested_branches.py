"""Branches within branches, which OpenVINO takes twice as long for at every level."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from optimizer_models import converted, run, value, write_model
from ovms_converter.errors import UnsupportedModelError


def nested(path: Path, levels: int) -> Path:
    """`x` → Neg if `choice`, within so many `If`, else Abs → `y`."""

    def branch(name: str, *nodes: Any) -> Any:
        return helper.make_graph(list(nodes), name, [], [value(nodes[0].output[0], [2])])

    inner = helper.make_node("Neg", ["x"], ["o0"])
    for level in range(1, levels + 1):
        inner = helper.make_node(
            "If",
            ["choice"],
            [f"o{level}"],
            then_branch=branch(f"then{level}", inner),
            else_branch=branch(f"else{level}", helper.make_node("Abs", ["x"], [f"e{level}"])),
        )
    ends = [value("x", [2]), value("choice", [], TensorProto.BOOL)], [value(f"o{levels}", [2])]
    return write_model(path, [inner], *ends)


def test_some_levels_are_converted(tmp_path: Path) -> None:
    result = converted(nested(tmp_path / "m.onnx", 8), tmp_path)
    assert run(result, x=np.array([1, -2], np.float32), choice=np.array(True))["o8"].tolist() == [-1, 2]


def test_so_many_that_no_server_gets_through_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"`If`.* nested 29 deep") as caught:
        converted(nested(tmp_path / "m.onnx", 29), tmp_path)
    assert caught.value.exit_code == 5
    assert caught.value.hint
