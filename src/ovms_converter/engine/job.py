"""What is asked of the child process, and what it answers: frozen values without openvino's types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovms_converter.optimizer.arguments import OptimizerArguments

__all__ = ["ConversionJob", "Converted", "ConvertedModel", "OutputComparison", "Port", "Timing"]


@dataclass(frozen=True)
class ConversionJob:
    """One model to convert.

    `format`     one of `optimizer.conversion.FORMATS` or of `frameworks.FRAMEWORKS`
    `model`      the model's file or directory
    `arguments`  Model Optimizer's arguments, already parsed
    `stem`       the result's file name without its ending; a plain name, no path
    `output`     the directory that receives `<stem>.xml` and `<stem>.bin`; it is missing or empty
    `verify`     "off", "load", "compare" or "auto" (compare where that is possible and cheap, else load)
    `tolerance`  for "compare": the largest error relative to the reference that is still equal; None for
                 what the precision of the result suggests
    `ready`      True if the pair is in `output` already: it is verified, and nothing is converted
    `verify_data`  a `.npz` of inputs, and perhaps of the outputs that they shall give, or None
    `weights`    "int8" or "int4" to compress weights, None to leave them
    `calibration_data`  a `.npz` of inputs with which activations become 8 bits too, or None
    `benchmark`  whether load and answers are timed once it is verified
    `signature`, `example`, `versions`, `trusted`  for a framework, see `frameworks.base.ExportJob`
    """

    format: str
    model: Path
    arguments: OptimizerArguments
    stem: str
    output: Path
    verify: str
    tolerance: float | None = None
    signature: Mapping[str, Any] | None = None
    example: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    trusted: bool = False
    verify_data: Path | None = None
    ready: bool = False
    weights: str | None = None
    calibration_data: Path | None = None
    benchmark: bool = False


@dataclass(frozen=True)
class Port:
    """One input or output of the written IR.

    `type` is OpenVINO's name of the element type (`f32`, `i64`, `string`), `shape` is text such as
    `[?,3,224,224]`, with `?` for a free dimension and `1..8` for a bounded one, or `[...]` if even the rank
    is unknown.
    """

    name: str
    type: str
    shape: str


@dataclass(frozen=True)
class OutputComparison:
    """How far one output is from the reference, over all samples.

    `max_abs` and `max_rel` are the largest absolute and relative (to the reference's element) differences,
    `cosine` the smallest cosine similarity of a sample's flattened values.
    """

    name: str
    max_abs: float
    max_rel: float
    cosine: float


@dataclass(frozen=True)
class Timing:
    """How long a model took in a `runtime`: to load, and for each answer in their order; in seconds."""

    runtime: str
    load: float
    answers: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of the answers took less."""
        import statistics

        return statistics.median(self.answers)


@dataclass(frozen=True)
class Converted:
    """What is known of a written and verified IR beside its files.

    `inputs`, `outputs`  as read back from the written file, in its order, one name each
    `notes`              lines for the user: what was ignored, guessed or could not be checked
    `verified`           one line: how the result was verified
    `comparison`         one entry an output if it was compared with its source, else empty
    `timings`            of the source, where it runs here, and of the result; empty if not asked for
    `repairs`            names of the repairs that the model needed, see `optimizer.repairs`
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[str, ...]
    verified: str
    convert_seconds: float
    verify_seconds: float
    comparison: tuple[OutputComparison, ...] = ()
    repairs: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConvertedModel(Converted):
    """A written and verified IR: the one pair of files in `ConversionJob.output`, and what is known of it.

    `bin` has at least one byte.
    """

    xml: Path
    bin: Path
