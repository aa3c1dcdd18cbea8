"""What the result's inputs are to its source, and the source's outputs to the result: the arguments in numpy.

A reference must get what the source would have got if a client had done the preprocessing itself. The names
and places that were typed are looked up as for the conversion; what is done with the numbers is written here
once more, in the order of Model Optimizer (reverse, mean, scale, on the model's own layout), so that a
mistake there is not made here too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import openvino as ov

from ovms_converter.engine.worker.execution import Array
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.ends import Ends, meant
from ovms_converter.optimizer.layouts import find_dimension, resolve_layouts
from ovms_converter.optimizer.plan import make_plan
from ovms_converter.optimizer.shapes import sizes
from ovms_converter.optimizer.source import CHANNELS_LAST, GraphSource, Plan, PlannedInput
from ovms_converter.optimizer.values import ChannelValues, Layout, LayoutChange

__all__ = ["InputTreatment", "NotComparableError", "Treatment"]

_IMAGES = {4: ("NHWC", "NCHW"), 5: ("NDHWC", "NCDHW")}
"""Rank → the layouts from and to which `nhwc_to_nchw` turns."""

_CHANNEL_PLACES = {3: (0, 2), 4: (1, 3), 5: (1, 4)}
_COLOURS = 3
_STATEFUL = ("LowLatency2", "MakeStateful")


class NotComparableError(Exception):
    """The result cannot be compared with its source; the text says why."""


@dataclass(frozen=True)
class InputTreatment:
    """How a value for an input of the result becomes the value for the source.

    `name` is the source's, `order` the result's dimension for each of the source's (None: the same),
    `channels` the dimension of the source that mean and scale values count.
    """

    name: str
    order: tuple[int, ...] | None = None
    channels: int = 0
    reverse: bool = False
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def forward(self, values: Array) -> Array:
        """The source's value."""
        if self.order is not None:
            values = values.transpose(self.order)
        if self.reverse:
            values = np.flip(values, self.channels)
        if self.mean or self.scale:
            dtype = values.dtype if values.dtype.kind == "f" else np.float32
            numbers = values.astype(np.float64) - self._along(self.mean, 0.0, values.ndim)
            values = (numbers / self._along(self.scale, 1.0, values.ndim)).astype(dtype)
        return np.asarray(values, order="C")

    def back(self, values: Array, dtype: "np.dtype[np.generic]") -> Array:
        """A value for the result of which `forward` makes the given one, as near as its type allows."""
        if self.mean or self.scale:
            numbers = values.astype(np.float64) * self._along(self.scale, 1.0, values.ndim)
            values = numbers + self._along(self.mean, 0.0, values.ndim)
        if self.reverse:
            values = np.flip(values, self.channels)
        if self.order is not None:
            values = values.transpose(np.argsort(self.order))
        if dtype.kind in "iu" and values.dtype.kind == "f":
            limits = np.iinfo(dtype.name)
            values = np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max)
        return np.asarray(values, order="C").astype(dtype)

    def _along(self, values: Sequence[float], default: float, rank: int) -> "npt.NDArray[np.float64]":
        """The values in the shape that goes with an array of a rank."""
        shape = [1] * rank
        if len(values) > 1:
            shape[self.channels] = len(values)
        return np.array(values or (default,), np.float64).reshape(shape)


