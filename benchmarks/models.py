"""The models of the benchmarks, with seeded random weights.

mlp-1g         16 MatMul of 4096 x 4096, 1 GiB, external data
mlp-4g         64 of them, 4 GiB
mlp-inline     1 GiB inside the .onnx file
resnet50       ResNet-50's convolutions, 102 MB, inside the .onnx file
resnet50-keras Keras' ResNet-50 as SavedModel, 198 MB; a Python with TensorFlow makes it
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

__all__ = ["MODELS", "SAVED_MODELS", "make"]

_KERAS = """
import sys
import tensorflow as tf
tf.keras.utils.set_random_seed(0)
tf.keras.applications.ResNet50(weights=None).export(sys.argv[1])
"""


def write_mlp(path: Path, layers: int, *, external: bool = True, width: int = 4096) -> None:
    """A chain of `layers` MatMul + Relu of `width` x `width` float32 each, with a free batch."""
    generator = np.random.default_rng(0)
    graph = onnx.GraphProto(name="mlp")
    weights_path = path.with_name(f"{path.name}.data")
    value = "x"
    with weights_path.open("wb") as weights:
        for layer in range(layers):
            data = generator.standard_normal((width, width), dtype=np.float32) / np.float32(np.sqrt(width))
            tensor = graph.initializer.add(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=data.shape)
            if external:
                tensor.data_location = TensorProto.EXTERNAL
                place = {"location": weights_path.name, "offset": weights.tell(), "length": data.nbytes}
                for key, entry in place.items():
                    tensor.external_data.add(key=key, value=str(entry))
                weights.write(data.tobytes())
            else:
                tensor.raw_data = data.tobytes()
            graph.node.append(helper.make_node("MatMul", [value, f"w{layer}"], [f"m{layer}"]))
            graph.node.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
            value = f"r{layer}"
    if not external:
        weights_path.unlink()
    _write(graph, path, value, ["N", width], ["N", width])


def write_resnet50(path: Path) -> None:
    """The convolutions, shortcuts and classifier of ResNet-50 (batch norms folded), 25.5 million weights."""
    generator = np.random.default_rng(0)
    graph = onnx.GraphProto(name="resnet50")

    def weight(name: str, *shape: int) -> str:
        data = generator.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
        graph.initializer.append(onnx.numpy_helper.from_array(data, name))
        return name

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind.lower()}{len(graph.node)}"
        graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(value: str, taken: int, given: int, size: int, stride: int = 1) -> str:
        name = f"conv{len(graph.node)}"
        kernel = weight(f"{name}.weight", given, taken, size, size)
        bias = weight(f"{name}.bias", given)
        return node("Conv", value, kernel, bias, strides=[stride] * 2, pads=[size // 2] * 4)

    value = node("Relu", convolution("x", 3, 64, 7, 2))
    value = node("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    taken = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = node("Relu", convolution(value, taken, width, 1))
            inner = node("Relu", convolution(inner, width, width, 3, stride))
            inner = convolution(inner, width, 4 * width, 1)
            shortcut = value if block else convolution(value, taken, 4 * width, 1, stride)
            value = node("Relu", node("Add", inner, shortcut))
            taken = 4 * width
    value = node("Flatten", node("GlobalAveragePool", value))
    value = node("Gemm", value, weight("fc.weight", 1000, taken), weight("fc.bias", 1000), transB=1)
    _write(graph, path, value, ["N", 3, 224, 224], ["N", 1000])


def _write(
    graph: onnx.GraphProto, path: Path, value: str, taken: Sequence[int | str], given: Sequence[int | str]
) -> None:
    graph.node.append(helper.make_node("Identity", [value], ["y"]))
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, taken))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, given))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with path.open("wb") as file:
        file.write(model.SerializeToString())


MODELS: Mapping[str, Callable[[Path], None]] = {
    "mlp-1g": partial(write_mlp, layers=16),
    "mlp-4g": partial(write_mlp, layers=64),
    "mlp-inline": partial(write_mlp, layers=16, external=False),
    "resnet50": write_resnet50,
}
"""What writes each ONNX model to a path."""

SAVED_MODELS: Mapping[str, str] = {"resnet50-keras": _KERAS}
"""The program that writes each SavedModel to a path, for a Python with TensorFlow."""


def make(name: str, directory: Path, tensorflow: Path | None = None) -> Path:
    """Write a model below an existing directory; `tensorflow` is a Python that has it, for a SavedModel."""
    if name in MODELS:
        path = directory / f"{name}.onnx"
        MODELS[name](path)
        return path
    if tensorflow is None:
        raise SystemExit(f"{name} needs `--tensorflow PYTHON`, a Python with the package `tensorflow`")
    path = directory / name
    # without the GPU and the megabytes of advice
    environ = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "HOME": str(directory)}
    command = [str(tensorflow), "-c", SAVED_MODELS[name], str(path)]
    subprocess.run(command, check=True, env=environ, capture_output=True)
    return path
