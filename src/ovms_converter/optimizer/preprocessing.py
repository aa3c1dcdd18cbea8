"""Mean, scale, reversed channels, input types and layouts, put before and behind a model.

The data flows as in Model Optimizer: type, reverse, mean, scale, layout, model. Where the channels are
follows from `layout`, else as in 2024.6 from the shape, else as in 2021.4 from where the framework has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from openvino.preprocess import PrePostProcessor

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.ends import Ends, meant
from ovms_converter.optimizer.layouts import check_rank, find_dimension
from ovms_converter.optimizer.native import Model, native_errors, ov
from ovms_converter.optimizer.shapes import sizes
from ovms_converter.optimizer.source import CHANNELS_LAST, GraphSource, Plan
from ovms_converter.optimizer.suggestions import counted, listed
from ovms_converter.optimizer.values import ChannelValues, Layout, LayoutChange

__all__ = ["channels_first_ends", "preprocess"]

_CHANNELS_LAST = {4: Layout(tuple("NHWC")), 5: Layout(tuple("NDHWC"))}
_CHANNELS_FIRST = {4: Layout(tuple("NCHW")), 5: Layout(tuple("NCDHW"))}
_CHANNEL_PLACES = {3: (0, 2), 4: (1, 3), 5: (1, 4)}
_COLOURS = 3
_USUAL = {
    "onnx": {1: "c", 2: "nc", 3: "chw", 4: "nchw", 5: "ncdhw"},
    "tf": {1: "c", 2: "nc", 3: "hwc", 4: "nhwc", 5: "ndhwc"},
}
_BY_NAME = {"scale": "scale_values"}
"""The parameter that does for single inputs what another does for all."""


@dataclass
class _Steps:
    """What happens to one input."""

    shape: tuple[int | None, ...] | None
    floating: bool
    model_layout: Layout | None = None
    tensor_layout: Layout | None = None
    guessed: bool = False
    type: str | None = None
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    reverse: bool = False

    @property
    def channels(self) -> int:
        """How many channels mean and scale values were given for; 1 if they hold for all channels."""
        return max(len(self.mean), len(self.scale), 1)


@dataclass
class _Work:
    """What happens to all inputs and outputs, by public name."""

    inputs: dict[str, _Steps]
    outputs: dict[str, LayoutChange] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.outputs and not any(
            steps.model_layout
            or steps.tensor_layout
            or steps.type
            or steps.mean
            or steps.scale
            or steps.reverse
            for steps in self.inputs.values()
        )


def channels_first_ends(model: Model, ends: Ends) -> list[str]:
    """What Model Optimizer 2021 turned channels-first in a TensorFlow model: ends of rank 4 and 5."""
    ports = zip((*model.inputs, *model.outputs), (*ends.inputs, *ends.outputs), strict=True)
    return [name for port, name in ports if len(sizes(port.get_partial_shape()) or ()) in _CHANNELS_LAST]


def preprocess(
    model: Model,
    source: GraphSource,
    arguments: OptimizerArguments,
    ends: Ends,
    layouts: Mapping[str, LayoutChange],
    plan: Plan,
) -> tuple[Model, list[str]]:
    """The model with all steps before and behind it, and notes for the user; the order of its ends stays.

    The plan holds the element types that inputs shall have, and the order in which the user named them.
    Raises `RequestError` where values, layouts or types do not fit the model.
    """
    types = {each.point.name: each.type for each in plan.inputs if each.point.original and each.type}
    work = _Work({})
    for port, name in zip(model.inputs, ends.inputs, strict=True):
        change = layouts.get(name, LayoutChange(name, None))
        work.inputs[name] = _Steps(
            shape=sizes(port.get_partial_shape()),
            floating=port.get_element_type().is_real(),
            model_layout=change.source,
            tensor_layout=change.target,
            type=types.get(name) if types.get(name) != port.get_element_type().get_type_name() else None,
        )
    work.outputs = {name: layouts[name] for name in ends.outputs if name in layouts}
    _check_ranks(model, ends, layouts)
    if arguments.nhwc_to_nchw and source.framework in CHANNELS_LAST:
        _turn_channels_first(model, ends, work)
    _add_channel_values(source, arguments, plan, work)
    notes = _add_reverse(source, work) if arguments.reverse_input_channels else []
    for name, steps in work.inputs.items():
        _check_channels(name, steps)
    if work.empty:
        return model, notes
    with native_errors("the preprocessing cannot be added to the model"):
        return _build(model, ends, work), notes


def _turn_channels_first(model: Model, ends: Ends, work: _Work) -> None:
    for name in channels_first_ends(model, ends):
        steps = work.inputs.get(name)
        if steps is not None and steps.shape is not None:
            steps.model_layout = steps.model_layout or _CHANNELS_LAST[len(steps.shape)]
            steps.tensor_layout = steps.tensor_layout or _CHANNELS_FIRST[len(steps.shape)]
            steps.guessed = True
    for port, name in zip(model.outputs, ends.outputs, strict=True):
        rank = len(sizes(port.get_partial_shape()) or ())
        if rank in _CHANNELS_LAST:
            change = work.outputs.get(name, LayoutChange(name, None))
            work.outputs[name] = replace(
                change,
                source=change.source or _CHANNELS_LAST[rank],
                target=change.target or _CHANNELS_FIRST[rank],
            )


def _add_channel_values(source: GraphSource, arguments: OptimizerArguments, plan: Plan, work: _Work) -> None:
    order = [each.point.name for each in plan.inputs if each.point.name in work.inputs and plan.listed]
    names = order or list(work.inputs)
    for name, values in _by_input(source, arguments.mean_values, names, "mean_values"):
        work.inputs[name].mean = values
    for name, values in _by_input(source, arguments.scale_values, names, "scale_values"):
        work.inputs[name].scale = values
    if arguments.scale is not None:
        for steps in work.inputs.values():
            steps.scale = (arguments.scale,)
    for name, steps in work.inputs.items():
        given = "mean_values" if steps.mean else "scale" if arguments.scale is not None else "scale_values"
        if not (steps.mean or steps.scale):
            continue
        if not steps.floating or steps.shape == ():
            what = "is a single number" if steps.floating else "holds no floating-point numbers"
            raise RequestError(
                f"`{given}` cannot be applied to the input `{name}`, which {what}",
                hint=f"name the inputs that it is for: `{_BY_NAME.get(given, given)}` = `image[127.5]`",
                parameter=given,
            )
        sizes_given = {len(steps.mean), len(steps.scale)} - {0, 1}
        if len(sizes_given) > 1:
            raise RequestError(
                f"`{name}` has {len(steps.mean)} mean and {len(steps.scale)} scale values",
                hint="give one value for each channel in both, or a single one",
                parameter="scale_values",
            )
        if steps.channels > 1 and not _has_channels(steps.model_layout, steps.tensor_layout):
            steps.model_layout = steps.model_layout or _guess(steps, steps.channels, source.framework)
            steps.guessed = True
            if not _has_channels(steps.model_layout):
                raise RequestError(
                    f"`{given}` has {steps.channels} values, and which dimension of the input `{name}` "
                    f"{_shape_text(steps)} holds as many channels is unclear",
                    hint=f"name it with `layout`, for example `{name}({_usual(steps, source.framework)})`",
                    parameter=given,
                )


def _by_input(
    source: GraphSource, given: tuple[ChannelValues, ...], names: Sequence[str], parameter: str
) -> list[tuple[str, tuple[float, ...]]]:
    """Each list with the public name of its input; unnamed ones go by the order of `names`."""
    if given and not given[0].name:
        if len(given) != len(names):
            raise RequestError(
                f"`{parameter}` gives {counted(len(given), 'list')} without names, and the model has "
                f"{counted(len(names), 'input')}: {listed(names)}",
                hint=f"write the name before each list: `{names[0]}[1,2,3]`",
                parameter=parameter,
            )
        return [(name, entry.values) for name, entry in zip(names, given, strict=True)]
    return [(meant(source, entry.name, names, parameter), entry.values) for entry in given]


def _add_reverse(source: GraphSource, work: _Work) -> list[str]:
    """Mark the inputs with three channels; what is told if they are not all."""
    for steps in work.inputs.values():
        known = steps.model_layout or steps.tensor_layout
        if known is None:
            steps.model_layout = _guess(steps, _COLOURS, source.framework) if _has_image_rank(steps) else None
            steps.guessed = True
            steps.reverse = steps.model_layout is not None
        elif steps.shape is not None:
            at = find_dimension(known, "C", len(steps.shape))
            steps.reverse = (
                at is not None and at < len(steps.shape) and _channels_at(steps, at) in (None, _COLOURS)
            )
    suitable = [name for name, steps in work.inputs.items() if steps.reverse]
    if not suitable:
        shown = ", ".join(f"`{name}` {_shape_text(steps)}" for name, steps in work.inputs.items())
        first, steps = next(iter(work.inputs.items()))
        raise RequestError(
            f"`reverse_input_channels` fits no input: none has three channels for certain in {shown}",
            hint=f"name the channels with `layout`, for example `{first}({_usual(steps, source.framework)})`",
            parameter="reverse_input_channels",
        )
    others = [name for name in work.inputs if name not in suitable]
    return [f"reverse_input_channels does not change {listed(others)}: no three channels"] if others else []


def _channels_at(steps: _Steps, at: int) -> int | None:
    """The size of a dimension of the model's own layout, or of the layout that only the tensor has."""
    assert steps.shape is not None
    return steps.shape[at]


