"""How fast a model loads and answers on this machine: the source in its own runtime, and the result."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino as ov

from ovms_converter.engine.job import Timing
from ovms_converter.engine.worker import samples
from ovms_converter.engine.worker.execution import Array, array_of
from ovms_converter.engine.worker.samples import Draw
from ovms_converter.engine.worker.save import Written
from ovms_converter.optimizer.native import NATIVE_ERRORS

__all__ = ["measure"]

_SECONDS = 2.0
"""Answers are timed for so long, or until there are `_ANSWERS`."""

_ANSWERS = 200
_WARM_UP = 3
"""The first answers allocate memory and are not counted."""

_Answer: TypeAlias = Callable[[Mapping[str, Array]], object]

_READ_BY_OPENVINO = ("openvino.ir", "paddle", "tensorflow.frozen", "tensorflow.saved_model", "tflite")


def measure(written: Written, model: Path, source_format: str) -> tuple[Timing, ...]:
    """Timings of the source, if it runs here on the result's inputs, and of the result, on seeded inputs.

    As a server does it: in the precision that the CPU prefers, one request at a time, with a batch of one
    where that is free. `model` and `source_format` are what was converted. Nothing is raised for a model that
    does not run: then there is no timing of it.
    """
    after = None
    inputs: Mapping[str, Array] = {}
    for inputs in _inputs(written):
        with contextlib.suppress(*NATIVE_ERRORS):
            after = _timed(f"OpenVINO {_version()}", partial(_compiled, written.xml), inputs)
            break
    if after is None:
        return ()
    before = None
    with contextlib.suppress(Exception):  # the runtimes' own kinds, which have nothing in common
        if source_format == "onnx":
            before = _timed(_onnx_runtime_name(), partial(_onnx_session, model), inputs)
        elif source_format in _READ_BY_OPENVINO:
            before = _timed(f"OpenVINO {_version()}, reading the source", partial(_compiled, model), inputs)
    return (after,) if before is None else (before, after)


def _inputs(written: Written) -> Iterator[dict[str, Array]]:
    """Inputs of the sizes that the result is likely to run with."""
    ports = ov.Core().read_model(str(written.xml)).inputs
    for sizes in samples.candidates(ports):
        tensors = samples.fill(ports, sizes, Draw.UNIT)
        if tensors is not None:
            arrays = [array_of(tensor) for tensor in tensors]
            yield {port.get_any_name(): array for port, array in zip(ports, arrays, strict=True)}


def _timed(runtime: str, load: Callable[[], _Answer], inputs: Mapping[str, Array]) -> Timing:
    started = time.perf_counter()
    answer = load()
    loaded = time.perf_counter() - started
    for _ in range(_WARM_UP):
        answer(inputs)
    answers: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(answers) < _ANSWERS and (not answers or time.perf_counter() < end):
        started = time.perf_counter()
        answer(inputs)
        answers.append(time.perf_counter() - started)
    return Timing(runtime, loaded, tuple(answers))


def _compiled(model: Path) -> _Answer:
    compiled = ov.Core().compile_model(str(model), "CPU")
    request = compiled.create_infer_request()
    return lambda inputs: request.infer(dict(inputs))


def _onnx_session(model: Path) -> _Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = {port.name for port in session.get_inputs()}
    return lambda inputs: session.run(None, {name: np.asarray(inputs[name]) for name in names})


def _onnx_runtime_name() -> str:
    from importlib.metadata import version

    return f"ONNX Runtime {version('onnxruntime')}"


def _version() -> str:
    return str(ov.get_version()).partition("-")[0]
