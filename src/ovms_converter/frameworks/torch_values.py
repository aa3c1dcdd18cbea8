"""What goes into a PyTorch program and comes out of it: one tensor of either, and how NumPy has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ovms_converter.formats.base import shape_text

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array

__all__ = ["Dims", "Input", "Leaf", "array", "leaves", "sample", "tensor"]

Dims = tuple[int | None, ...]
Leaf = tuple[str | None, torch.Tensor]


@dataclass(frozen=True)
class Input:
    """One tensor that the program takes.

    `name`   the public one; `own` the program's
    `type`   PyTorch's name of it, None if not known
    `shape`  None if even the rank is not known; None in it is a free dimension
    `likely` shapes that the layer which reads it would accept, best first; `usual` the type it mostly reads
    `typical` a shape as its first layers have it: for advice only, as nothing says that they read this input
    """

    own: str
    type: str | None = None
    shape: Dims | None = None
    likely: tuple[Dims, ...] = ()
    name: str = ""
    usual: str | None = None
    typical: Dims | None = None

    def __str__(self) -> str:
        return f"{self.name}{shape_text(self.shape)}"


def sample(ports: Sequence[Input], batch: int, size: int) -> list[torch.Tensor]:
    """Made-up values: noise for floats, zeros for indices, ones for truth values."""
    generator = torch.Generator().manual_seed(0)
    values = []
    for port in ports:
        dims = [
            batch if known is None and not position else size if known is None else known
            for position, known in enumerate(port.shape or ())
        ]
        kind = getattr(torch, port.type or "float32")
        if kind.is_floating_point:
            values.append(torch.randn(dims, generator=generator).to(kind))
        else:
            values.append(
                torch.ones(dims, dtype=kind) if kind is torch.bool else torch.zeros(dims, dtype=kind)
            )
    return values


def leaves(result: Any, key: str | None = None) -> list[Leaf]:
    """The tensors in a result, in order, each with the key that it has in a dictionary; no plain numbers."""
    if isinstance(result, torch.Tensor):
        return [(key, result)]
    if isinstance(result, dict):
        return [leaf for name, item in result.items() for leaf in leaves(item, str(name))]
    if isinstance(result, (list, tuple)):
        return [leaf for item in result for leaf in leaves(item)]
    return []


def tensor(value: "Array", port: Input) -> torch.Tensor:
    """An array as the program takes it; NumPy has no bfloat16, which comes as a wider float."""
    return torch.from_numpy(np.ascontiguousarray(value)).to(getattr(torch, port.type or "float32"))


def array(value: torch.Tensor) -> "Array":
    """A result as NumPy knows it."""
    value = value.detach().resolve_conj().resolve_neg().cpu()
    found: Array = value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
    return found
