"""Operations that Keras 2 wrote into models and that Keras 3 does not know."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from ovms_converter.errors import UnsupportedModelError

__all__ = [
    "EXPORT_AS_BEFORE",
    "TensorOperation",
    "ThresholdedReLU",
    "check_function",
    "hard_sigmoid_of_keras_2",
]

EXPORT_AS_BEFORE = (
    'save it as a SavedModel with the Keras that wrote it (`model.save("saved_model", save_format="tf")`), '
    "and convert that directory"
)
"""What an owner can do about a model that Keras 3 has no equal of."""


def hard_sigmoid_of_keras_2(x: Any) -> Any:
    """Keras 2's `hard_sigmoid`; the one of Keras 3 has another slope."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _reduced(reduce: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis=None, keepdims=False: reduce(x, axis=axis, keepdims=keepdims)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "__operators__.add": lambda x, y: ops.add(x, y),
    "__operators__.ne": lambda x, y: ops.not_equal(x, y),
    "__operators__.eq": lambda x, y: ops.equal(x, y),
    "cast": lambda x, dtype: ops.cast(x, dtype),
    "clip_by_value": lambda x, clip_value_min, clip_value_max: ops.clip(x, clip_value_min, clip_value_max),
    "concat": lambda x, axis: ops.concatenate(x, axis=axis),
    "expand_dims": lambda x, axis: ops.expand_dims(x, axis),
    "identity": lambda x: x,
    "linalg.matmul": lambda x, b: ops.matmul(x, b),
    "math.abs": lambda x: ops.abs(x),
    "math.add": lambda x, y: ops.add(x, y),
    "math.divide": lambda x, y: ops.divide(x, y),
    "math.exp": lambda x: ops.exp(x),
    "math.log": lambda x: ops.log(x),
    "math.maximum": lambda x, y: ops.maximum(x, y),
    "math.minimum": lambda x, y: ops.minimum(x, y),
    "math.multiply": lambda x, y: ops.multiply(x, y),
    "math.negative": lambda x: ops.negative(x),
    "math.pow": lambda x, y: ops.power(x, y),
    "math.reduce_max": _reduced(ops.max),
    "math.reduce_mean": _reduced(ops.mean),
    "math.reduce_min": _reduced(ops.min),
    "math.reduce_sum": _reduced(ops.sum),
    "math.sigmoid": lambda x: ops.sigmoid(x),
    "math.sqrt": lambda x: ops.sqrt(x),
    "math.square": lambda x: ops.square(x),
    "math.subtract": lambda x, y: ops.subtract(x, y),
    "math.tanh": lambda x: ops.tanh(x),
    "math.truediv": lambda x, y: ops.true_divide(x, y),
    "nn.elu": lambda x: ops.elu(x),
    "nn.relu": lambda x: ops.relu(x),
    "nn.relu6": lambda x: ops.relu6(x),
    "nn.sigmoid": lambda x: ops.sigmoid(x),
    "nn.softmax": lambda x, axis=-1: ops.softmax(x, axis=axis),
    "nn.tanh": lambda x: ops.tanh(x),
    "reshape": lambda x, shape: ops.reshape(x, shape),
    "squeeze": lambda x, axis=None: ops.squeeze(x, axis=axis),
    "stack": lambda x, axis=0: ops.stack(x, axis=axis),
    "tile": lambda x, multiples: ops.tile(x, multiples),
    "transpose": lambda x, perm=None: ops.transpose(x, perm),
}
"""TensorFlow's functions by the names that Keras 2 writes, on Keras' own operations."""


def check_function(function: object, layer: object) -> None:
    """Raise `UnsupportedModelError` if `TensorOperation` has no equal of a function that a layer names."""
    if function not in _FUNCTIONS:
        raise UnsupportedModelError(
            f"the layer `{layer}` is TensorFlow's operation `{function}`, which Keras 3 lacks",
            hint=EXPORT_AS_BEFORE,
        )


class TensorOperation(keras.layers.Layer):  # type: ignore[misc]
    """Keras 2's layer for an operation that is written on tensors: `a + b`, `tf.nn.relu(a)`."""

    def __init__(self, function: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self._function = function

    def call(self, x: Any, keywords: Mapping[str, Any] | None = None) -> Any:
        """The operation with the arguments that the model recorded."""
        return _FUNCTIONS[self._function](x, **(keywords or {}))


class ThresholdedReLU(keras.layers.Layer):  # type: ignore[misc]
    """Keras 2's layer: x where it is above `theta`, else 0."""

    def __init__(self, theta: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self._theta = float(theta)

    def call(self, x: Any) -> Any:
        """The values above the threshold."""
        return ops.where(x > self._theta, x, ops.zeros_like(x))
