"""What a framework is asked to do with a model, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["EXPORTED_FORMATS", "ExportJob", "Exported", "Framework", "Module"]

EXPORTED_FORMATS = ("onnx", "openvino.ir")
"""What a framework may export to: formats that `optimizer.conversion` reads."""


@dataclass(frozen=True)
class ExportJob:
    """One model to export, or to run.

    `format`     the name of a row of `FRAMEWORKS`
    `model`      the fetched file or directory
    `output`     an empty directory for the result
    `signature`  MLflow's, parsed: `{"inputs": [...], "outputs": [...]}`
    `example`    MLflow's input example as it was fetched: JSON whose shape depends on MLflow's version
    `versions`   what the `MLmodel` recorded: `sklearn_version`, `keras_version`, `python_version`, ...
    `arguments`  Model Optimizer's, as text by parameter name
    `trusted`    whether the user gave `--trust-source`: only then may code out of the model run
    """

    format: str
    model: Path
    output: Path
    signature: Mapping[str, Any] | None = None
    example: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    trusted: bool = False


@dataclass(frozen=True)
class Exported:
    """What an export wrote below `ExportJob.output`: a file of one of `EXPORTED_FORMATS`.

    `notes` are lines for the user.
    """

    path: Path
    format: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Framework:
    """One library that opens models which OpenVINO does not read.

    `module`     the module of this package that drives it
    `title`      what a sentence calls it: "Keras"
    `exporting`  environment variables of its process while it exports
    `running`    the same while it runs the source as a reference
    """

    module: str
    title: str
    exporting: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, str] = field(default_factory=dict)


class Module(Protocol):
    """What every module that drives a framework has.

    Its functions run in the framework's process only. They raise `UnsupportedModelError`, `CorruptModelError`
    or `RequestError` for what a user can cause; anything else is told as the library's own failure. They may
    keep what they loaded: one process serves one model.
    """

    def export(self, job: ExportJob, /) -> Exported:
        """Write the model below `job.output` in a format that the usual way goes on with."""

    def run(self, job: ExportJob, inputs: "Mapping[str, Array]", /) -> "dict[str, Array]":
        """What the source computes in its own library, by the names of the exported outputs."""
