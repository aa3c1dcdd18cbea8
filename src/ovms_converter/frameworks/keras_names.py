"""What a Keras model's inputs and outputs are called, whichever backend runs it."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras.src import tree

from ovms_converter.errors import UnsupportedModelError

__all__ = ["SLASH", "graph_of", "input_structure", "named_inputs", "named_outputs"]

SLASH = "\N{DIVISION SLASH}"
"""Stands for a slash in a layer's name of Keras 2 (`Logits/softmax`), where Keras 3 takes none."""


def graph_of(model: keras.Model) -> Any:
    """The model as a graph of layers, which a `Sequential` model holds inside.

    Raises `UnsupportedModelError` if it has none: its inputs are known only once it is called.
    """
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_inputs_struct"):
        raise UnsupportedModelError(
            f"the Keras model `{model.name}` ({type(model).__name__}) declares no inputs",
            hint='call it once with data and run `model.export("saved_model")`, and convert that directory',
        )
    return graph


def input_structure(model: keras.Model) -> Any:
    """How the model wants its inputs: one, a list, a dictionary, or any nesting of these."""
    return graph_of(model)._inputs_struct


def named_inputs(model: keras.Model) -> list[tuple[str, Any]]:
    """The inputs in their order: keys where the model takes a dictionary, else their own names."""
    structure = input_structure(model)
    tensors = tree.flatten(structure)
    own = [tensor.name for tensor in tensors]
    return list(zip(_unique(_keys(structure) or own), tensors, strict=True))


def named_outputs(model: keras.Model, outputs: Any) -> list[tuple[str, Any]]:
    """What a call gave, in its order: keys where that is a dictionary, else the output layers' names."""
    tensors = tree.flatten(outputs)
    layers = list(getattr(graph_of(model), "output_names", ()))
    names = _keys(outputs) or layers
    if len(names) != len(tensors):
        names = [f"output_{number}" for number in range(len(tensors))]
    taken = [name for name, _ in named_inputs(model)]
    return list(zip(_unique(names, taken), tensors, strict=True))


def _keys(structure: Any) -> list[str]:
    """The keys of a flat dictionary, in the order in which Keras flattens it; none of anything else."""
    if not isinstance(structure, dict) or any(tree.is_nested(value) for value in structure.values()):
        return []
    numbers = {key: number for number, key in enumerate(structure)}
    order = tree.flatten({key: numbers[key] for key in structure})
    keys = list(structure)
    return [str(keys[number]) for number in order]


def _unique(names: Sequence[str], taken: Sequence[str] = ()) -> Iterator[str]:
    """Names as Keras 2 told them apart: a layer that gives two outputs is `name` and `name_1`."""
    seen = set(taken)
    for name in (name.replace(SLASH, "/") for name in names):
        found, number = name, 0
        while found in seen:
            number += 1
            found = f"{name}_{number}"
        seen.add(found)
        yield found
