"""What the `.xml` of an OpenVINO IR tells, read in one pass, without openvino and without its weights.

The format is OpenVINO's: `<net version><layers><layer type version><output><port names>`, then `<edges>`.
A layer may hold a `<body>` with layers of its own (If, Loop, TensorIterator).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from ovms_converter.errors import CorruptModelError

__all__ = ["Graph", "GraphPort", "read_graph"]

_UNESCAPED_COMMA = re.compile(r"(?<!\\),")
_LONGEST_TAG = 16 << 20
"""Bytes of one tag, which expat keeps until it ends."""
_ENDS = ("Const", "Parameter", "Result")
_PRECISIONS = {
    "FP64": "f64",
    "FP32": "f32",
    "FP16": "f16",
    "BF16": "bf16",
    "BOOL": "boolean",
    "STRING": "string",
}


@dataclass(frozen=True)
class GraphPort:
    """An input or output: names, element type (`f32`), shape as text (`[?,3]`), layout as text or ""."""

    names: tuple[str, ...]
    type: str
    shape: str
    layout: str = ""


@dataclass(frozen=True)
class Graph:
    """A graph as its file tells it.

    `ir_version`    the number in `<net version>`
    `operations`    type and operation set of every layer, bodies included: ("MatMul", "opset1")
    `inputs`, `outputs`  of the outermost graph, in the order of the file
    `counts`        how many layers there are of each type, bodies included, most frequent first; without
                    constants, inputs and results
    `weights_end`   how many bytes of the weights file the constants reach into
    """

    ir_version: int
    operations: frozenset[tuple[str, str]]
    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]
    weights_end: int
    counts: Mapping[str, int] = field(default_factory=dict)


def read_graph(parts: Iterable[bytes]) -> Graph:
    """Read an `.xml` that comes part by part, and is never in memory as a whole.

    Raises `CorruptModelError` if it is none, or declares entities, which no IR does.
    """
    reader = _Reader()
    try:
        reader.parse(parts)
    except (expat.ExpatError, ValueError, KeyError) as error:
        raise CorruptModelError(f"the graph cannot be read: {error}") from None
    if reader.ir_version is None:
        raise CorruptModelError("the file is XML, and no OpenVINO IR: it does not begin with `<net>`")
    return reader.graph()


@dataclass
class _Layer:
    id: str
    type: str
    output_names: str = ""
    element_type: str = ""
    shape: str | None = None
    layout: str = ""
    ports: dict[str, "_Port"] = field(default_factory=dict)


@dataclass
class _Port:
    names: str = ""
    precision: str = ""
    dims: list[str] = field(default_factory=list)


class _Reader:
    """Collects while expat parses. Of the layers, only those that may end at an input or output are kept."""

    def __init__(self) -> None:
        self.ir_version: int | None = None
        self.operations: set[tuple[str, str]] = set()
        self._counts: Counter[str] = Counter()
        self.weights_end = 0
        self._depth = 0
        self._layer: _Layer | None = None
        self._port: _Port | None = None
        self._in_output = False
        self._text: list[str] | None = None
        self._inputs: list[_Layer] = []
        self._results: dict[str, _Layer] = {}
        self._ports: dict[tuple[str, str], _Port] = {}
        self._sources: dict[str, tuple[str, str]] = {}

    def parse(self, parts: Iterable[bytes]) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        read = 0
        for part in parts:
            parser.Parse(part, False)
            read += len(part)
            if read - parser.CurrentByteIndex > _LONGEST_TAG:
                raise ValueError(f"a tag in it is longer than {_LONGEST_TAG >> 20} MiB")
        parser.Parse(b"", True)

    def graph(self) -> Graph:
        assert self.ir_version is not None
        inputs = [
            _port_of(layer, port, port.names)
            for layer in self._inputs
            for port in list(layer.ports.values())[:1]
        ]
        outputs = []
        for layer in self._results.values():
            port = self._ports.get(self._sources.get(layer.id, ("", "")), _Port())
            outputs.append(_port_of(layer, port, layer.output_names or port.names))
        return Graph(
            self.ir_version,
            frozenset(self.operations),
            tuple(inputs),
            tuple(outputs),
            self.weights_end,
            {kind: count for kind, count in self._counts.most_common() if kind not in _ENDS},
        )

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "net" and self.ir_version is None:
            self.ir_version = int(attributes["version"])
        elif self.ir_version is None:
            raise ValueError(f"it begins with `<{tag}>`")
        elif tag in ("body", "then_body", "else_body"):
            self._depth += 1
        elif tag == "layer":
            self.operations.add((attributes["type"], attributes.get("version", "opset1")))
            self._counts[attributes["type"]] += 1
            if not self._depth:
                self._layer = _Layer(attributes["id"], attributes["type"], attributes.get("output_names", ""))
        elif tag == "data" and "offset" in attributes and "size" in attributes:
            self.weights_end = max(self.weights_end, int(attributes["offset"]) + int(attributes["size"]))
        elif not self._depth:
            self._start_outermost(tag, attributes)

    def _start_outermost(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "edge":
            if attributes["to-layer"] in self._results:
                self._sources[attributes["to-layer"]] = (attributes["from-layer"], attributes["from-port"])
        elif self._layer is None:
            return
        elif tag == "data" and self._layer.type == "Parameter":
            self._layer.element_type = attributes.get("element_type", "")
            self._layer.shape = attributes.get("shape")
        elif tag == "output":
            self._in_output = True
        elif tag == "port" and self._in_output:
            self._port = _Port(attributes.get("names", ""), attributes.get("precision", ""))
            self._layer.ports[attributes["id"]] = self._port
        elif tag == "dim" and self._port:
            self._text = []
        elif tag == "attribute" and attributes.get("name") == "layout":
            self._layer.layout = attributes.get("layout", "")

    def _end(self, tag: str) -> None:
        if tag in ("body", "then_body", "else_body"):
            self._depth -= 1
        elif self._depth or self._layer is None:
            return
        elif tag == "dim" and self._port and self._text is not None:
            self._port.dims.append("".join(self._text).strip())
            self._text = None
        elif tag == "port":
            self._port = None
        elif tag == "output":
            self._in_output = False
        elif tag == "layer":
            self._keep(self._layer)
            self._layer = None

    def _keep(self, layer: _Layer) -> None:
        if layer.type == "Parameter":
            self._inputs.append(layer)
        if layer.type == "Result":
            self._results[layer.id] = layer
        else:
            self._ports |= {(layer.id, number): port for number, port in layer.ports.items() if port.names}

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise ValueError("it declares a document type, which no IR does")


def _port_of(layer: _Layer, port: _Port, names: str) -> GraphPort:
    split = tuple(name.replace("\\,", ",") for name in _UNESCAPED_COMMA.split(names) if name)
    element_type = layer.element_type or _PRECISIONS.get(port.precision, port.precision.lower())
    dims = ",".join("?" if dim == "-1" else dim for dim in port.dims) if layer.shape is None else layer.shape
    return GraphPort(split, element_type, f"[{dims.replace(' ', '')}]", layer.layout)
