"""What the tests of this room share: a tree in memory that counts reads, and hand-made models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ovms_converter.errors import NotFoundError

DATA = Path(__file__).parent.parent / "data"

FLOAT_INPUT = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
FLOAT_OUTPUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])


class MemoryFiles:
    """Files in memory. `hidden` ones are read by name but not listed, like neighbours of a single object."""

    def __init__(
        self,
        contents: Mapping[str, bytes],
        hidden: Mapping[str, bytes] | None = None,
        *,
        sizes_known: bool = True,
    ) -> None:
        self.contents = dict(contents)
        self.hidden = dict(hidden or {})
        self.sizes_known = sizes_known
        self.reads: list[tuple[str, int, int | None]] = []
        self.bytes_read = 0

    def sizes(self) -> Mapping[str, int | None]:
        return {path: len(data) if self.sizes_known else None for path, data in self.contents.items()}

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        data = self.contents.get(path, self.hidden.get(path))
        if data is None:
            raise NotFoundError(f"there is no `{path}`")
        found = data[start:] if length is None else data[start : start + length]
        self.reads.append((path, start, length))
        self.bytes_read += len(found)
        return found

    def write_to(self, root: Path) -> Path:
        """The same tree on disk."""
        for path, data in self.contents.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root


def onnx_bytes(
    nodes: Sequence[onnx.NodeProto] | None = None,
    initializers: Sequence[onnx.TensorProto] = (),
    opsets: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    inputs: Sequence[onnx.ValueInfoProto] = (FLOAT_INPUT,),
) -> bytes:
    """A small ONNX model, `y = Relu(x)` if nothing else is said."""
    graph = helper.make_graph(
        list(nodes) if nodes is not None else [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        list(inputs),
        [FLOAT_OUTPUT],
        list(initializers),
    )
    sets = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 17}).items()]
    model = helper.make_model(graph, producer_name="tests", opset_imports=sets, functions=list(functions))
    return bytes(model.SerializeToString())


def external_tensor(
    name: str, location: str, shape: Sequence[int] = (4,), **entries: int | str
) -> onnx.TensorProto:
    """A float tensor whose bytes are in another file."""
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def adding(*names: str) -> list[onnx.NodeProto]:
    """Nodes that add tensors to the input one after the other."""
    values = ["x", *(f"v{number}" for number in range(len(names) - 1)), "y"]
    return [
        helper.make_node("Add", [values[number], name], [values[number + 1]])
        for number, name in enumerate(names)
    ]
