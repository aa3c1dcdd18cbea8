"""bfloat16, which numpy lacks: arrays hold its numbers as float32, and tensors as they are.

OpenVINO shows the data of such a tensor as float16, whose bits mean other numbers.
"""

from typing import TypeAlias

import numpy as np
import openvino as ov

__all__ = ["Array", "as_array", "as_tensor", "dtype_of"]

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"

_NAN = 0x7FC0


def dtype_of(kind: ov.Type) -> "np.dtype[np.generic]":
    """The type of arrays for tensors of a type. Raises RuntimeError if numpy has none."""
    return np.dtype(np.float32 if kind == ov.Type.bf16 else kind.to_dtype())


def as_tensor(values: Array, kind: ov.Type) -> ov.Tensor:
    """Numbers as a tensor of bfloat16, rounded to the nearest, ties to even; others as they are."""
    if kind != ov.Type.bf16:
        return ov.Tensor(np.ascontiguousarray(values))
    wide = np.asarray(values, np.float32)
    bits = wide.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    tensor = ov.Tensor(kind, ov.Shape(list(wide.shape)))
    tensor.data.view(np.uint16)[...] = np.where(np.isnan(wide), np.uint16(_NAN), rounded)
    return tensor


def as_array(data: Array, kind: ov.Type) -> Array:
    """The numbers in what OpenVINO shows as the data of a tensor."""
    if kind != ov.Type.bf16:
        return data
    wide: Array = (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return wide
