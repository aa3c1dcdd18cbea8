"""Branches within branches: OpenVINO's time to load a model doubles with every level.

Ten levels take nothing that counts, twenty some seconds, thirty hours, in a server as well. Loops do not
matter.
"""

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.optimizer.native import Model

__all__ = ["check_nesting"]

MOST_LEVELS = 22
"""With so many, a small model takes about a minute."""


def check_nesting(model: Model) -> None:
    """Refuse a model whose `If` are nested too deep to be loaded.

    Raises:
        UnsupportedModelError: with their number.
    """
    levels = _levels(model)
    if levels > MOST_LEVELS:
        raise UnsupportedModelError(
            f"its branches (`If`) are nested {levels} deep; OpenVINO takes twice as long to load with "
            f"every level, and minutes to days for more than {MOST_LEVELS}",
            hint="put the choices side by side in the model's own framework, or choose with `Where`",
        )


def _levels(model: Model) -> int:
    most = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "If":
            most = max(most, 1 + _levels(node.get_function(0)), 1 + _levels(node.get_function(1)))
        elif kind in ("Loop", "TensorIterator"):
            most = max(most, _levels(node.get_function()))
    return most