@dataclass(frozen=True)
class Treatment:
    """All inputs by their name in the result; outputs as pairs of the source's name and the order, likewise.

    `fixed` are values for the source's inputs that became constants; `cuts` are tensors inside the source
    at which data enters, `inner` those that are outputs of the result only.
    """

    inputs: Mapping[str, InputTreatment]
    outputs: Mapping[str, tuple[str, tuple[int, ...] | None]]
    fixed: Mapping[str, Array]
    cuts: tuple[str, ...]
    inner: tuple[str, ...]

    def feed(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The source's inputs from the result's."""
        given = {self.inputs[name].name: self.inputs[name].forward(array) for name, array in values.items()}
        return {**self.fixed, **given}

    def expected(self, results: Mapping[str, Array]) -> dict[str, Array]:
        """The result's outputs from the source's."""
        found = {}
        for name, (source, order) in self.outputs.items():
            values = results[source]
            found[name] = values if order is None else np.asarray(values.transpose(order), order="C")
        return found

    @classmethod
    def of(cls, model: ov.Model, source: GraphSource, arguments: OptimizerArguments) -> "Treatment":
        """The treatment of a written model, by the arguments that it was made with.

        Raises `NotComparableError` where it cannot be told, or where there is none.
        """
        stateful = [each.name for each in arguments.transform if each.name in _STATEFUL]
        if stateful:
            raise NotComparableError(f"`transform` {stateful[0]} makes it keep a state between requests")
        plan = make_plan(source, arguments)
        ends = _before_renaming(model, source, arguments, plan)
        layouts = resolve_layouts(arguments, source, ends)
        turned = arguments.nhwc_to_nchw and source.framework in CHANNELS_LAST
        inputs, outputs = {}, {}
        for port, name in zip(model.inputs, ends.inputs, strict=True):
            change = _change(layouts.get(name), port, turned=turned)
            inputs[_name(port)] = _input(name, port, change, source.framework, arguments)
        _add_channel_values(list(inputs), inputs, source, arguments, plan)
        for port, name in zip(model.outputs, ends.outputs, strict=True):
            change = _change(layouts.get(name), port, turned=turned)
            order = _order(name, change.source, change.target, port)
            # from the source's layout to the result's: the other way round
            outputs[_name(port)] = (name, None if order is None else tuple(np.argsort(order).tolist()))
        treated = {
            name: _checked(each, port, source.framework)
            for (name, each), port in zip(inputs.items(), model.inputs, strict=True)
        }
        own = {tensor.name: tensor.shape for tensor in source.inputs}
        return cls(
            treated,
            outputs,
            {each.point.name: _constant(each, own.get(each.point.name)) for each in plan.frozen},
            tuple(each.point.name for each in plan.inputs if not each.point.original),
            tuple(name for name in plan.outputs if name not in {tensor.name for tensor in source.outputs}),
        )


def _name(port: ov.Output) -> str:
    return str(port.get_any_name())


def _before_renaming(model: ov.Model, source: GraphSource, arguments: OptimizerArguments, plan: Plan) -> Ends:
    """The names that the ends of the result have in the source."""
    inputs = [*(tensor.name for tensor in source.inputs), *(each.point.name for each in plan.cuts)]
    outputs = [*plan.outputs, *(tensor.name for tensor in source.outputs)]
    renames = () if arguments.mapping_config else arguments.rename
    back = {new: meant(source, old, (*inputs, *outputs), "rename") for old, new in renames}
    ends = Ends(
        *(tuple(back.get(_name(p), _name(p)) for p in ports) for ports in (model.inputs, model.outputs))
    )
    if not set(ends.inputs) <= set(inputs):
        raise NotComparableError("it has other inputs than its source")
    if not set(ends.outputs) <= set(outputs):
        raise NotComparableError("it has outputs that its source does not have")
    return ends


def _change(change: LayoutChange | None, port: ov.Output, *, turned: bool) -> LayoutChange:
    """The layout of an end in the source and in the result, None where it does not matter."""
    change = change or LayoutChange("", None)
    shape = sizes(port.get_partial_shape())
    if not turned or shape is None or len(shape) not in _IMAGES:
        return change
    last, first = (Layout(tuple(letters)) for letters in _IMAGES[len(shape)])
    return replace(change, source=change.source or last, target=change.target or first)


def _order(
    name: str, source: Layout | None, target: Layout | None, port: ov.Output
) -> tuple[int, ...] | None:
    """For each dimension of the source's layout, which one of the result it is; None if nothing moves."""
    if source is None or target is None or source == target:
        return None
    of, to = source.dimensions, target.dimensions
    if "..." in (*of, *to) or len(of) != len(to) or port.get_partial_shape().rank.is_dynamic:
        raise NotComparableError(f"how `{source}->{target}` turns `{name}` cannot be told without OpenVINO")
    free = iter([index for index, letter in enumerate(to) if letter == "?" or letter not in of])
    try:
        order = tuple(to.index(letter) if letter != "?" and letter in to else next(free) for letter in of)
    except StopIteration:
        raise NotComparableError(f"`{source}` and `{target}` do not name the same dimensions") from None
    return None if order == tuple(range(len(order))) else order


def _input(
    name: str, port: ov.Output, change: LayoutChange, framework: str, arguments: OptimizerArguments
) -> InputTreatment:
    order = _order(name, change.source, change.target, port)
    treatment = InputTreatment(name, order)
    known = change.source or change.target
    shape = _source_shape(treatment, port)
    at = find_dimension(known, "C", len(shape)) if known is not None and shape is not None else None
    reverse = False
    if arguments.reverse_input_channels and shape is not None:
        if known is None:
            at = _guess(shape, _COLOURS, framework) if len(shape) in _CHANNEL_PLACES else None
            reverse = at is not None
        else:
            reverse = at is not None and shape[at] in (None, _COLOURS)
    return replace(treatment, channels=-1 if at is None else at, reverse=reverse)


def _source_shape(treatment: InputTreatment, port: ov.Output) -> tuple[int | None, ...] | None:
    shape = sizes(port.get_partial_shape())
    if shape is None or treatment.order is None:
        return shape
    return tuple(shape[index] for index in treatment.order)


def _guess(shape: Sequence[int | None], channels: int, framework: str) -> int | None:
    """The dimension of the channels by their number, else where the framework has them."""
    hits = [at for at, size in enumerate(shape) if size == channels]
    usual = len(shape) - 1 if framework in CHANNELS_LAST else 1
    if len(hits) == 1 and hits[0] in _CHANNEL_PLACES.get(len(shape), ()):
        return hits[0]
    return usual if usual in hits else None


def _add_channel_values(
    results: Sequence[str],
    inputs: dict[str, InputTreatment],
    source: GraphSource,
    arguments: OptimizerArguments,
    plan: Plan,
) -> None:
    """Give each input its mean and scale values: by name, or by position in `input`, else in the model."""
    by_source = {inputs[name].name: name for name in results}
    listed = [each.point.name for each in plan.inputs if plan.listed and each.point.name in by_source]
    names = listed or list(by_source)

    def by_name(values: Iterable[ChannelValues], parameter: str) -> Iterable[tuple[str, tuple[float, ...]]]:
        for at, entry in enumerate(values):
            name = meant(source, entry.name, names, parameter) if entry.name else names[at]
            yield by_source[name], entry.values

    for name, values in by_name(arguments.mean_values, "mean_values"):
        inputs[name] = replace(inputs[name], mean=values)
    for name, values in by_name(arguments.scale_values, "scale_values"):
        inputs[name] = replace(inputs[name], scale=values)
    if arguments.scale is not None:
        for name in results:
            inputs[name] = replace(inputs[name], scale=(arguments.scale,))


def _checked(treatment: InputTreatment, port: ov.Output, framework: str) -> InputTreatment:
    """The treatment with the dimension of its channels. Raises `NotComparableError` if that is unclear."""
    count = max(len(treatment.mean), len(treatment.scale))
    if treatment.channels >= 0 or count <= 1:
        return replace(treatment, channels=max(treatment.channels, 0))
    shape = _source_shape(treatment, port)
    at = None if shape is None else _guess(shape, count, framework)
    if at is None:
        raise NotComparableError(f"which dimension of `{treatment.name}` the channels are is unclear")
    return replace(treatment, channels=at)


def _constant(planned: PlannedInput, own: tuple[int | None, ...] | None) -> Array:
    """The value of an input that became a constant, in its own shape where that is known."""
    value = planned.value
    assert value is not None
    array = np.array(value.items)
    if planned.shape is not None:
        return array.reshape([dimension.low for dimension in planned.shape.dimensions])
    if own is not None and None not in own:
        return array.reshape([size for size in own if size is not None])
    if own is not None and len(value.items) == 1:
        return array.reshape([1] * len(own))
    return array if value.is_list else array.reshape(())
