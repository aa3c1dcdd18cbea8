"""What the last ONNX Runtime for Python 3.10 computes otherwise than the standard; later ones do not."""

import onnxruntime
import pytest

__all__ = ["skip_with_old_runtime"]


def skip_with_old_runtime() -> None:
    """End a test whose reference would be wrong."""
    release = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if release < (1, 24):
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} computes this otherwise than the standard")
