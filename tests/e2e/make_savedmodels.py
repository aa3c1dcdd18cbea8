"""Write SavedModels of many kinds with TensorFlow, each with inputs and the outputs that TensorFlow computes.

Run as a program with a directory: `<directory>/<name>/model` is the SavedModel, `<name>/reference.npz` holds
`in_<key>` and `out_<key>` arrays by signature key. TensorFlow stays in this process: no test runs beside it.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

RNG = np.random.default_rng(7)


def uniform(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def keras_cnn(path: Path) -> dict[str, np.ndarray]:
    image = tf.keras.Input((12, 12, 3), name="image")
    x = tf.keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = tf.keras.layers.BatchNormalization()(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    model = tf.keras.Model(image, tf.keras.layers.Dense(5, name="logits")(x))
    tf.saved_model.save(model, str(path))
    return {"image": uniform(1, 12, 12, 3)}


def keras_two_inputs(path: Path) -> dict[str, np.ndarray]:
    left, right = tf.keras.Input((4,), name="left"), tf.keras.Input((4,), name="right")
    both = tf.keras.layers.Concatenate()([left, right])
    outputs = {"total": tf.keras.layers.Dense(2)(both), "product": tf.keras.layers.Multiply()([left, right])}
    tf.keras.Model([left, right], outputs).export(str(path), verbose=False)
    return {}


def module_with_signature(path: Path) -> dict[str, np.ndarray]:
    class Scorer(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(uniform(6, 3), name="weight")

        @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, name="features")])  # type: ignore[untyped-decorator]
        def __call__(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"scores": tf.nn.softmax(features @ self.weight)}

    scorer = Scorer()
    tf.saved_model.save(scorer, str(path), signatures=scorer.__call__)
    return {"features": uniform(1, 6)}


def variables_of_one_name(path: Path) -> dict[str, np.ndarray]:
    class Summer(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = [tf.Variable([10.0**power]) for power in range(3)]

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x * self.parts[0] + self.parts[1] * self.parts[2]}

    summer = Summer()
    tf.saved_model.save(summer, str(path), signatures=summer.__call__)
    return {"x": uniform(1, 1)}


def one_signature_of_another_name(path: Path) -> dict[str, np.ndarray]:
    class Doubler(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"twice": x * 2.0}

    doubler = Doubler()
    tf.saved_model.save(doubler, str(path), signatures={"doubling": doubler.double})
    return {"x": uniform(1, 2)}


def first_generation(path: Path) -> dict[str, np.ndarray]:
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 8, 8, 1], name="input")
        kernel = v1.get_variable("kernel", initializer=uniform(3, 3, 1, 2))
        hidden = v1.nn.relu(v1.nn.conv2d(x, kernel, 1, "SAME"))
        probabilities = v1.nn.softmax(v1.reduce_mean(hidden, [1, 2]), name="prob")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"images": x}, {"scores": probabilities})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return {"images": uniform(1, 8, 8, 1)}


def constant_output(path: Path) -> dict[str, np.ndarray]:
    class Doubler(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"twice": x * 2.0, "factor": tf.constant(2.0)}

    doubler = Doubler()
    tf.saved_model.save(doubler, str(path), signatures=doubler.double)
    return {}


def input_with_a_default(path: Path) -> dict[str, np.ndarray]:
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], name="x")
        keep = v1.placeholder_with_default(1.0, [], name="keep")
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"x": x, "keep": keep}, {"y": x * keep})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return {}


def reference(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    signatures = tf.saved_model.load(str(path)).signatures
    run = (
        signatures["serving_default"] if "serving_default" in signatures else next(iter(signatures.values()))
    )
    specs = run.structured_input_signature[1]
    fed = {
        key: inputs[key] if key in inputs else uniform(*[size or 1 for size in spec.shape])
        for key, spec in specs.items()
    }
    outputs = run(**{key: tf.constant(value) for key, value in fed.items()})
    return {f"in_{key}": value for key, value in fed.items()} | {
        f"out_{key}": value.numpy() for key, value in outputs.items()
    }


MAKERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    maker.__name__: maker
    for maker in (
        keras_cnn,
        keras_two_inputs,
        module_with_signature,
        variables_of_one_name,
        one_signature_of_another_name,
        first_generation,
        constant_output,
        input_with_a_default,
    )
}

if __name__ == "__main__":
    root = Path(sys.argv[1])
    for name, make in MAKERS.items():
        target = root / name
        target.mkdir(parents=True)
        np.savez(
            target / "reference.npz",
            allow_pickle=False,
            **reference(target / "model", make(target / "model")),
        )