def _usual(steps: _Steps, framework: str) -> str:
    """A layout that would fit the input, for a hint."""
    rank = 4 if steps.shape is None else len(steps.shape)
    return _USUAL["tf" if framework == "tf" else "onnx"].get(rank, "...c")


def _has_image_rank(steps: _Steps) -> bool:
    return steps.shape is not None and len(steps.shape) in _CHANNEL_PLACES


def _has_channels(*layouts: Layout | None) -> bool:
    return any(layout is not None and "C" in layout.dimensions for layout in layouts)


def _guess(steps: _Steps, channels: int, framework: str) -> Layout | None:
    """A layout that names the channels alone, found by their number; None if that is not certain."""
    if steps.shape is None or len(steps.shape) < 2:
        return None
    rank = len(steps.shape)
    hits = [at for at, size in enumerate(steps.shape) if size == channels]
    usual = rank - 1 if framework in CHANNELS_LAST else 1
    if len(hits) != 1 or hits[0] not in _CHANNEL_PLACES.get(rank, ()):
        if usual not in hits:
            return None
        hits = [usual]
    return Layout(tuple("C" if at == hits[0] else "?" for at in range(rank)))


def _check_ranks(model: Model, ends: Ends, layouts: Mapping[str, LayoutChange]) -> None:
    for port, name in zip((*model.inputs, *model.outputs), (*ends.inputs, *ends.outputs), strict=True):
        shape, change = sizes(port.get_partial_shape()), layouts.get(name)
        if shape is None or change is None:
            continue
        for layout in (change.source, change.target):
            if layout is not None:
                check_rank(name, layout, shape, "layout")


