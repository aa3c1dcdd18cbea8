"""Which operations OpenVINO's front ends have conversion rules for, and what helps where they have none.

The list is data that `tools/operation_coverage.py` asks of an openvino. Of another openvino it is a hint.
"""

import importlib.metadata
import importlib.resources
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from ovms_converter.formats.onnx import CLASSICAL_DOMAIN, CLASSICAL_OPERATIONS
from ovms_converter.optimizer.own_rules import OWN_RULES

__all__ = ["Coverage", "coverage", "has_rule", "workaround"]

_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")

_UNASKED = ("tflite", "paddle")

_ONNX_ADVICE = (
    (
        ("Sequence", "Optional"),
        "export with single tensors: OpenVINO has no sequences or optional values",
    ),
    (
        ("String", "RegexFullMatch", "TfIdfVectorizer", "LabelEncoder", "CategoryMapper"),
        "do the text processing in the client and export the part behind it",
    ),
    (("ImageDecoder",), "decode in the client, and export the part that takes the decoded image"),
    (
        ("Gradient", "Momentum", "Adam", "Adagrad", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"),
        "export the model for inference (`model.eval()`), without its loss and optimizer",
    ),
)
_TENSORFLOW_ADVICE = (
    (
        ("Decode", "Encode", "ReadFile", "ImageSummary"),
        "decode in the client: export a signature that takes the decoded tensor, or cut with `--input`",
    ),
    (
        ("ParseExample", "ParseSingle", "IO"),
        "export a signature that takes plain tensors in place of `tf.Example` protos",
    ),
    (
        ("String", "Regex", "AsString", "Unicode", "Lookup", "Hash", "Tokenize", "Substr"),
        "do the text processing in the client and export the part behind it, or cut with `--input`",
    ),
    (("PyFunc", "EagerPyFunc", "PyFuncStateless"), "it calls Python: write it with TensorFlow operations"),
)


@dataclass(frozen=True)
class Coverage:
    """Which openvino the operations were judged by, and which one is installed (None: none is)."""

    openvino: str
    installed: str | None

    @property
    def matches(self) -> bool:
        """Whether what is said of operations is said of the installed openvino."""
        return self.openvino == self.installed


@cache
def _rules() -> tuple[str, Mapping[str, frozenset[str]]]:
    """The openvino that was asked, and domain → operations."""
    data = json.loads(importlib.resources.files(__package__).joinpath("operations.json").read_text("utf-8"))
    domains = data["onnx"] | {"tensorflow": data["tensorflow"]}
    return data["openvino"], {domain: frozenset(names) for domain, names in domains.items()}


def coverage() -> Coverage:
    """Which openvino the list was made for, and which one is installed; read without importing it."""
    try:
        installed = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        installed = None
    return Coverage(_rules()[0], installed)


def has_rule(domain: str, operation: str) -> bool:
    """Whether there is a conversion rule, or one of our own; TensorFlow's domain is `tensorflow`.

    Nothing is known of the front ends of TFLite and Paddle, so nothing is said against their operations.
    """
    if domain == CLASSICAL_DOMAIN:
        return operation in CLASSICAL_OPERATIONS
    known = _rules()[1].get(domain, frozenset())
    return domain in _UNASKED or operation in known or (domain == "ai.onnx" and operation in OWN_RULES)


def workaround(domain: str, operation: str) -> str:
    """One line: what its owner can do."""
    if domain == "tensorflow":
        cut = "cut it off with `--input` or `--output`, or replace it where the model was built"
        return _matching(operation, _TENSORFLOW_ADVICE) or cut
    if domain == CLASSICAL_DOMAIN:
        return "prepare maps and texts before the model, and export what takes and gives numbers"
    if domain in _RUNTIME_DOMAINS:
        return "export the model without ONNX Runtime's optimizer, which put this operator in"
    if domain != "ai.onnx":
        return "it is an operator of its author's own: export with standard ONNX operators"
    cut = "cut it off with `--input` or `--output`, or export with another opset"
    return _matching(operation, _ONNX_ADVICE) or cut


def _matching(operation: str, advice: Iterable[tuple[tuple[str, ...], str]]) -> str | None:
    return next((text for parts, text in advice if any(part in operation for part in parts)), None)
