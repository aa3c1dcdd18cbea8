"""Shapes, batch and constants, set before the front end converts, so that everything behind them follows."""

from collections.abc import Mapping

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.constants import frozen_array
from ovms_converter.optimizer.layouts import check_rank, find_dimension
from ovms_converter.optimizer.native import ov
from ovms_converter.optimizer.source import GraphSource, Plan
from ovms_converter.optimizer.values import Dimension, LayoutChange, Shape

__all__ = ["freeze", "partial_shape", "set_batch", "set_shapes", "sizes"]


def partial_shape(shape: Shape) -> ov.PartialShape:
    """openvino's form of a shape."""
    return ov.PartialShape([_dimension(dimension) for dimension in shape.dimensions])


def sizes(shape: ov.PartialShape) -> tuple[int | None, ...] | None:
    """The sizes of a shape, None for one that is not fixed; None if the rank is not."""
    if shape.rank.is_dynamic:
        return None
    return tuple(size.get_length() if size.is_static else None for size in shape)


def set_shapes(input_model: ov.frontend.InputModel, source: GraphSource, plan: Plan) -> None:
    """Give the inputs the shapes of the plan."""
    shapes = {each.point.name: each.shape for each in plan.inputs if each.value is None}
    for place in input_model.get_inputs():
        shape = shapes.get(source.name_of_place(place.get_names()))
        if shape is not None:
            input_model.set_partial_shape(place, partial_shape(shape))


def freeze(input_model: ov.frontend.InputModel, source: GraphSource, plan: Plan) -> None:
    """Turn inputs into constants where the source has not done it already."""
    frozen = {each.point.name: each for each in plan.frozen}
    for place in input_model.get_inputs():
        planned = frozen.get(source.name_of_place(place.get_names()))
        if planned is None:
            continue
        element_type = str(input_model.get_element_type(place).get_type_name())
        array = frozen_array(planned, element_type, sizes(input_model.get_partial_shape(place)))
        input_model.set_partial_shape(place, ov.PartialShape(list(array.shape)))
        input_model.set_tensor_value(place, array)


def set_batch(
    input_model: ov.frontend.InputModel,
    source: GraphSource,
    plan: Plan,
    batch: int,
    layouts: Mapping[str, LayoutChange],
) -> None:
    """Set the batch size of every input that has one: the dimension `N` of its layout, else the first.

    Scalars and constants have none. A first dimension that is fixed to more than 1 is no batch (as in mo).
    """
    frozen = {each.point.name for each in plan.frozen}
    done = False
    for place in input_model.get_inputs():
        name = source.name_of_place(place.get_names())
        shape = input_model.get_partial_shape(place)
        if name in frozen:
            continue
        if shape.rank.is_dynamic:
            raise RequestError(
                f"`batch` cannot be set: the input `{name}` has no known number of dimensions",
                hint="give its whole shape with `input_shape`",
                parameter="batch",
            )
        at = _batch_dimension(name, shape, layouts.get(name))
        if at is not None:
            dimensions = list(shape)
            dimensions[at] = ov.Dimension(batch)
            input_model.set_partial_shape(place, ov.PartialShape(dimensions))
            done = True
    if not done:
        raise RequestError(
            "`batch` is given, and no input of the model has a batch dimension",
            hint="leave `batch` out, or name the dimension: `layout` = `x(?n?)`",
            parameter="batch",
        )


def _batch_dimension(name: str, shape: ov.PartialShape, change: LayoutChange | None) -> int | None:
    rank = shape.rank.get_length()
    if rank == 0:
        return None
    if change is not None and change.source is not None:
        check_rank(name, change.source, tuple(shape), "layout")
        return find_dimension(change.source, "N", rank)
    if shape[0].is_static and shape[0].get_length() > 1:
        raise RequestError(
            f"`batch` cannot be set: the first dimension of the input `{name}` {shape} is not a batch of "
            f"1 or of "
            "unknown size",
            hint="give the whole shape with `input_shape`, or name the batch dimension: `layout` = "
            f"`{name}(n...)`",
            parameter="batch",
        )
    return 0


def _dimension(dimension: Dimension) -> ov.Dimension:
    if dimension.static:
        return ov.Dimension(dimension.low)
    return ov.Dimension(dimension.low, -1 if dimension.high is None else dimension.high)
