"""Make the model that `ovms-converter demo` converts: trained by Keras, saved by MLflow, as a SavedModel.

    python -m venv /tmp/demo && /tmp/demo/bin/pip install tensorflow-cpu mlflow scikit-learn
    /tmp/demo/bin/python tools/make_demo_model.py

It learns the 1797 handwritten digits that come with scikit-learn (E. Alpaydin and C. Kaynak, "Optical
Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0). The result lies in the
package and is not made again by the tests: the same code gives other weights on another machine.
"""

import json
import os
import shutil
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import mlflow.tensorflow
import numpy as np
import tensorflow as tf
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DEMO = Path(__file__).parent.parent / "src" / "ovms_converter" / "demo"
SHOWN = 4
"""How many digits that the model has not seen are kept for the demonstration."""


class Digits(tf.Module):  # type: ignore[misc]
    """The network behind one signature with names: `image` in, `digit` out."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, "image")])  # type: ignore[untyped-decorator]
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"digit": self.network(image)}


def main() -> None:
    keras.utils.set_random_seed(7)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.2, random_state=7, stratify=labels
    )
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train_x, train_y, epochs=30, batch_size=32, verbose=0)
    _, accuracy = model.evaluate(test_x, test_y, verbose=0)
    print(f"accuracy on {len(test_x)} digits that it has not seen: {accuracy:.3f}")

    target = DEMO / "model"
    shutil.rmtree(target, ignore_errors=True)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 8, 8, 1), "image")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 10), "digit")]),
    )
    mlflow.tensorflow.save_model(Digits(model), str(target), signature=signature)

    different = [int(np.flatnonzero(test_y == digit)[0]) for digit in range(SHOWN)]
    shown = [
        {"label": int(test_y[i]), "pixels": test_x[i].reshape(8, 8).astype(int).tolist()} for i in different
    ]
    (DEMO / "digits.json").write_text(json.dumps(shown) + "\n")


if __name__ == "__main__":
    main()
