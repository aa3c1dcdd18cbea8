"""How far two arrays are from each other, and whether that is too far."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ovms_converter.engine.job import OutputComparison
from ovms_converter.engine.tolerance import Tolerance
from ovms_converter.engine.worker.execution import Array

Floats: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"

__all__ = ["Difference", "measure"]


@dataclass(frozen=True)
class Difference:
    """One output on one sample. `why` says in what it differs too much, and is empty if it does not."""

    figures: OutputComparison
    why: str


def measure(name: str, result: Array, expected: Array, tolerance: Tolerance) -> Difference:
    """Compare one output with its reference.

    Floats are equal within `tolerance` of the element plus of the root mean square of all; integers,
    booleans and text exactly; NaN equals NaN, and an infinity the same infinity. Shapes must be the same.
    See `Tolerance.on_average` for the other way to count.
    """
    if result.shape != expected.shape:
        shapes = f"its shape is {list(result.shape)}, and its source's is {list(expected.shape)}"
        return Difference(_infinitely_far(name), shapes)
    if expected.dtype.kind in "OSU" or result.dtype.kind in "OSU":
        if np.array_equal(result.astype(str), expected.astype(str)):
            return Difference(OutputComparison(name, 0.0, 0.0, 1.0), "")
        return Difference(_infinitely_far(name), "its text differs")
    one, other = result.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    strange = ~(np.isfinite(one) & np.isfinite(other))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    if np.any(strange & ~same):
        where = "it is NaN or infinite where its source is not, or the other way round"
        return Difference(_infinitely_far(name), where)
    one, other = one[~strange], other[~strange]
    figures = _figures(name, one, other)
    exact = expected.dtype.kind in "iub"
    if _is_near(one, other, exact, tolerance):
        return Difference(figures, "")
    allowed = "" if exact else f"; the tolerance is {tolerance.relative:g}"
    apart = f"it differs by up to {figures.max_abs:.3g} (relative: {figures.max_rel:.3g}{allowed})"
    return Difference(figures, apart)


def _is_near(one: Floats, other: Floats, exact: bool, tolerance: Tolerance) -> bool:
    """Whether finite numbers are within the tolerance; `exact` ones are integers or booleans."""
    if not other.size:
        return True
    size = np.sqrt(np.mean(other**2))
    if tolerance.on_average and exact:
        return bool(np.mean(one != other) <= tolerance.relative)
    if tolerance.on_average:
        return bool(np.sqrt(np.mean((one - other) ** 2)) <= tolerance.relative * size)
    allowed = 0.0 if exact else tolerance.relative * (np.abs(other) + size)
    return bool(np.all(np.abs(one - other) <= allowed))


def _infinitely_far(name: str) -> OutputComparison:
    return OutputComparison(name, np.inf, np.inf, 0.0)


def _figures(name: str, one: Floats, other: Floats) -> OutputComparison:
    if not one.size:
        return OutputComparison(name, 0.0, 0.0, 1.0)
    apart = np.abs(one - other)
    relative = np.divide(apart, np.abs(other), out=np.zeros_like(apart), where=other != 0)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = float(one @ other) / lengths if lengths else float(np.array_equal(one, other))
    return OutputComparison(name, float(apart.max()), float(relative.max()), min(cosine, 1.0))
