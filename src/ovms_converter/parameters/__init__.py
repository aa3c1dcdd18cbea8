"""The one table of parameters: flags, environment variables, keywords, `--help` and the reference are made
from it.

parameter.py      what a parameter is
run.py            those of a run: locations, verification, publishing
conversion.py     those that say what becomes of the model
compatibility.py  Model Optimizer's that change nothing, or are refused
"""

from collections.abc import Mapping
from types import MappingProxyType

from ovms_converter.parameters.compatibility import COMPATIBILITY
from ovms_converter.parameters.conversion import PRECISION, PREPROCESSING, SHAPES
from ovms_converter.parameters.parameter import Group, Kind, Parameter, Support
from ovms_converter.parameters.run import LOCATIONS, RESULT

__all__ = ["PARAMETERS", "Group", "Kind", "Parameter", "Support", "by_name"]

PARAMETERS: tuple[Parameter, ...] = (
    *LOCATIONS, *SHAPES, *PREPROCESSING, *PRECISION, *RESULT, *COMPATIBILITY,
)  # fmt: skip
"""Every parameter, in the order of `--help` and the reference."""

_BY_NAME: Mapping[str, Parameter] = MappingProxyType({parameter.name: parameter for parameter in PARAMETERS})


def by_name() -> Mapping[str, Parameter]:
    """Every parameter by its name, in the order of the table."""
    return _BY_NAME
