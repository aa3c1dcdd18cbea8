"""What a parameter is: one row of the table."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Group", "Kind", "Parameter", "Support", "optimizer_argument"]


class Kind(Enum):
    """How a value is written."""

    TEXT = "TEXT"
    URL = "URL"
    FLAG = "BOOL"
    INTEGER = "INT"
    NUMBER = "NUMBER"


class Group(Enum):
    """The heading under which `--help` and the reference show a parameter."""

    LOCATIONS = "Locations and formats"
    SHAPES = "Inputs, outputs and shapes"
    PREPROCESSING = "Preprocessing and layout"
    PRECISION = "Precision and transformations"
    RESULT = "Result"
    COMPATIBILITY = "Model Optimizer compatibility"


class Support(Enum):
    """What becomes of a parameter that was given."""

    HONOURED = "honoured"
    NO_OP = "accepted, changes nothing"
    REFUSED = "refused"


@dataclass(frozen=True)
class Parameter:
    """One parameter, under one name everywhere.

    `name`      as in FuseML and Model Optimizer: snake case; the flag also takes `-` for `_`
    `optimizer` True if it acts as an argument of Model Optimizer does, so it is legal inside `extra_args`
    `short`     Model Optimizer's one-letter flags, legal inside `extra_args` only
    `reason`    for NO_OP and REFUSED: why, and what to do instead
    `differs`   how it differs from `mo`, for the reference; "" if it does not
    """

    name: str
    kind: Kind
    group: Group
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    example: str = ""
    optimizer: bool = False
    short: tuple[str, ...] = ()
    support: Support = Support.HONOURED
    reason: str = ""
    differs: str = ""

    @property
    def variable(self) -> str:
        """The name of the environment variable in FuseML's steps."""
        return f"FUSEML_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return f"--{self.name.replace('_', '-')}"


def optimizer_argument(
    name: str, kind: Kind, group: Group, text: str, *, short: tuple[str, ...] = (), default: str = "",
    choices: tuple[str, ...] = (), example: str = "", differs: str = "",
) -> Parameter:  # fmt: skip
    """An argument of Model Optimizer that is honoured."""
    return Parameter(name, kind, group, text, default, choices, example, True, short, differs=differs)
