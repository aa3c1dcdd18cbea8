"""The source model in its own runtime: ONNX Runtime, from the extra `verify`."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovms_converter.engine.worker.execution import Array

if TYPE_CHECKING:
    pass

__all__ = ["Reference", "ReferenceError", "is_installed"]

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


class ReferenceError(Exception):
    """The source cannot be run as a reference; the text says why."""


def is_installed() -> bool:
    """Whether ONNX Runtime can be imported; it is not imported for that."""
    return importlib.util.find_spec("onnxruntime") is not None


class Reference:
    """An ONNX model in ONNX Runtime, without its graph optimisations: they are nothing to compare with.

    Raises `ReferenceError` if ONNX Runtime cannot load it.
    """

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        try:
            self._session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise ReferenceError(f"ONNX Runtime cannot load the source: {_line(error)}") from None
        self.inputs: Mapping[str, str] = {port.name: port.type for port in self._session.get_inputs()}
        self.outputs: Sequence[str] = [port.name for port in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """The named outputs. Inputs are cast to the source's types. Raises `ReferenceError`."""
        try:
            feed = {name: value.astype(_DTYPES[self.inputs[name]]) for name, value in inputs.items()}
        except KeyError as error:
            raise ReferenceError(f"inputs of the type `{error.args[0]}` cannot be made up") from None
        try:
            results = self._session.run(list(outputs), feed)
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise ReferenceError(f"ONNX Runtime cannot run the source: {_line(error)}") from None
        if not all(isinstance(result, np.ndarray) for result in results):
            raise ReferenceError("an output of the source is no tensor")
        return list(results)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
