"""The source model in a runtime of its own: what a result is compared with.

ONNX Runtime, then ONNX's reference implementation; OpenVINO's own reference implementations for IR; and for
what another library reads, that library, in the process of `frameworks`.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import openvino as ov

from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.worker import execution
from ovms_converter.engine.worker.bfloat import as_array, as_tensor, dtype_of
from ovms_converter.engine.worker.execution import Array
from ovms_converter.engine.worker.exporting import export_job
from ovms_converter.engine.worker.extras import missing_extra
from ovms_converter.engine.worker.onnx_part import part_of
from ovms_converter.engine.worker.treatment import Treatment
from ovms_converter.errors import ConverterError, CorruptModelError, ResourceError, UnsupportedModelError
from ovms_converter.frameworks import OPENERS
from ovms_converter.frameworks.process import FrameworkProcess
from ovms_converter.optimizer.native import NATIVE_ERRORS, cause_of

__all__ = ["Reference", "Runtime", "SourceFailedError", "SourceUnrunnableError", "evaluate", "runtimes"]

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
    "tensor(string)": np.str_,
}

_TYPES: Mapping[int, str] = {
    1: "tensor(float)",
    2: "tensor(uint8)",
    3: "tensor(int8)",
    4: "tensor(uint16)",
    5: "tensor(int16)",
    6: "tensor(int32)",
    7: "tensor(int64)",
    8: "tensor(string)",
    9: "tensor(bool)",
    10: "tensor(float16)",
    11: "tensor(double)",
    12: "tensor(uint32)",
    13: "tensor(uint64)",
}
"""ONNX Runtime's names of `onnx.TensorProto.DataType`."""

_SMALL = 8 << 20
"""The reference implementations of ONNX and OpenVINO are slow: they take models of at most so many bytes."""


class SourceFailedError(Exception):
    """The source cannot be run as a reference on these inputs; the text says why."""


class SourceUnrunnableError(Exception):
    """The source cannot be run as a reference at all; the text says why."""


class Reference(Protocol):
    """A source model that can be run."""

    name: str

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The source's outputs by name; its inputs are given likewise, and cast to its own types.

        Those that are missing are zeros, or their default. Raises `SourceFailedError` or
        `SourceUnrunnableError`.
        """


Runtime: TypeAlias = Callable[[], AbstractContextManager[Reference]]
"""Loads the source; raises `SourceUnrunnableError`, or `SourceFailedError`, if it cannot."""


def runtimes(job: ConversionJob, treatment: Treatment) -> Sequence[Runtime]:
    """What runs the source of a job, best first; empty if there is nothing."""
    if missing_extra(job.format):
        return []
    if job.format == "onnx":
        more = [_Specification] if importlib.util.find_spec("onnx") else []
        return [partial(_opened, each, job.model, treatment) for each in (_Runtime, *more)]
    if job.format == "openvino.ir":
        return [partial(_opened, _Interpreter, job.model, treatment)]
    if job.format in OPENERS:
        return [partial(_framework, job)]
    return []


def evaluate(model: ov.Model, inputs: Sequence[Array]) -> list[Array]:
    """The outputs by OpenVINO's reference implementations, which share no code with its CPU plugin.

    Raises RuntimeError if an operation has none.
    """
    outputs = [ov.Tensor(port.get_element_type(), ov.Shape([0])) for port in model.outputs]
    kinds = [port.get_element_type() for port in model.inputs]
    feed = [as_tensor(value, kind) for value, kind in zip(inputs, kinds, strict=True)]
    if not model.evaluate(outputs, feed):
        raise RuntimeError("an operation has no reference implementation")
    return [np.array(as_array(output.data, output.element_type)) for output in outputs]


@contextmanager
def _opened(
    kind: Callable[[Path, Treatment], Reference], model: Path, treatment: Treatment
) -> Iterator[Reference]:
    yield kind(model, treatment)


class _OnnxReference:
    """What both runtimes of ONNX have in common: `inputs` are types in ONNX Runtime's words, by name."""

    name: str
    inputs: Mapping[str, str]
    shapes: Mapping[str, Sequence[object]]
    outputs: Sequence[str]

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See `Reference.run`."""
        feed = _feed(inputs, self)
        try:
            return dict(zip(self.outputs, _tensors(self._compute(feed)), strict=True))
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise SourceFailedError(f"{self.name} cannot run the source: {_line(error)}") from None

    def _compute(self, feed: Mapping[str, Array]) -> Sequence[object]:
        raise NotImplementedError


class _Runtime(_OnnxReference):
    """An ONNX model in ONNX Runtime, without its graph optimisations: they are nothing to compare with."""

    def __init__(self, model: Path, treatment: Treatment) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(model.parent)
        )
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        try:
            self._session = onnxruntime.InferenceSession(
                _part(model, treatment) or str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise SourceFailedError(f"{self.name} cannot load the source: {_line(error)}") from None
        self.inputs = {port.name: port.type for port in self._session.get_inputs()}
        self.shapes = {port.name: port.shape for port in self._session.get_inputs()}
        wanted = {name for name, _ in treatment.outputs.values()}
        self.outputs = [port.name for port in self._session.get_outputs() if port.name in wanted]

    def _compute(self, feed: Mapping[str, Array]) -> Sequence[object]:
        results: Sequence[object] = self._session.run(list(self.outputs), dict(feed))
        return results


class _Specification(_OnnxReference):
    """A small ONNX model in the Python implementation that goes with ONNX's specification."""

    def __init__(self, model: Path, treatment: Treatment) -> None:
        import onnx
        import onnx.reference

        self.name = f"ONNX {onnx.__version__}'s reference implementation"
        if model.stat().st_size > _SMALL:
            raise SourceFailedError("the source is too large for ONNX's reference implementation")
        try:
            part = _part(model, treatment)
            loaded = onnx.load(model) if part is None else onnx.load_model_from_string(part)
            if part is not None:
                onnx.load_external_data_for_model(loaded, str(model.parent))
            self._evaluator = onnx.reference.ReferenceEvaluator(loaded)
        except Exception as error:  # noqa: BLE001 - its exceptions have no common base
            raise SourceFailedError(f"{self.name} cannot load the source: {_line(error)}") from None
        weights = {tensor.name for tensor in loaded.graph.initializer}
        ports = {port.name: port.type.tensor_type for port in loaded.graph.input if port.name not in weights}
        self.inputs = {name: _TYPES.get(port.elem_type, "unknown") for name, port in ports.items()}
        self.shapes = {
            name: [size.dim_value if size.HasField("dim_value") else None for size in port.shape.dim]
            for name, port in ports.items()
        }
        wanted = {name for name, _ in treatment.outputs.values()}
        self.outputs = [port.name for port in loaded.graph.output if port.name in wanted]

    def _compute(self, feed: Mapping[str, Array]) -> Sequence[object]:
        results: Sequence[object] = self._evaluator.run(list(self.outputs), dict(feed))
        return results


