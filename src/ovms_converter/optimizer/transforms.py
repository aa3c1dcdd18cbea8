"""Transformations of the whole model that were asked for by name."""

from collections.abc import Callable, Mapping

import openvino._offline_transformations as offline
from openvino.passes import ConstantFolding, Manager

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.native import NATIVE_ERRORS, Model, cause_of, native_errors
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
    """Apply the transformations in their order, after OpenVINO's common ones, which they build upon.

    Raises `RequestError` if the model is not made for one of them.
    """
    with native_errors("the common transformations cannot be applied"):
        offline.apply_moc_transformations(model, cf=False)
    for each in transformations:
        arguments = {key: dict(value) if isinstance(value, tuple) else value for key, value in each.arguments}
        try:
            _APPLY[each.name](model, **arguments)
        except NATIVE_ERRORS as error:
            raise RequestError(
                f"the transformation `{each.name}` does not fit the model: {cause_of(error)}",
                hint="leave it out, or give it the names of the model's inputs and outputs",
                parameter="transform",
            ) from None
