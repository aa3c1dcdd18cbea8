"""New names for inputs and outputs."""

from collections import Counter
from collections.abc import Iterable

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.ends import Ends, meant
from ovms_converter.optimizer.source import GraphSource

__all__ = ["renamed"]


def renamed(renames: Iterable[tuple[str, str]], source: GraphSource, ends: Ends) -> Ends:
    """The names after `rename`. Raises `RequestError` for an unknown old name, or a new one that is taken."""
    new = {meant(source, old, (*ends.inputs, *ends.outputs), "rename"): name for old, name in renames}
    result = Ends(
        tuple(new.get(name, name) for name in ends.inputs),
        tuple(new.get(name, name) for name in ends.outputs),
    )
    twice = [name for name, count in Counter((*result.inputs, *result.outputs)).items() if count > 1]
    if new and twice:
        raise RequestError(
            f"`rename` would give two inputs or outputs the name `{twice[0]}`",
            hint="choose another name",
            parameter="rename",
        )
    return result
