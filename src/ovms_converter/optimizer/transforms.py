"""Transformations of the whole model that were asked for by name."""

from collections.abc import Callable, Mapping

import openvino._offline_transformations as offline
from openvino.passes import ConstantFolding, Manager

from ovms_converter.optimizer.native import Model, native_errors
from ovms_converter.optimizer.values import Transformation

__all__ = ["apply_transformations", "fold_shapes"]

_APPLY: Mapping[str, Callable[..., object]] = {
    "LowLatency2": offline.apply_low_latency_transformation,
    "MakeStateful": offline.apply_make_stateful_transformation,
    "Pruning": offline.apply_pruning_transformation,
}


def fold_shapes(model: Model) -> None:
    """Compute what depends on the (static) shapes alone, and whatever else is constant."""
    with native_errors("`static_shape` cannot be applied"):
        manager = Manager()
        manager.register_pass(ConstantFolding())
        manager.run_passes(model)


def apply_transformations(model: Model, transformations: tuple[Transformation, ...]) -> None:
    """Apply the transformations in their order. Raises `ModelError` if the model is not made for one."""
    for each in transformations:
        arguments = {key: dict(value) if isinstance(value, tuple) else value for key, value in each.arguments}
        with native_errors(f"the transformation `{each.name}` cannot be applied"):
            _APPLY[each.name](model, **arguments)
