"""Output shapes as Model Optimizer declared them, for models that compute shapes while they run.

An exporter writes `x.view(x.shape[0], -1)` as operations on shapes, and behind these the sizes of an output
are unknown, although only the batch is: `[?,?]` where `mo` wrote `[?,64]`. `mo` ran OpenVINO's common
transformations, which see through most of that, and fold weights on the way, so that memory grows with the
model. Here they get a copy of the graph whose weights are inputs: these have a shape and no values, so
nothing is computed from them. Where the outputs then are known better, the weights return to their places.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import openvino._offline_transformations as offline
from openvino import op

from ovms_converter.optimizer.native import NATIVE_ERRORS, Model, ov

__all__ = ["narrow_output_shapes"]

_WEIGHT_BYTES = 1024
"""Constants of up to so many bytes may be computed with: shapes, axes and the like are among them."""

_BODIES = frozenset({"If", "Loop", "TensorIterator"})


def narrow_output_shapes(model: Model) -> Model:
    """The model itself, or one that computes the same and declares its outputs in more detail.

    The inputs and outputs keep their order; their names must be set again. Memory does not grow with weights.
    """
    operations = model.get_ordered_ops()
    kinds = {node.get_type_name() for node in operations}
    if "ShapeOf" not in kinds or kinds & _BODIES or all(map(_is_static, model.outputs)):
        return model
    with suppress(*NATIVE_ERRORS):
        narrowed = _transformed(model.clone())
        pairs = list(zip(_shapes(model.outputs), _shapes(narrowed.outputs), strict=True))
        if _shapes(narrowed.inputs) != _shapes(model.inputs):
            return model
        if all(_holds(old, new) for old, new in pairs) and any(old != new for old, new in pairs):
            return narrowed
    return model


def _transformed(model: Model) -> Model:
    """The model after the common transformations, which know no weights."""
    weights = list(_weights(model))
    places = [
        op.Parameter(node.get_output_element_type(0), node.get_output_partial_shape(0)) for node in weights
    ]
    for weight, place in zip(weights, places, strict=True):
        _replace(weight, place)
    model.add_parameters(places)
    offline.apply_moc_transformations(model, cf=False)
    for weight, place in zip(weights, places, strict=True):
        _replace(place, weight)
        model.remove_parameter(place)
    model.validate_nodes_and_infer_types()
    return model


def _weights(model: Model) -> Iterator[ov.Node]:
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_byte_size() > _WEIGHT_BYTES:
            yield node


def _replace(node: ov.Node, other: ov.Node) -> None:
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(other.output(0))


def _shapes(ports: "Sequence[ov.Output]") -> list[ov.PartialShape]:
    return [port.get_partial_shape() for port in ports]


def _is_static(port: ov.Output) -> bool:
    return bool(port.get_partial_shape().is_static)


def _holds(old: ov.PartialShape, new: ov.PartialShape) -> bool:
    """Whether a shape allows all that another does."""
    if old.rank.is_dynamic:
        return True
    if new.rank != old.rank:
        return False
    return all(_within(inner, outer) for inner, outer in zip(new, old, strict=True))


def _within(inner: ov.Dimension, outer: ov.Dimension) -> bool:
    """Whether every size of a dimension is one of another; a maximum of -1 is none."""
    most, limit = inner.get_max_length(), outer.get_max_length()
    return bool(inner.get_min_length() >= outer.get_min_length() and (limit == -1 or -1 < most <= limit))
