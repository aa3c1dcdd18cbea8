"""The one table of parameters: flags, environment variables, keywords, `--help` and the reference are made
from it.

parameter.py      what a parameter is
honoured.py       those that do something
compatibility.py  Model Optimizer's that change nothing, or are refused
placeholders.py   values that a workflow system did not fill in
"""

from collections.abc import Mapping
from types import MappingProxyType

from ovms_converter.parameters.compatibility import COMPATIBILITY
from ovms_converter.parameters.honoured import LOCATIONS, PRECISION, PREPROCESSING, RESULT, SHAPES
from ovms_converter.parameters.parameter import Group, Kind, Parameter, Support

__all__ = ["PARAMETERS", "Group", "Kind", "Parameter", "Support", "by_name"]

PARAMETERS: tuple[Parameter, ...] = (
    *LOCATIONS, *SHAPES, *PREPROCESSING, *PRECISION, *RESULT, *COMPATIBILITY,
)  # fmt: skip
"""Every parameter, in the order of `--help` and the reference."""

_BY_NAME: Mapping[str, Parameter] = MappingProxyType({parameter.name: parameter for parameter in PARAMETERS})


def by_name() -> Mapping[str, Parameter]:
    """Every parameter by its name, in the order of the table."""
    return _BY_NAME