def _part(model: Path, treatment: Treatment) -> bytes | None:
    """The part between the cuts, None if the model is whole."""
    if not (treatment.cuts or treatment.inner):
        return None
    if importlib.util.find_spec("onnx") is None:
        raise SourceFailedError(
            "a model that was cut is compared by the package `onnx`, which is not installed"
        )
    return part_of(model, treatment.cuts, list(dict.fromkeys(name for name, _ in treatment.outputs.values())))


def _feed(inputs: Mapping[str, Array], reference: _OnnxReference) -> dict[str, Array]:
    """Inputs of the source's own types, with zeros for those that the IR lacks; free dimensions are 1."""
    unknown = sorted(set(reference.inputs.values()) - _DTYPES.keys())
    if unknown:
        raise SourceFailedError(f"inputs of the type `{unknown[0]}` cannot be made up")
    feed: dict[str, Array] = {}
    for name, kind in reference.inputs.items():
        shape = [size if isinstance(size, int) else 1 for size in reference.shapes[name]]
        values = np.asarray(inputs.get(name, np.zeros(shape)))
        feed[name] = values.astype(object) if _DTYPES[kind] is np.str_ else values.astype(_DTYPES[kind])
    return feed


def _tensors(results: Sequence[object]) -> list[Array]:
    return [_tensor(result) for result in results]


def _tensor(result: object) -> Array:
    """An output as the IR has it: a map of scores for each row (ZipMap) is a matrix there."""
    if isinstance(result, np.ndarray | np.generic):
        return np.asarray(result)
    if isinstance(result, list) and result and all(isinstance(row, dict) for row in result):
        return np.array([list(row.values()) for row in result], np.float32)
    raise TypeError("an output of the source is no tensor")


class _Interpreter:
    """A small IR as it came in OpenVINO's reference implementations: no plugin, and no argument applied."""

    name = "OpenVINO's reference implementations"

    def __init__(self, model: Path, treatment: Treatment) -> None:
        self._model = ov.Core().read_model(str(model))
        if execution.weigh(self._model) > _SMALL:
            raise SourceFailedError("the source is too large for OpenVINO's reference implementations")
        if treatment.cuts or treatment.inner:
            raise SourceFailedError("an IR that was cut has no reference")
        self._outputs = {name for name, _ in treatment.outputs.values()}

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See `Reference.run`."""
        feed = []
        for port in self._model.inputs:
            found = [values for name, values in inputs.items() if name in _called(port)]
            if not found:
                raise SourceFailedError("an input of the source got no value")
            feed.append(np.asarray(found[0].astype(dtype_of(port.get_element_type())), order="C"))
        try:
            results = evaluate(self._model, feed)
        except NATIVE_ERRORS as error:
            raise SourceFailedError(f"OpenVINO cannot evaluate the source: {cause_of(error)}") from None
        return {
            name: values
            for port, values in zip(self._model.outputs, results, strict=True)
            for name in _called(port) & self._outputs
        }


def _called(port: ov.Output) -> set[str]:
    """All names of an end: its tensor's, and its operation's, which old IR has instead."""
    node = port.get_node()
    source = node.input_value(0).get_node() if node.get_type_name() == "Result" else node
    return {str(name) for name in port.get_names()} | {str(source.get_friendly_name())}


@contextmanager
def _framework(job: ConversionJob) -> Iterator[Reference]:
    with (
        tempfile.TemporaryDirectory(prefix="reference-") as scratch,
        FrameworkProcess(export_job(job, Path(scratch)), "run") as process,
    ):
        yield _Framework(job, process)


class _Framework:
    """A source in its own library, in a process without a network."""

    def __init__(self, job: ConversionJob, process: FrameworkProcess) -> None:
        framework = OPENERS[job.format]
        self.name = f"{framework.title}{_version(framework.module)}"
        self._process = process

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See `Reference.run`."""
        try:
            return self._process.run(inputs)
        except (UnsupportedModelError, CorruptModelError, ResourceError) as error:
            # Other inputs would change nothing: the last two also stand for a process that is gone.
            raise SourceUnrunnableError(error.message) from None
        except ConverterError as error:
            raise SourceFailedError(error.message) from None


def _version(module: str) -> str:
    """The version of a framework's package, with a blank before it, or nothing if that is not known."""
    import importlib.metadata

    for name in (module, f"{module}-cpu"):
        try:
            return f" {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203
            continue
    return ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
