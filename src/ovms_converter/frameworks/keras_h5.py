"""HDF5 files of Keras 1, 2 and 3, loaded by Keras 3.

Keras 3 reads what it wrote itself. What Keras 2 wrote differs in ways that mostly end in an error, and in one
case in other numbers; the configuration is rewritten where that keeps the meaning, and refused elsewhere.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
from keras.src import ops as keras_operations
from keras.src.legacy.saving import legacy_h5_format, saving_options, saving_utils
from keras.src.ops.operation import Operation
from keras.src.saving import serialization_lib

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.keras_config import release
from ovms_converter.frameworks.keras_names import SLASH
from ovms_converter.frameworks.keras_operations import (
    EXPORT_AS_BEFORE,
    TensorOperation,
    ThresholdedReLU,
    check_function,
    hard_sigmoid_of_keras_2,
)

__all__ = ["load", "model_of", "repaired", "written_by"]

_Config = dict[str, Any]

_ANY: tuple[object, ...] = ()
"""In `_DROPPED`: Keras 2 wrote the argument and never used it, so that its value does not matter."""

_KERNEL = {"kernel_initializer": _ANY, "kernel_regularizer": _ANY, "kernel_constraint": _ANY}
_RECURRENT = {"time_major": (False,), "implementation": (0, 1, 2)}

_DROPPED: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "Conv1DTranspose": {"groups": (1,)},
    "Conv2DTranspose": {"groups": (1,)},
    "Conv3DTranspose": {"groups": (1,)},
    "DepthwiseConv1D": {"groups": (1,), **_KERNEL},
    "DepthwiseConv2D": {"groups": (1,), **_KERNEL},
    "SeparableConv1D": {"groups": (1,), **_KERNEL},
    "SeparableConv2D": {"groups": (1,), **_KERNEL},
    "SimpleRNN": _RECURRENT,
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "ConvLSTM1D": _RECURRENT,
    "ConvLSTM2D": _RECURRENT,
    "ConvLSTM3D": _RECURRENT,
    "MultiHeadAttention": {"query_shape": _ANY, "key_shape": _ANY, "value_shape": _ANY},
    "Embedding": {"input_length": _ANY},
    "BatchNormalization": {"renorm": (False, None), "virtual_batch_size": (None,), "fused": _ANY},
}
"""Arguments that Keras 3 no longer takes, by layer, with the values at which they change nothing."""

_RENAMED: Mapping[str, str] = {"Model": "Functional", "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
_OPERATION = "operation>"
"""Before the name of a class: it is an operation and no layer."""

_TENSOR_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")


def load(path: Path, *, trusted: bool) -> keras.Model:
    """The model of a file, not compiled.

    Raises `CorruptModelError` if it is no HDF5 or holds no model, `UnsupportedModelError` for what Keras 3
    has no equal of, and whatever Keras raises.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CorruptModelError(
            f"`{path.name}` is truncated or damaged: {error}",
            hint="compare its size and checksum with the original, and upload it again",
        ) from None
    with file:
        config = _configuration(file, path)
        written = release(_text(file.attrs.get("keras_version")))
        if written is None or written[0] < 3:
            config = repaired(config)
        _tell_apart(config)
        model = model_of(config, trusted=trusted)
        legacy_h5_format.load_weights_from_hdf5_group(file.get("model_weights", file), model)
    return model


def written_by(path: Path) -> str:
    """The version of Keras that wrote a file, "" if it does not say. Raises `OSError`."""
    with h5py.File(path, "r") as file:
        return _text(file.attrs.get("keras_version"))


def model_of(config: _Config, *, trusted: bool) -> keras.Model:
    """A model without its weights, of a configuration as HDF5 has it."""
    legacy = saving_options.keras_option_scope(use_legacy_config=True)
    with legacy, serialization_lib.SafeModeScope(safe_mode=not trusted):
        return saving_utils.model_from_config(config, custom_objects=_known_classes())


def repaired(config: _Config) -> _Config:
    """The configuration of a model of Keras 1 or 2 as Keras 3 takes it, with the same meaning.

    Raises `UnsupportedModelError`.
    """
    changed: _Config = _without_slashes(config)
    for item in _objects(changed):
        item["class_name"] = _RENAMED.get(item["class_name"], item["class_name"])
        settings = item["config"]
        _drop(item["class_name"], settings)
        if item["class_name"] in _TENSOR_OPERATIONS:
            check_function(settings.get("function"), settings.get("name"))
        for name, value in settings.items():
            # Keras 2: clip(0.2 x + 0.5); Keras 3: relu6(x + 3) / 6
            if name.endswith("activation") and value == "hard_sigmoid":
                settings[name] = hard_sigmoid_of_keras_2.__name__
        if "layers" in settings and item["class_name"] != "Sequential":
            _rewire(settings)
    return changed


