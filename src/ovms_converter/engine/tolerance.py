"""How far a result may be from its source: what is usual for its precision, or what was asked for."""

from dataclasses import dataclass

__all__ = ["FULL_PRECISION", "Tolerance", "tolerance_for"]


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from its reference.

    `relative`  to the values of the reference
    `on_average`  whether the root mean square of all differences counts, where single numbers are expected to
                  be off: of integers, the share that differs. Otherwise every number counts for itself, and
                  integers are equal.
    """

    relative: float
    on_average: bool = False

    @property
    def verdict(self) -> str:
        """What may be said of outputs that are within it."""
        return f"on average within {self.relative:.2g} of" if self.on_average else "equal to"


FULL_PRECISION = Tolerance(5e-4)
"""Between two correct f32 implementations of deep networks: summation in another order, fused operations."""

_HALF_PRECISION = Tolerance(2e-2)
"""Weights rounded to FP16 (11 significant bits) as well, or a source that computes in bfloat16 (8)."""

_COMPRESSED = {"int8": 5e-2, "int4": 3e-1}
"""Weights of 8 or 4 bits: sixteen levels are a sixteenth apart, in each of a network's layers."""

_CALIBRATED = 2e-1
"""Activations of 8 bits as well."""


def tolerance_for(
    *, half_precision: bool, weights: str | None, calibrated: bool, asked: float | None
) -> Tolerance:
    """What a result of this precision is allowed, unless `asked` says so itself."""
    if weights:
        usual = _CALIBRATED if calibrated else _COMPRESSED[weights]
        return Tolerance(usual if asked is None else asked, on_average=True)
    if asked is not None:
        return Tolerance(asked)
    return _HALF_PRECISION if half_precision else FULL_PRECISION
