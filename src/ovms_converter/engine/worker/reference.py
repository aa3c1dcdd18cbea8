"""The source model in a runtime of its own: ONNX Runtime, then ONNX's reference implementation.

Both come with the extra `verify`.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ovms_converter.engine.worker.execution import Array

__all__ = ["Reference", "ReferenceError", "is_installed", "runtimes"]

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
}

_TYPES: Mapping[int, str] = {
    1: "tensor(float)",
    2: "tensor(uint8)",
    3: "tensor(int8)",
    4: "tensor(uint16)",
    5: "tensor(int16)",
    6: "tensor(int32)",
    7: "tensor(int64)",
    9: "tensor(bool)",
    10: "tensor(float16)",
    11: "tensor(double)",
    12: "tensor(uint32)",
    13: "tensor(uint64)",
}
"""ONNX Runtime's names of `onnx.TensorProto.DataType`."""

_SMALL = 8 << 20
"""ONNX's reference implementation is slow: it takes models of at most so many bytes."""


class ReferenceError(Exception):
    """The source cannot be run as a reference; the text says why."""


def is_installed() -> bool:
    """Whether ONNX Runtime can be imported; it is not imported for that."""
    return importlib.util.find_spec("onnxruntime") is not None


class Reference(Protocol):
    """A source model that can be run. `inputs` are types in ONNX Runtime's words, by name."""

    name: str
    inputs: Mapping[str, str]
    shapes: Mapping[str, Sequence[object]]
    outputs: Sequence[str]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """The named outputs. Inputs are cast to the source's types; those that are missing are zeros.

        Raises `ReferenceError`.
        """


def runtimes() -> Sequence[Callable[[Path], Reference]]:
    """What loads an ONNX model, best first; each raises `ReferenceError` if it cannot."""
    more = [_Specification] if importlib.util.find_spec("onnx") else []
    return [_Runtime, *more]


class _Runtime:
    """An ONNX model in ONNX Runtime, without its graph optimisations: they are nothing to compare with."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise ReferenceError(f"{self.name} cannot load the source: {_line(error)}") from None
        self.inputs: Mapping[str, str] = {port.name: port.type for port in self._session.get_inputs()}
        self.shapes: Mapping[str, Sequence[object]] = {
            port.name: port.shape for port in self._session.get_inputs()
        }
        self.outputs: Sequence[str] = [port.name for port in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """See `Reference.run`."""
        feed = _feed(inputs, self)
        try:
            return _tensors(self._session.run(list(outputs), feed))
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise ReferenceError(f"{self.name} cannot run the source: {_line(error)}") from None


class _Specification:
    """A small ONNX model in the Python implementation that goes with ONNX's specification."""

    def __init__(self, model: Path) -> None:
        import onnx
        import onnx.reference

        self.name = f"ONNX {onnx.__version__}'s reference implementation"
        if model.stat().st_size > _SMALL:
            raise ReferenceError("the source is too large for ONNX's reference implementation")
        try:
            loaded = onnx.load(model)
            self._evaluator = onnx.reference.ReferenceEvaluator(loaded)
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise ReferenceError(f"{self.name} cannot load the source: {_line(error)}") from None
        weights = {tensor.name for tensor in loaded.graph.initializer}
        ports = {port.name: port.type.tensor_type for port in loaded.graph.input if port.name not in weights}
        self.inputs: Mapping[str, str] = {
            name: _TYPES.get(port.elem_type, "unknown") for name, port in ports.items()
        }
        self.shapes: Mapping[str, Sequence[object]] = {
            name: [size.dim_value if size.HasField("dim_value") else None for size in port.shape.dim]
            for name, port in ports.items()
        }
        self.outputs: Sequence[str] = [port.name for port in loaded.graph.output]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """See `Reference.run`."""
        feed = _feed(inputs, self)
        try:
            return _tensors(self._evaluator.run(list(outputs), feed))
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise ReferenceError(f"{self.name} cannot run the source: {_line(error)}") from None


def _feed(inputs: Mapping[str, Array], reference: Reference) -> dict[str, Array]:
    """Inputs of the source's own types, with zeros for those that the IR lacks; free dimensions are 1."""
    unknown = sorted(set(reference.inputs.values()) - _DTYPES.keys())
    if unknown:
        raise ReferenceError(f"inputs of the type `{unknown[0]}` cannot be made up")
    feed: dict[str, Array] = {}
    for name, kind in reference.inputs.items():
        shape = [size if isinstance(size, int) else 1 for size in reference.shapes[name]]
        feed[name] = np.asarray(inputs.get(name, np.zeros(shape))).astype(_DTYPES[kind])
    return feed


def _tensors(results: Sequence[object]) -> list[Array]:
    if not all(isinstance(result, np.ndarray) for result in results):
        raise TypeError("an output of the source is no tensor")
    return [np.asarray(result) for result in results]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
