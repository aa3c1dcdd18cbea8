"""Write small models with TensorFlow: `python make_tensorflow_models.py DIRECTORY`. Run by the tests."""

# mypy: disable-error-code="misc, untyped-decorator"

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


class Image(tf.Module):
    """`image` [N,6,6,3] and `gain` through a convolution to `features`, scaled to `scores`."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(3)
        self.weights = tf.Variable(generator.standard_normal((3, 3, 3, 5), dtype=np.float32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 6, 6, 3], tf.float32, "image"),
            tf.TensorSpec([], tf.float32, "gain"),
        ]
    )
    def serve(self, image: tf.Tensor, gain: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.nn.conv2d(image, self.weights, 1, "VALID", name="convolved")
        return {"features": tf.identity(features), "scores": features * gain}

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 3], tf.float32, "image")])
    def mean(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(image, [1, 2])}


class Writing(tf.Module):
    """A model that writes a file whenever it runs, and computes as if it did not."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.io.write_file(self.path, "written")
        tf.print("seen", output_stream=f"file://{self.path}")
        return {"y": x * 2.0}


class Table(tf.Module):
    """A lookup, which must be filled when the model is loaded."""

    def __init__(self) -> None:
        super().__init__()
        keys = tf.constant([1, 2, 3], tf.int64)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, tf.constant([10.0, 20.0, 30.0])), -1.0
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.table.lookup(x)}


def main(directory: Path) -> None:
    image = Image()
    signatures = {"serving_default": image.serve, "mean": image.mean}
    tf.saved_model.save(image, directory / "image", signatures=signatures)
    writing = Writing(directory / "written.txt")
    tf.saved_model.save(writing, directory / "writing", signatures=writing.serve)
    table = Table()
    tf.saved_model.save(table, directory / "table", signatures=table.serve)
    function = image.serve.get_concrete_function()
    frozen = convert_variables_to_constants_v2(function)
    (directory / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], image)
    (directory / "float.tflite").write_bytes(converter.convert())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([image.mean.get_concrete_function()], image)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [np.random.default_rng(seed).random((1, 6, 6, 3), dtype=np.float32)] for seed in range(8)
    )
    (directory / "quantized.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
