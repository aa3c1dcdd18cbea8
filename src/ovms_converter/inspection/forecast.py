"""Weights by type, and what a conversion will take of network, memory and disk."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from ovms_converter.inspection.report import Forecast, WeightKind

__all__ = ["elements", "forecast", "weight_kinds"]

MEMORY = 300 << 20
"""Anonymous memory of the whole process tree stays below this, apart from what a front end holds;
`benchmarks/` measures it."""

_HELD = {"tensorflow.saved_model": 1, "tensorflow.frozen": 4}
"""How many times all its weights OpenVINO's front end holds at most while it reads a format; others map them.

TensorFlow's holds a SavedModel's convolution weights once, turned, and parses a frozen graph into memory.
"""

_HALVED = ("float32", "float64")


def weight_kinds(weights: Iterable[tuple[str, int, int]]) -> tuple[WeightKind, ...]:
    """Sums of (type, elements, bytes) by type, the largest first."""
    elements: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for kind, count, size in weights:
        elements[kind] += count
        sizes[kind] += size
    return tuple(WeightKind(kind, elements[kind], size) for kind, size in sizes.most_common())


def forecast(
    weights: Sequence[WeightKind],
    *,
    format: str,
    source_bytes: int,
    remote: bool,
    stored: bool,
    unpacked_bytes: int = 0,
) -> Forecast:
    """Bytes that a conversion of a model of a format takes.

    `source_bytes` is what must be fetched from a `remote` source, `unpacked_bytes` what comes out of it.
    `stored`: the result goes to an object store, so it lies on this machine's disk first.
    """
    output = sum(kind.bytes for kind in weights)
    half = sum(2 * kind.elements if kind.type in _HALVED else kind.bytes for kind in weights)
    download = source_bytes if remote else 0
    memory = MEMORY + _HELD.get(format, 0) * output
    return Forecast(download, output, half, memory, download + unpacked_bytes + (output if stored else 0))


def elements(shape: Sequence[int | None] | None) -> int:
    """How many numbers a tensor of a shape holds; an unknown dimension counts as none."""
    return math.prod(size or 0 for size in shape) if shape is not None else 0
