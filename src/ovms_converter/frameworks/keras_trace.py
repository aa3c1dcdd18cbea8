"""A Keras model as an OpenVINO graph: its OpenVINO backend called with parameters of our own.

Keras' own `export(format="openvino")` loses the names, fixes the batch and fails with several inputs.
"""

import keras
import openvino as ov
from keras.src import tree
from keras.src.backend.openvino.core import OPENVINO_DTYPES, OpenVINOKerasTensor
from openvino import opset16 as opset

__all__ = ["trace"]


def trace(model: keras.Model) -> ov.Model:
    """The graph of a model with Keras' names of inputs and outputs and every free dimension left free."""
    parameters = []
    arguments = []
    for tensor in model.inputs:
        shape = ov.PartialShape([-1 if size is None else size for size in tensor.shape])
        parameter = opset.parameter(shape, OPENVINO_DTYPES[str(tensor.dtype)])
        parameter.set_friendly_name(tensor.name)
        parameter.output(0).get_tensor().set_names({tensor.name})
        parameters.append(parameter)
        arguments.append(OpenVINOKerasTensor(parameter.output(0)))
    structure = tree.pack_sequence_as(model._inputs_struct, arguments)
    results = tree.flatten(model(structure, training=False))
    names = list(getattr(model, "output_names", None) or [])
    graph = ov.Model([opset.result(result.output) for result in results], parameters, model.name)
    for number, output in enumerate(graph.outputs):
        name = names[number] if number < len(names) else f"output_{number}"
        output.get_tensor().set_names({name})
    return graph
