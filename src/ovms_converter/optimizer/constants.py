"""Values that the user typed, as arrays."""

import numpy as np
import numpy.typing as npt

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.source import PlannedInput
from ovms_converter.optimizer.suggestions import counted

__all__ = ["frozen_array"]

_DTYPES: dict[str, type[np.generic]] = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32,
    "i16": np.int16, "i8": np.int8, "u64": np.uint64, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8,
    "boolean": np.bool_,
}  # fmt: skip


def frozen_array(
    planned: PlannedInput, element_type: str | None, shape: tuple[int | None, ...] | None
) -> npt.NDArray[np.generic]:
    """The constant for an input; its type and shape are the input's own where the user gave none.

    Raises `RequestError` if the value does not fit them.
    """
    value = planned.value
    assert value is not None
    kind = planned.type or element_type or _natural_type(value.items)
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise _misfit(planned, f"an input of type `{kind}` cannot be fixed")
    try:
        elements = np.array(value.items, dtype=np.float64 if kind.startswith(("f", "bf")) else object)
        array = elements.astype(dtype)
    except (OverflowError, ValueError, TypeError):
        raise _misfit(planned, f"`{value}` is out of the range of its type `{kind}`") from None
    if kind != "boolean" and any(isinstance(item, bool) for item in value.items):
        raise _misfit(planned, f"`{value}` is no number, and its type is `{kind}`")
    if kind.startswith(("i", "u")) and any(item != int(item) for item in value.items):
        raise _misfit(planned, f"`{value}` is not whole, and its type is `{kind}`")
    if planned.shape is not None:
        return array.reshape([dimension.low for dimension in planned.shape.dimensions])
    if shape is None or None in shape:
        # the rank is kept where it is known: one value takes any number of dimensions of size 1
        if shape is not None and len(value.items) == 1:
            return array.reshape([1] * len(shape))
        return array if value.is_list else array.reshape(())
    sizes = [size for size in shape if size is not None]
    if int(np.prod(sizes)) != array.size:
        raise _misfit(
            planned,
            f"it has the shape `[{','.join(map(str, sizes))}]` of {counted(int(np.prod(sizes)), 'element')}, "
            f"not {array.size}",
        )
    return array.reshape(sizes)


def _natural_type(items: tuple[bool | int | float, ...]) -> str:
    if all(isinstance(item, bool) for item in items):
        return "boolean"
    return "i64" if all(isinstance(item, int) for item in items) else "f32"


def _misfit(planned: PlannedInput, problem: str) -> RequestError:
    return RequestError(
        f"`{planned.typed}` cannot be fixed to `{planned.value}`: {problem}",
        hint="the type and shape can be given: `input` = `flag[1]{boolean}->[True]`",
        parameter=planned.fixed_by,
    )
