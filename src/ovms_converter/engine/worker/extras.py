"""Which of this package's extras brings the runtime that a source is compared in."""

import importlib.util

__all__ = ["missing_extra"]

_BOOSTERS = ("xgboost", "lightgbm")
_TENSORFLOW = ("tensorflow.saved_model", "tensorflow.frozen", "tflite")


def missing_extra(format: str) -> str | None:
    """The extra of this package that brings the runtime of a format, or None if it is there.

    Nothing is imported for that.
    """
    if format == "onnx":
        return None if importlib.util.find_spec("onnxruntime") else "verify"
    if format in _BOOSTERS:
        return None if importlib.util.find_spec(format) else format
    if format in _TENSORFLOW:
        return None if importlib.util.find_spec("tensorflow") else "tensorflow"
    return None
