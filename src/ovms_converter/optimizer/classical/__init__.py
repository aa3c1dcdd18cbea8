"""Classical machine learning in plain ONNX operators: trees, linear models, support vector machines.

OpenVINO has no operator of the domain ai.onnx.ml. Each is written with plain ones that compute the same, as
ONNX Runtime does, which exporters are tested against.
"""
