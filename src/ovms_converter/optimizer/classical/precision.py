"""Whether a graph walks trees, whose thresholds must not be rounded."""

from ovms_converter.optimizer.native import Model

__all__ = ["walks_trees"]

_COMPARISONS = frozenset(("Less", "LessEqual", "Equal"))


def walks_trees(model: Model) -> bool:
    """True if gathered features are compared: half precision would move what they are compared with."""
    return any(
        reader.get_node().get_type_name() in _COMPARISONS
        for node in model.get_ops()
        if node.get_type_name() == "GatherElements"
        for reader in node.output(0).get_target_inputs()
    )
