"""Whether the number of an input's dimensions can be told: the layer that reads it often takes several.

A linear layer takes a vector, a batch of them, or a batch of sequences of them, and so do recurrent layers
and attention, which take the first dimension for time where there is no batch. What runs is not yet right.
"""

from collections.abc import Callable, Sequence

import torch

from ovms_converter.frameworks.torch_values import Dims, Input, leaves

__all__ = ["is_batched", "means_same"]

_BATCH = 3
_Call = Callable[[Sequence[torch.Tensor]], object]


def is_batched(ports: Sequence[Input], call: _Call, size: int) -> bool:
    """Whether the items along the first dimension, or the second of a sequence, do not touch each other."""
    values = _values([port.shape or () for port in ports], [port.type for port in ports], size)
    longest = max((len(port.shape or ()) for port in ports), default=0)
    for axis in range(2 if longest > 2 else 1):
        free = [len(port.shape or ()) > axis and (port.shape or ())[axis] is None for port in ports]
        if not any(free):
            continue
        count = _BATCH if axis == 0 else size
        if _apart(values, free, axis, count, call):
            return True
    return False


def _apart(values: Sequence[torch.Tensor], split: Sequence[bool], axis: int, count: int, call: _Call) -> bool:
    """Whether the items along an axis of the values that are split make what all make together."""
    try:
        whole = _tensors(call(values))
        items = [
            _tensors(
                call(
                    [
                        value.narrow(axis, item, 1) if each else value
                        for value, each in zip(values, split, strict=True)
                    ]
                )
            )
            for item in range(count)
        ]
    except Exception:  # noqa: BLE001 - PyTorch, or the module's own code, refuses a size
        return False
    return all(len(item) == len(whole) for item in items) and all(
        _joined(found, [item[at] for item in items]) for at, found in enumerate(whole)
    )


def means_same(one: Sequence[Input], other: Sequence[Input], call: _Call) -> bool:
    """Whether both ranks compute the same of the same rows: then a program knows nothing of ranks."""
    low, high = sorted((one, other), key=lambda ports: [len(port.shape or ()) for port in ports])
    shapes, extra = [], []
    for small, large in zip(low, high, strict=True):
        few, many = small.shape or (), large.shape or ()
        more = len(many) - len(few)
        if more < 0 or many[more:] != few or any(length is not None for length in many[: more + 1]):
            return False
        shapes.append(many)
        extra.append(more)
    values = _values(shapes, [port.type for port in high], 2)
    rows = [value.flatten(0, more) for value, more in zip(values, extra, strict=True)]
    try:
        first, second = _tensors(call(values)), _tensors(call(rows))
    except Exception:  # noqa: BLE001 - as above
        return False
    return len(first) == len(second) and all(
        many.numel() == few.numel() and _close(many.flatten(), few.flatten())
        for many, few in zip(first, second, strict=True)
    )


def _values(shapes: Sequence[Dims], types: Sequence[str | None], size: int) -> list[torch.Tensor]:
    """Noise, and indices of 0 and 1, with a batch of `_BATCH`."""
    generator = torch.Generator().manual_seed(1)
    values = []
    for shape, type_ in zip(shapes, types, strict=True):
        dims = [
            known if known is not None else size if position else _BATCH
            for position, known in enumerate(shape)
        ]
        kind = getattr(torch, type_ or "float32")
        values.append(
            torch.randn(dims, generator=generator).to(kind)
            if kind.is_floating_point
            else torch.randint(0, 2, dims, generator=generator).to(kind)
        )
    return values


def _tensors(result: object) -> list[torch.Tensor]:
    return [value for _, value in leaves(result)]


def _joined(whole: torch.Tensor, items: Sequence[torch.Tensor]) -> bool:
    """Whether the items side by side, along any dimension, are the whole; or all are, as of a constant."""
    if all(item.shape == whole.shape and _close(item, whole) for item in items):
        return True
    return any(
        (joined := torch.cat(list(items), axis)).shape == whole.shape and _close(joined, whole)
        for axis in range(whole.ndim)
        if all(
            item.ndim == whole.ndim
            and item.shape[:axis] == whole.shape[:axis]
            and item.shape[axis + 1 :] == whole.shape[axis + 1 :]
            for item in items
        )
    )


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    if not one.dtype.is_floating_point:
        return bool(torch.equal(one, other))
    tolerance = 1e-2 if one.dtype in (torch.float16, torch.bfloat16) else 1e-4
    return bool(torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))
