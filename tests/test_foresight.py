"""What a conversion will not have room for is said before it begins."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from ovms_converter.engine.container import Container
from ovms_converter.events import Event, Note
from ovms_converter.foresight import shortfalls
from ovms_converter.pipeline import run
from ovms_converter.request import ConversionRequest, Given, build_request

GB = 1_000_000_000


def request(source: str, target: str, **others: str) -> ConversionRequest:
    values = {"input_model": source, "output_model": target, **others}
    return build_request({name: Given(value, "flag") for name, value in values.items()})


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 1.5 GB left, and no container."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_500_000_000))
    monkeypatch.setattr("ovms_converter.foresight.container", lambda: None)


@pytest.mark.parametrize(
    ("source", "target", "options", "needed"),
    [
        ("s3://b/m", "s3://b/o", {}, "2.00 GB"),
        ("s3://b/m", "s3://b/o", {"data_type": "FP16"}, None),
        ("s3://b/m", "s3://b/o", {"weights": "int8"}, None),
        ("s3://b/m", "s3://b/o", {"output_format": "onnx"}, None),
        ("LOCAL/m", "s3://b/o", {}, None),
        ("s3://b/m", "LOCAL/new/out", {}, "2.00 GB"),
        ("LOCAL/m", "LOCAL/out", {}, None),
    ],
)
def test_a_disk_that_is_too_small(
    tmp_path: Path, source: str, target: str, options: dict[str, str], needed: str | None
) -> None:
    places = [text.replace("LOCAL", str(tmp_path)) for text in (source, target)]
    found = list(shortfalls(request(*places, **options), GB, tmp_path))
    if needed is None:
        assert found == []
    else:
        assert found == [f"`{tmp_path}` will have to hold about {needed}, and 1.50 GB are free"]


@pytest.mark.parametrize(("options", "told"), [({}, False), ({"weights": "int4"}, True)])
def test_a_container_that_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], told: bool
) -> None:
    """Weights are only held in memory where NNCF rewrites them."""
    monkeypatch.setattr(
        "ovms_converter.foresight.container", lambda: Container(tmp_path, GB, "memory.current", ())
    )
    found = list(shortfalls(request("s3://b/m", "s3://b/o", **options), GB // 2, tmp_path))
    assert [line for line in found if "of memory" in line] == (
        ["this may take 1.27 GB of memory, and of the container's 1.00 GB 1.00 GB are left"] if told else []
    )


def test_the_run_tells_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    events: list[Event] = []
    done = run(
        request(str(tmp_path / "m.onnx"), str(tmp_path / "out"), verify="load"),
        environ=os.environ,
        listener=events.append,
    )
    assert done.published
    warnings = [event.text for event in events if isinstance(event, Note) and event.level == "warning"]
    assert len(warnings) == 1
    assert "3 B are free" in warnings[0]
