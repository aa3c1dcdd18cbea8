"""Small ONNX models for the engine's tests, and how the tests start it."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ovms_converter.engine.client import Engine
from ovms_converter.engine.job import ConversionJob, ConvertedModel
from ovms_converter.events import Event, Listener, ignore
from ovms_converter.optimizer.arguments import OptimizerArguments

Shape = Sequence[int | str | None]


def value(name: str, kind: int, shape: Shape | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Mapping[str, np.ndarray] | None = None,
) -> Path:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def dense(path: Path, *, batch: int | str = "N", width: int = 4, layers: int = 1) -> Path:
    """`layers` times MatMul and Relu, from `x` to `y`."""
    generator = np.random.default_rng(1)
    nodes, weights, name = [], {}, "x"
    for layer in range(layers):
        weights[f"w{layer}"] = generator.standard_normal((width, width), dtype=np.float32)
        result = "y" if layer == layers - 1 else f"r{layer}"
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [result]))
        name = result
    ends = [value(name, TensorProto.FLOAT, [batch, width]) for name in ("x", "y")]
    return write(path, nodes, ends[:1], ends[1:], weights)


def slow(path: Path) -> Path:
    """A model that takes OpenVINO long: a chain so deep that compiling it takes minutes."""
    names = ["x", *(f"v{index}" for index in range(20000)), "y"]
    nodes = [helper.make_node("Relu", [one], [other]) for one, other in pairwise(names)]
    return write(
        path, nodes, [value("x", TensorProto.FLOAT, [1, 4])], [value("y", TensorProto.FLOAT, [1, 4])]
    )


def job(
    model: Path, directory: Path, /, *, verify: str = "load", stem: str = "model", **arguments: str
) -> ConversionJob:
    kind = "onnx" if model.suffix == ".onnx" else "tensorflow.saved_model"
    return ConversionJob(kind, model, OptimizerArguments.parse(arguments), stem, directory, verify)


def convert(
    one: ConversionJob,
    scratch: Path,
    *,
    listener: Listener = ignore,
    time_limit: float | None = 120,
    memory_limit: int | None = None,
) -> ConvertedModel:
    with Engine(scratch, listener=listener, time_limit=time_limit, memory_limit=memory_limit) as engine:
        return engine.convert(one)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def children() -> list[int]:
    """The processes that this one has started and that are not gone."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def when(event: type[Event], stage: object, act: Callable[[int], None]) -> Listener:
    """A listener that does something with the child when an event of a stage comes."""
    before = set(children())

    def listen(seen: Event) -> None:
        if isinstance(seen, event) and getattr(seen, "stage", None) is stage:
            for pid in set(children()) - before:
                act(pid)

    return listen