def _check_channels(name: str, steps: _Steps) -> None:
    if steps.channels == 1 or steps.shape is None or steps.model_layout is None:
        return
    at = find_dimension(steps.model_layout, "C", len(steps.shape))
    size = steps.shape[at] if at is not None and at < len(steps.shape) else None
    if size not in (None, steps.channels):
        parameter = "mean_values" if steps.mean else "scale_values"
        raise RequestError(
            f"`{parameter}` has {steps.channels} values, and the input `{name}` has {size} channels",
            hint=f"its shape is {_shape_text(steps)}; give one value for each channel, or a single one",
            parameter=parameter,
        )


def _shape_text(steps: _Steps) -> str:
    if steps.shape is None:
        return "[...]"
    return f"[{','.join('?' if size is None else str(size) for size in steps.shape)}]"


def _build(model: Model, ends: Ends, work: _Work) -> Model:
    processor = PrePostProcessor(model)
    for position, steps in enumerate(work.inputs.values()):
        own_type = model.inputs[position].get_element_type()
        step = processor.input(position)
        if steps.model_layout is not None:
            step.model().set_layout(ov.Layout(str(steps.model_layout)))
        if steps.tensor_layout is not None:
            step.tensor().set_layout(ov.Layout(str(steps.tensor_layout)))
        if steps.type is not None:
            step.tensor().set_element_type(getattr(ov.Type, steps.type))
        chain = step.preprocess()
        if steps.type is not None and (steps.mean or steps.scale):
            chain.convert_element_type(own_type)
        if steps.reverse:
            chain.reverse_channels()
        if steps.mean:
            chain.mean(list(steps.mean) if len(steps.mean) > 1 else steps.mean[0])
        if steps.scale:
            chain.scale(list(steps.scale) if len(steps.scale) > 1 else steps.scale[0])
    for name, change in work.outputs.items():
        output = processor.output(ends.outputs.index(name))
        if change.source is not None:
            output.model().set_layout(ov.Layout(str(change.source)))
        if change.target is not None:
            output.tensor().set_layout(ov.Layout(str(change.target)))
    built = processor.build()
    for parameter, steps in zip(built.get_parameters(), work.inputs.values(), strict=True):
        if steps.guessed:
            # a guess is good for this, and not for the server that reads the result
            parameter.layout = ov.Layout()
    return built
