"""What the formats of one file say about themselves, in the same words for each."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ovms_converter.formats.base import TensorSpec

__all__ = ["Contents", "Node", "Numbers"]


class Node(NamedTuple):
    """An operation in a graph; `name` is its own, or that of its first output."""

    operation: str
    name: str


class Numbers(NamedTuple):
    """A tensor that is stored in the model: numpy's type, how many numbers, how many bytes."""

    type: str
    elements: int
    bytes: int


@dataclass(frozen=True)
class Contents:
    """Everything that a graph declares.

    `domain`      of its operations, such as `tflite`
    `weights`     None if the file does not tell
    `signatures`  name → inputs and outputs
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    domain: str
    nodes: tuple[Node, ...]
    weights: tuple[Numbers, ...] | None
    producer: str | None = None
    signatures: Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = field(
        default_factory=dict
    )

    def operations(self) -> Mapping[str, Mapping[str, int]]:
        """Domain → operation → count, most frequent first."""
        counts = Counter(node.operation for node in self.nodes)
        return {self.domain: dict(counts.most_common())} if counts else {}