def _without_slashes(config: _Config) -> Any:
    """A copy with `SLASH` in the names of layers, which may hold no slash in Keras 3."""
    names = [item["config"].get("name") for item in _objects(config)]
    slashed = {name for name in names if isinstance(name, str) and "/" in name}

    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: copied(item) for name, item in value.items()}
        if isinstance(value, list):
            return [copied(item) for item in value]
        return value.replace("/", SLASH) if isinstance(value, str) and value in slashed else value

    return copied(config)


def _configuration(file: h5py.File, path: Path) -> _Config:
    text = _text(file.attrs.get("model_config"))
    if not text:
        weights = "layer_names" in file.attrs or any(name.endswith("weights") for name in file)
        raise UnsupportedModelError(
            f"`{path.name}` holds {'weights and no graph' if weights else 'no Keras model'}",
            hint='build the model, load the weights, run `model.export("saved_model")`, and convert that',
        )
    try:
        config: Any = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict | list):
        raise CorruptModelError(
            f"`{path.name}` has a configuration that is no model",
            hint="compare its size and checksum with the original, and upload it again",
        )
    if isinstance(config["config"], list):  # a Sequential model of Keras before 2.2.3
        return config | {"config": {"name": "sequential", "layers": config["config"]}}
    return dict(config)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _known_classes() -> dict[str, Callable[..., object]]:
    """Every layer by its name: Keras looks for those inside others (`Bidirectional`) among the given ones."""
    layers = {name: kind for name, kind in vars(keras.layers).items() if isinstance(kind, type)}
    models = {"Sequential": keras.Sequential, "Functional": keras.Model}
    own = {"ThresholdedReLU": ThresholdedReLU, **dict.fromkeys(_TENSOR_OPERATIONS, TensorOperation)}
    operations = {f"{_OPERATION}{name}": kind for name, kind in _operations().items()}
    function = {hard_sigmoid_of_keras_2.__name__: hard_sigmoid_of_keras_2}
    return {**layers, **models, **own, **operations, **function}


def _operations() -> dict[str, type[Operation]]:
    """Keras 3's operations on tensors, `NotEqual` or `Add`, by the name of their class."""
    modules = (keras_operations.core, keras_operations.math, keras_operations.nn, keras_operations.numpy)
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Operation) and kind is not Operation
    }


def _tell_apart(config: _Config) -> None:
    """Mark operations on tensors, which HDF5 does not tell from layers of the same name.

    Keras itself fails with all of them, and with the default of `Attention`, for which it finds a function.
    """
    known = _operations()
    for item in _objects(config):
        kind = item["class_name"]
        if item["config"].get("score_mode") == "dot":
            del item["config"]["score_mode"]
        if kind in known and "trainable" not in item["config"]:
            item["class_name"] = f"{_OPERATION}{kind}"


def _objects(value: object) -> Iterator[_Config]:
    """Every object with a class and settings in a configuration."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str) and isinstance(item.get("config"), dict):
                yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _drop(kind: str, settings: _Config) -> None:
    for name, neutral in _DROPPED.get(kind, {}).items():
        if name not in settings:
            continue
        value = settings.pop(name)
        if neutral and value not in neutral:
            raise UnsupportedModelError(
                f"the layer `{settings.get('name')}` is a {kind} with `{name}` {value}, which Keras 3 lacks",
                hint=EXPORT_AS_BEFORE,
            )


def _rewire(settings: _Config) -> None:
    """Write how layers are called as Keras 3 does, which also knows tensors in keyword arguments."""
    layers = {layer["name"]: layer for layer in settings["layers"]}
    for layer in settings["layers"]:
        calls = layer.get("inbound_nodes", [])
        if isinstance(calls, list) and all(isinstance(call, list) for call in calls):
            layer["inbound_nodes"] = [_call(layer, call, layers) for call in calls]


def _call(layer: _Config, call: list[Any], layers: Mapping[str, _Config]) -> _Config:
    """One call: `[[layer, node, tensor, keywords], ...]`, or of an operation on a tensor `[layer, ...]`."""
    inputs = [call] if call and isinstance(call[0], str) else call
    tensors = [_tensor(item, layers) for item in inputs]
    keywords = inputs[0][3] if inputs and len(inputs[0]) == 4 else {}
    found = {name: _argument(value, layers) for name, value in keywords.items() if name != "name"}
    if layer["class_name"] in _TENSOR_OPERATIONS:
        found = {"keywords": found}
    return {"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": found}


def _argument(value: Any, layers: Mapping[str, _Config]) -> Any:
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and value[0] in layers:
            return _tensor(value, layers)
        if len(value) == 3 and value[0] == "_CONSTANT_VALUE":
            return value[2]
        return [_argument(item, layers) for item in value]
    if isinstance(value, dict):
        return {name: _argument(item, layers) for name, item in value.items()}
    return value


def _tensor(reference: list[Any], layers: Mapping[str, _Config]) -> _Config:
    """A layer's output as Keras 3 writes it. In Keras 2, a model inside another was called once before."""
    name, node, number = reference[:3]
    if name in layers and "layers" in layers[name]["config"]:
        node -= 1
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [], "dtype": "float32", "keras_history": [name, node, number]},
    }
