"""Shapes that a layer of `torch.nn` reads: what the layer behind an input tells of that input."""

import inspect
import operator

import torch

from ovms_converter.frameworks.torch_values import Dims

__all__ = ["first_shape", "likely"]

_DEPTH = 8
"""How many operations there may be between an input and the layer that reads it."""

_FUNCTIONS = (operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.sub, torch.mul)
_METHODS = ("add", "clone", "contiguous", "detach", "div", "double", "float", "half", "mul", "sub", "to")
_LAYERS = (torch.nn.Dropout, torch.nn.Identity, torch.nn.ReLU, torch.nn.Sigmoid, torch.nn.Tanh)
"""Operations that leave a shape as it is, mostly: functions, methods, layers."""


def likely(module: torch.nn.Module) -> dict[str, tuple[Dims, ...]]:
    """By the name of each argument of `forward` the shapes that the layer which reads it takes.

    An argument that passes through what may change its shape has none, nor has any of a module that
    PyTorch cannot follow without running it (`torch.fx`).
    """
    own = _shapes(module)
    if own:
        return dict.fromkeys(list(inspect.signature(module.forward).parameters)[:1], own)
    try:
        graph = torch.fx.Tracer().trace(module)
    except Exception:  # noqa: BLE001 - the module's own code meets values that are none
        return {}
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    return {str(node.target): _read_by(node, module, _DEPTH) for node in inputs}


def first_shape(module: torch.nn.Module) -> Dims | None:
    """The shape that the first layer takes, or one behind it that knows the rank; for advice only."""
    found = [(layer, shapes[0]) for layer in module.modules() if (shapes := _shapes(layer))]
    sequences = [shape for layer, shape in found if _reads_sequences(layer)]
    if not found:
        return None
    first, shape = found[0]
    if sequences and isinstance(first, torch.nn.Linear):
        return (*sequences[0][:-1], shape[-1])
    return shape


def _read_by(node: torch.fx.Node, module: torch.nn.Module, depth: int) -> tuple[Dims, ...]:
    for user in node.users:
        layer = module.get_submodule(str(user.target)) if user.op == "call_module" else None
        found = _shapes(layer) if layer is not None and node in user.args else ()
        if found:
            return found
        same = (
            isinstance(layer, _LAYERS)
            or (user.op == "call_function" and user.target in _FUNCTIONS)
            or (user.op == "call_method" and user.target in _METHODS and user.args[0] is node)
        )
        if same and depth:
            found = _read_by(user, module, depth - 1)
            if found:
                return found
    return ()


def _reads_sequences(layer: torch.nn.Module) -> bool:
    return isinstance(layer, torch.nn.RNNBase) or _attention(layer) is not None


def _shapes(layer: torch.nn.Module) -> tuple[Dims, ...]:
    """The shapes of what a layer takes, most likely first; none if it tells nothing of them.

    Recurrent layers and attention also take a sequence without a batch.
    """
    width = _attention(layer)
    if width is not None:
        return ((None, None, width), (None, width))
    if isinstance(layer, torch.nn.RNNBase):
        return ((None, None, layer.input_size), (None, layer.input_size))
    if isinstance(layer, torch.nn.RNNCellBase):
        return ((None, layer.input_size),)
    if isinstance(layer, torch.nn.Linear):
        return tuple((*(None,) * rank, layer.in_features) for rank in (1, 2, 3))
    if isinstance(layer, torch.nn.modules.conv._ConvNd):
        return ((None, layer.in_channels, *(None,) * (layer.weight.ndim - 2)),)
    if isinstance(layer, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
        return ((None, None), (None,))
    if isinstance(layer, torch.nn.modules.batchnorm._NormBase):
        return _normalised(layer)
    if isinstance(layer, torch.nn.LayerNorm):
        return tuple((*(None,) * rank, *layer.normalized_shape) for rank in (1, 2, 3))
    return ()


def _normalised(layer: torch.nn.modules.batchnorm._NormBase) -> tuple[Dims, ...]:
    for dimensions in (1, 2, 3):
        if type(layer).__name__.endswith(f"{dimensions}d"):
            whole = (None, layer.num_features, *(None,) * dimensions)
            return ((None, layer.num_features), whole) if dimensions == 1 else (whole,)
    return ()


def _attention(layer: torch.nn.Module) -> int | None:
    """The length of the vectors that a layer made of attention reads."""
    if isinstance(layer, torch.nn.MultiheadAttention):
        return int(layer.embed_dim)
    if isinstance(layer, torch.nn.Transformer):
        return int(layer.d_model)
    if isinstance(layer, (torch.nn.TransformerEncoder, torch.nn.TransformerDecoder)):
        return _attention(layer.layers[0]) if len(layer.layers) else None
    if isinstance(layer, (torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer)):
        return int(layer.self_attn.embed_dim)
    return None
