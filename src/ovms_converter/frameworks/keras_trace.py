"""A Keras model as an OpenVINO graph: its OpenVINO backend called with parameters of our own.

Keras' own `export(format="openvino")` loses the names, fixes the batch and fails with several inputs.
"""

from typing import Any

import keras
import openvino as ov
from keras.src import tree
from keras.src.backend.openvino.core import OPENVINO_DTYPES, OpenVINOKerasTensor
from openvino import opset16 as opset

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.frameworks.keras_names import input_structure, named_inputs, named_outputs

__all__ = ["trace"]


def trace(model: keras.Model) -> ov.Model:
    """The graph of a model with Keras' names of inputs and outputs and every free dimension left free.

    Raises `UnsupportedModelError` for a model without declared inputs and for inputs that are no tensors.
    """
    parameters = []
    for name, tensor in named_inputs(model):
        parameter = opset.parameter(_shape(tensor), _type(name, tensor))
        parameter.set_friendly_name(name)
        parameter.output(0).get_tensor().set_names({name})
        parameters.append(parameter)
    arguments = [OpenVINOKerasTensor(parameter.output(0)) for parameter in parameters]
    given = tree.pack_sequence_as(input_structure(model), arguments)
    found = named_outputs(model, model(given, training=False))
    taken: set[ov.Output] = {parameter.output(0) for parameter in parameters}
    results = []
    for _, tensor in found:
        # Names belong to a tensor: one that is an input or another output as well would lose its own.
        result = tensor.output
        if result in taken:
            result = opset.convert(result, result.get_element_type()).output(0)
        taken.add(result)
        results.append(opset.result(result))
    graph = ov.Model(results, parameters, model.name)
    for output, (name, _) in zip(graph.outputs, found, strict=True):
        output.get_node().set_friendly_name(name)
        output.get_tensor().set_names({name})
    return graph


def _shape(tensor: Any) -> ov.PartialShape:
    return ov.PartialShape([-1 if size is None else size for size in tensor.shape])


def _type(name: str, tensor: Any) -> ov.Type:
    kind = str(tensor.dtype)
    dense = not (getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False))
    if not dense or kind not in OPENVINO_DTYPES:
        raise UnsupportedModelError(
            f"the input `{name}` of the model is {'of the type ' + kind if dense else 'no plain tensor'}",
            hint="cut off what comes before the numbers, and save the model that begins after it",
        )
    return OPENVINO_DTYPES[kind]
