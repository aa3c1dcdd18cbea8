"""The layouts of a model's inputs and outputs, by public name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.ends import Ends, meant
from ovms_converter.optimizer.source import GraphSource
from ovms_converter.optimizer.suggestions import counted, listed
from ovms_converter.optimizer.values import Layout, LayoutChange

__all__ = ["check_rank", "find_dimension", "resolve_layouts"]


def resolve_layouts(
    arguments: OptimizerArguments, source: GraphSource, ends: Ends
) -> Mapping[str, LayoutChange]:
    """What `layout`, `source_layout` and `target_layout` say of each input and output.

    Layouts without a name go to the inputs in order. Raises `RequestError` for a name that is not there.
    """
    found: dict[str, LayoutChange] = {}
    for parameter in ("layout", "source_layout", "target_layout"):
        changes: tuple[LayoutChange, ...] = getattr(arguments, parameter)
        for name, change in zip(_names(changes, source, ends, parameter), changes, strict=True):
            known = found.get(name, LayoutChange(name, None))
            if parameter == "target_layout":
                found[name] = replace(known, target=change.source)
            else:
                found[name] = LayoutChange(name, change.source, change.target)
    return found


def _names(changes: Sequence[LayoutChange], source: GraphSource, ends: Ends, parameter: str) -> Sequence[str]:
    if not changes or changes[0].name:
        return [meant(source, change.name, (*ends.inputs, *ends.outputs), parameter) for change in changes]
    if len(changes) != len(ends.inputs):
        raise RequestError(
            f"`{parameter}` gives {counted(len(changes), 'layout')} without names, and the model has "
            f"{counted(len(ends.inputs), 'input')}: {listed(ends.inputs)}",
            hint=f"write the name before each layout: `{ends.inputs[0]}(nhwc)`",
            parameter=parameter,
        )
    return ends.inputs


def check_rank(name: str, layout: Layout, shape: Sequence[object], parameter: str) -> None:
    """Raise `RequestError` if a layout has more or fewer dimensions than the tensor."""
    named = len(layout.dimensions)
    fits = named - 1 <= len(shape) if "..." in layout.dimensions else named == len(shape)
    if not fits:
        raise RequestError(
            f"the layout `{layout}` does not fit `{name}`, which has {counted(len(shape), 'dimension')}",
            hint=f"its shape is [{','.join('?' if size is None else str(size) for size in shape)}]",
            parameter=parameter,
        )


def find_dimension(layout: Layout, letter: str, rank: int) -> int | None:
    """The index of a dimension in a tensor of a rank; None if the layout does not have it."""
    if letter not in layout.dimensions:
        return None
    before = layout.dimensions.index(letter)
    if "..." in layout.dimensions[:before]:
        return rank - (len(layout.dimensions) - before)
    return before
