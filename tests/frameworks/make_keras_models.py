"""Write the models of `tests/data/keras` with the Keras of the interpreter that runs this.

    python tests/frameworks/make_keras_models.py DIRECTORY [ENDING ...]

Those that are kept were written with TensorFlow 2.4.4 (`keras-2.4`, .h5), 2.8.4 (`keras-2.8`, .h5) and 2.13.1
(`keras-2.13`, .keras), and with Keras 3.15.1 on PyTorch (`keras-3.15`, both). Beside each lies what it
computed: arrays `in:<name>` and `out:<name>`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

keras: Any = tf.keras

L = keras.layers
NEW = str(getattr(keras, "__version__", "2")).startswith("3.")


def two() -> Any:
    left, right = L.Input((4,), name="left"), L.Input((4,), name="right")
    total = L.Dense(2, name="sum")(L.Add()([left, right]))
    score = L.Dense(1, activation="sigmoid", name="score")(L.Concatenate()([left, right]))
    return keras.Model([left, right], [total, score])


def nested() -> Any:
    """A model inside that is called twice, and a layer whose default name is a function's in Keras."""
    inner = keras.Sequential([L.Dense(5, activation="selu", input_shape=(4,)), L.Dense(3)], name="enc")
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    return keras.Model([a, b], L.Dot(-1, normalize=True)([inner(a), inner(b)]))


def recurrent() -> Any:
    """Masked tokens through both kinds of cells, in both directions; every size but one is free."""
    x = tokens = L.Input((None,), dtype="int32", name="tokens")
    x = L.Bidirectional(L.GRU(3, return_sequences=True))(L.Embedding(9, 4, mask_zero=True)(x))
    return keras.Model(tokens, L.Dense(2, name="y")(L.LSTM(3)(x)))


def image() -> Any:
    """Convolutions whose arguments differ between Keras 2 and 3, and a name with a slash where one may be."""
    x = i = L.Input((8, 8, 3), name="image")
    x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", strides=2)(x))
    x = L.SeparableConv2D(4, 3, padding="same")(L.DepthwiseConv2D(3, padding="same")(x))
    x = L.UpSampling2D(interpolation="bilinear")(L.Conv2DTranspose(2, 2, strides=2)(x))
    name = "head" if NEW else "head/logits"
    return keras.Model(i, L.Dense(2, name=name)(L.GlobalAveragePooling2D()(x)))


def hard_sigmoid() -> Any:
    """Clips at other points in Keras 2 than in Keras 3."""
    video = L.Input((3, 4, 4, 2), name="video")
    x = L.ConvLSTM2D(2, 3, padding="same", recurrent_activation="hard_sigmoid")(video)
    return keras.Model(video, L.Dense(3, activation="hard_sigmoid", name="o")(L.Flatten()(x)))


def operations() -> Any:
    """Written on tensors, attention with tensors in keywords."""
    a = L.Input((3, 4), name="a")
    x = L.MultiHeadAttention(2, 3)(a + a * 2.0 - 1.0, value=a)
    return keras.Model(a, L.LayerNormalization(name="normal")(x / 3.0))


def dictionaries() -> Any:
    a, b = L.Input((4,), name="x1"), L.Input((2,), name="x2")
    outputs = {"z": L.Dense(1)(L.Concatenate()([a, b])), "b": L.Dense(2)(a)}
    return keras.Model({"wide": b, "deep": a}, outputs)


def twice() -> Any:
    """An output that is an input, and one layer that gives two."""
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    shared = L.Dense(3, name="shared")
    return keras.Model([a, b], [a, shared(a), shared(b)])


OLD_AND_NEW: tuple[Callable[[], Any], ...] = (two, nested, recurrent, image, hard_sigmoid, operations)
NEW_ONLY: tuple[Callable[[], Any], ...] = (dictionaries, twice)


def write(model: Any, path: Path, endings: list[str]) -> None:
    """Save a model with weights that hide nothing, and what it computes for a batch of two."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.name else -1.0
        weight.assign(generator.uniform(low, 1.0, tuple(weight.shape)))
    structure = model._nested_inputs if hasattr(model, "_nested_inputs") else model.input
    named = dict(structure) if isinstance(structure, dict) else {one.name: one for one in model.inputs}
    if not isinstance(structure, dict):
        named = dict(zip(model.input_names if hasattr(model, "input_names") else named, model.inputs))  # noqa: B905 - Python 3.8
    inputs = {}
    for name, tensor in named.items():
        shape = [2 if not at else size or 5 for at, size in enumerate(tensor.shape)]
        inputs[name] = generator.uniform(-2, 2, shape).astype("float32")
        if "int" in str(tensor.dtype):
            inputs[name] = np.array([[1, 2, 3, 4, 5], [8, 7, 6, 0, 0]], "int32")
    given = inputs if isinstance(structure, dict) else list(inputs.values())
    found = model(given if len(inputs) > 1 else given[0], training=False)
    if isinstance(found, dict):
        outputs = dict(found)
    else:
        flat = found if isinstance(found, (list, tuple)) else [found]
        outputs = {}
        for name, value in zip(model.output_names, flat):  # noqa: B905 - Python 3.8
            taken = [key for key in (*inputs, *outputs) if key.rpartition("_")[0] == name or key == name]
            outputs[f"{name}_{len(taken)}" if taken else name] = value
    arrays = {f"in:{name}": value for name, value in inputs.items()}
    arrays.update({f"out:{name}": np.asarray(value if not NEW else keras.ops.convert_to_numpy(value))
                   for name, value in outputs.items()})  # fmt: skip
    np.savez_compressed(path.with_name(f"{path.name}.npz"), **arrays)  # type: ignore[arg-type]
    for ending in endings:
        model.save(str(path.with_name(f"{path.name}.{ending}")))


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    version = ".".join((keras.__version__ if NEW else tf.__version__).split(".")[:2])
    for make in (*OLD_AND_NEW, *(NEW_ONLY if NEW else ())):
        keras.backend.clear_session()
        try:
            write(make(), directory / f"keras-{version}-{make.__name__.replace('_', '-')}", sys.argv[2:])
        except Exception as error:  # noqa: BLE001 - not every release has every layer
            print(make.__name__, error)
