"""Formats that OpenVINO does not read: their own library exports them, in a process without a network.

What comes out, ONNX or IR, goes the usual way as if the user had given it. Importing this package imports
neither numpy nor any framework; only the process of `__main__` does, and there only the one that is needed.
"""

from collections.abc import Mapping

from ovms_converter.frameworks.base import Framework

__all__ = ["FRAMEWORKS", "OPENERS"]

_KERAS = Framework(
    "keras",
    "Keras",
    exporting={"KERAS_BACKEND": "openvino"},
)

_TORCH = Framework("torch", "PyTorch")

_SERIAL = {"JOBLIB_MULTIPROCESSING": "0"}  # there is no `/dev/shm` for its semaphores, of which it would warn
_SKLEARN = Framework("sklearn", "scikit-learn", exporting=_SERIAL, running=_SERIAL)
_XGBOOST = Framework("sklearn", "XGBoost", exporting=_SERIAL, running=_SERIAL)
_LIGHTGBM = Framework("sklearn", "LightGBM", exporting=_SERIAL, running=_SERIAL)

FRAMEWORKS: Mapping[str, Framework] = {
    **dict.fromkeys(("sklearn.skops", "sklearn.pickle", "sklearn.cloudpickle", "sklearn.joblib"), _SKLEARN),
    "xgboost.pkl": _XGBOOST,
    **dict.fromkeys(("lightgbm.skops", "lightgbm.pkl"), _LIGHTGBM),
    "keras.keras": _KERAS,
    "keras.h5": _KERAS,
    "pytorch.torchscript": _TORCH,
    "pytorch.export": _TORCH,
    "pytorch.pickle": _TORCH,
}
"""Who exports which format, by the format's name."""

_TENSORFLOW = Framework(
    "tensorflow",
    "TensorFlow",
    running={"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"},
)

OPENERS: Mapping[str, Framework] = {
    **FRAMEWORKS,
    "tensorflow.saved_model": _TENSORFLOW,
    "tensorflow.frozen": _TENSORFLOW,
    "tflite": _TENSORFLOW,
    "xgboost": Framework("boosters", "XGBoost"),
    "lightgbm": Framework("boosters", "LightGBM"),
}
"""Who runs the source of which format; those that are not in `FRAMEWORKS` OpenVINO reads itself."""
