"""What a Keras model's configuration tells: its layers, inputs and outputs, and code that it needs.

The configuration is JSON; nothing of it is executed, and Keras is not imported.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ovms_converter.formats.base import TensorSpec

__all__ = ["MAJOR", "KerasModel", "newer_note", "parse_keras_model", "release"]

_OWN = ("keras", "builtins", "tensorflow.keras", "tf_keras")


MAJOR = 3
"""The newest major release of Keras whose files are understood here."""


def release(version: str) -> tuple[int, int] | None:
    """Major and minor number of a release: (3, 15) of `3.15.1`; None if it is none."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})(?!\d)", version)
    return (int(found[1]), int(found[2])) if found else None


def newer_note(written: str, installed: str) -> str | None:
    """What to know of a file that a newer Keras has written than the one that reads it; None if it is not.

    Keras itself never looks at that number. Measured with 3.15: of a layer it refuses settings and classes
    that it does not know, and what else it does not know of a model it leaves out without a word.
    """
    one, other = release(written), release(installed)
    if one is None or other is None or one <= other:
        return None
    return (
        f"written by Keras {written} and read by {installed}, which leaves out what it does not know of a "
        "model beside its layers: compare its results with the original's"
    )


@dataclass(frozen=True)
class KerasModel:
    """A model as far as its configuration tells.

    `kind`     "Functional", "Sequential", or the name of the author's own class
    `layers`   layers of every kind, models inside included, most frequent first
    `foreign`  classes and functions that are not Keras' own, by name: their code is not in the file
    `outputs`  of an output the configuration tells the type and not the shape
    """

    kind: str
    layers: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    foreign: tuple[str, ...]


def parse_keras_model(text: str) -> KerasModel | None:
    """The model at the beginning of a text, which may go on after it; None if there is none."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
        return _model(found)
    except (ValueError, RecursionError):
        return None


def _model(found: object) -> KerasModel | None:
    if not isinstance(found, dict) or not isinstance(found.get("class_name"), str):
        return None
    config = found.get("config")
    if isinstance(config, list):  # a Sequential model of Keras before 2.2.3
        config = {"layers": config}
    if not isinstance(config, dict):
        return None
    objects = list(_objects({**found, "config": config, "compile_config": None}))[1:]
    layers = [item for item in objects if _is_layer(item)]
    names = {_text(_settings(item), "name"): item for item in layers}
    return KerasModel(
        kind=found["class_name"],
        layers=dict(Counter(str(item["class_name"]) for item in layers).most_common()),
        inputs=tuple(_inputs(config, names)),
        outputs=tuple(_outputs(config, names)),
        foreign=tuple(dict.fromkeys(name for item in (found, *objects) for name in _foreign(item))),
    )


def _objects(value: object) -> Iterator[dict[str, object]]:
    """Every object with a class in a configuration, in its order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                yield item
            waiting += reversed(item.values())
        elif isinstance(item, list):
            waiting += reversed(item)


def _settings(item: Mapping[str, object]) -> Mapping[str, object]:
    found = item.get("config")
    return found if isinstance(found, dict) else {}


def _text(item: Mapping[str, object], name: str) -> str:
    found = item.get(name)
    return found if isinstance(found, str) else ""


def _is_layer(item: Mapping[str, object]) -> bool:
    """Whether an object is a layer or a model inside, not an initializer or a type."""
    settings = _settings(item)
    return "name" in settings and ("trainable" in settings or item.get("class_name") == "InputLayer")


def _foreign(item: Mapping[str, object]) -> Iterator[str]:
    module, registered = _text(item, "module"), _text(item, "registered_name")
    if module and not module.startswith(_OWN):
        yield f"{module}.{item['class_name']}"
    elif ">" in registered:
        yield registered.rpartition(">")[2]


def _inputs(config: Mapping[str, object], layers: Mapping[str, Mapping[str, object]]) -> Iterator[TensorSpec]:
    """The inputs in the order of a call; a `Sequential` of Keras 2 may begin with another layer."""
    named = [(name, layer) for name, layer, _ in _ends(config.get("input_layers"))]
    if not named:
        listed = config.get("layers")
        first = listed[0] if isinstance(listed, list) and listed else None
        if isinstance(first, dict):
            own = _text(_settings(first), "name")
            named = [(own if first.get("class_name") == "InputLayer" else f"{own}_input", own)]
    for name, layer in named:
        settings = _settings(layers.get(layer, {}))
        shape = settings.get("batch_shape", settings.get("batch_input_shape"))
        if isinstance(shape, list):
            sizes = tuple(size if isinstance(size, int) else None for size in shape)
            yield TensorSpec(name, _type(settings), sizes)


def _outputs(
    config: Mapping[str, object], layers: Mapping[str, Mapping[str, object]]
) -> Iterator[TensorSpec]:
    ends = [(name, layer) for name, layer, _ in _ends(config.get("output_layers"))]
    listed = config.get("layers")
    if not ends and isinstance(listed, list) and listed and isinstance(listed[-1], dict):
        last = _text(_settings(listed[-1]), "name")
        ends = [(last, last)] if last else []
    seen: Counter[str] = Counter()
    for name, layer in ends:
        number = seen[name]
        seen[name] += 1
        yield TensorSpec(
            f"{name}_{number}" if number else name, _type(_settings(layers.get(layer, {}))), None
        )


def _ends(value: object, key: str = "") -> Iterator[tuple[str, str, object]]:
    """Inputs or outputs, `[layer, node, tensor]` each, by the keys of a dictionary or their layers' names."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        yield key or value[0], value[0], value[2]
    elif isinstance(value, list):
        for item in value:
            yield from _ends(item)
    elif isinstance(value, dict):
        for name in sorted(map(str, value)):
            yield from _ends(value.get(name), name)


def _type(settings: Mapping[str, object]) -> str:
    """numpy's name of a layer's type; of a policy for several types that of the results."""
    kind = settings.get("dtype")
    if isinstance(kind, dict):
        kind = _settings(kind).get("name")
    return (kind.removeprefix("mixed_") if isinstance(kind, str) else "") or "float32"
