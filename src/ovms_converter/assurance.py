"""How strongly a result was verified, or shall be, and whether one is as good as the other.

A fingerprint says which bytes come out, not how well they were looked at: a version that was only loaded is
not what a run is after that asks for a comparison.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ovms_converter.engine.job import ConvertedModel
from ovms_converter.engine.tolerance import tolerance_for
from ovms_converter.repository.versions import mapping_of
from ovms_converter.request import ConversionRequest

__all__ = ["Assurance", "Wanted", "assurance_of"]

_STRENGTH = {"off": 0, "load": 1, "compare": 2}


@dataclass(frozen=True)
class Wanted:
    """What a run asks for.

    `level`        "off", "load" or "compare"
    `verify_data`  SHA-256 of the file of inputs that it gave, None without one
    `tolerance`    what a comparison may allow at most; None if any that was usual will do
    """

    level: str
    verify_data: str | None = None
    tolerance: float | None = None

    @classmethod
    def of(cls, request: ConversionRequest, verify_data: str | None) -> "Wanted":
        """What a request asks for, with the digest of its `verify_data`.

        "auto" asks for no more than that the result was looked at, unless data to compare on were given: a
        library that is installed later shall not have everything converted again. Of a source that is
        published as it is nothing can be verified.
        """
        if request.output_format != "openvino":
            return cls("off")
        auto = "compare" if verify_data else "load"
        level = auto if request.verify == "auto" else request.verify
        tolerance = _tolerance(request) if request.verify == "compare" else request.tolerance
        return cls(level, verify_data, tolerance)


@dataclass(frozen=True)
class Assurance:
    """What a version's record tells of its verification.

    `asked`        the level that was asked for
    `reached`      the level that it came to: what has no reference cannot be compared
    `verify_data`  SHA-256 of the inputs that were given, None without any
    `tolerance`    what the comparison allowed, None if nothing was compared
    """

    asked: str
    reached: str
    verify_data: str | None = None
    tolerance: float | None = None

    @classmethod
    def parse(cls, value: object) -> "Assurance":
        """What a record tells; one that tells nothing, or nothing sensible, was not verified."""
        told = mapping_of(value)
        asked, reached = (str(told.get(name)) for name in ("asked", "reached"))
        data, tolerance = told.get("verify_data"), told.get("tolerance")
        return cls(
            asked if asked in _STRENGTH else "off",
            reached if reached in _STRENGTH else "off",
            data if isinstance(data, str) else None,
            float(tolerance) if isinstance(tolerance, int | float) else None,
        )

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def satisfies(self, wanted: Wanted) -> bool:
        """Whether asking for `wanted` would tell nothing new.

        What was asked for as strongly before and came to less, because nothing could be compared, would come
        to the same again.
        """
        if wanted.level == "off":
            return True
        if wanted.verify_data not in (None, self.verify_data):
            return False
        if max(_STRENGTH[self.asked], _STRENGTH[self.reached]) < _STRENGTH[wanted.level]:
            return False
        if wanted.tolerance is None or self.tolerance is None:
            return True
        return self.tolerance <= wanted.tolerance


def assurance_of(
    request: ConversionRequest, converted: ConvertedModel | None, verify_data: str | None
) -> Assurance:
    """What is to be recorded of a conversion; `converted` is None where the source is published as it is."""
    if converted is None or request.verify == "off":
        return Assurance("off", "off")
    asked = Wanted.of(request, verify_data).level
    if not converted.comparison:
        return Assurance(asked, "load", verify_data)
    return Assurance(asked, "compare", verify_data, _tolerance(request))


def _tolerance(request: ConversionRequest) -> float:
    return tolerance_for(
        half_precision=request.arguments.half_precision,
        weights=request.weights,
        calibrated=request.calibration_data is not None,
        asked=request.tolerance,
    ).relative
