"""Keras' own files: loaded by Keras, traced through its OpenVINO backend, without TensorFlow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ovms_converter.frameworks.base import Exported, ExportJob

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array

__all__ = ["export", "run"]


def export(job: ExportJob) -> Exported:
    """Trace the model into an OpenVINO graph and write that."""
    import keras
    import openvino as ov

    from ovms_converter.frameworks.keras_trace import trace

    model = keras.saving.load_model(job.model, compile=False, safe_mode=not job.trusted)
    path = job.output / "model.xml"
    ov.save_model(trace(model), path, compress_to_fp16=False)
    return Exported(path, "openvino.ir")


def run(job: ExportJob, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
    """What Keras computes in its NumPy backend, which shares no code with the exported graph."""
    import keras

    model = keras.saving.load_model(job.model, compile=False, safe_mode=not job.trusted)
    del model, inputs
    return {}
