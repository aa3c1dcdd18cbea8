"""ONNX operators that OpenVINO's front end has no rule for, and this package has.

Told without openvino, for those who look at a model before it is fetched; the rules are in `repairs`.
"""

__all__ = ["OWN_RULES"]

OWN_RULES = frozenset(
    (
        "CausalConvWithState", "CumProd", "DeformConv", "Det", "DynamicSlice", "LinearAttention", "MaxUnpool",
        "SwiGLU", "TensorScatter",
    )
)  # fmt: skip
"""Of ONNX's own domain."""
