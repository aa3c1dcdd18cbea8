"""What is verified, and what comes of it."""

from dataclasses import dataclass

import openvino as ov

from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.worker.exporting import Source
from ovms_converter.engine.worker.save import Written

__all__ = ["UNCOMPARED", "Task", "Verified"]

UNCOMPARED = ("openvino.ir", "paddle")
"""Formats that "auto" never compares: there is no reference but OpenVINO's own, which is slow."""


@dataclass(frozen=True)
class Task:
    """What is verified: the written `model`, of a `source`, for a `job`."""

    written: Written
    job: ConversionJob
    source: Source
    model: ov.Model


@dataclass(frozen=True)
class Verified:
    """How a result was verified, in one line; notes for the user; and figures if it was compared."""

    text: str
    notes: tuple[str, ...] = ()
    comparison: tuple[OutputComparison, ...] = ()
