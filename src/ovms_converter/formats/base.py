"""What a format is, and what is known of a model before it is converted.

A format looks at names and at a few bytes. It loads nothing and imports neither numpy nor openvino.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Files", "Format", "MLflowModel", "SourceModel", "TensorSpec"]


@dataclass(frozen=True)
class TensorSpec:
    """A named input, output or weight as its source declares it.

    `type` is numpy's name (`float32`, `bfloat16`) or `string`; `shape` is None if the rank is unknown, and in it a
    dimension is a number, None (dynamic) or a name (dynamic, ONNX's `dim_param`).
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        dims = (
            "[...]"
            if self.shape is None
            else f"[{','.join('?' if d is None else str(d) for d in self.shape)}]"
        )
        return f"{self.name} {self.type} {dims}"


class Files(Protocol):
    """A tree of files, here or in a store, of which a little is read."""

    def sizes(self) -> Mapping[str, int | None]:
        """The bytes of every file by its relative POSIX path."""

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`."""


@dataclass(frozen=True)
class MLflowModel:
    """What an `MLmodel` file says; a guide, never a proof.

    `flavors` holds the native flavors' mappings (without `python_function`), `signature` MLflow's parsed signature.
    """

    directory: str
    mlflow_version: str | None
    flavors: Mapping[str, Mapping[str, Any]]
    python_function: Mapping[str, Any] = field(default_factory=dict)
    signature: Mapping[str, Any] | None = None
    model_uuid: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class SourceModel:
    """A recognised model.

    `format`    "onnx" or "tensorflow.saved_model" (later more)
    `path`      the file or directory that is the model, relative to the tree; "" is the tree itself
    `needs`     every file that must be fetched to convert it, relative to the tree, sorted; for ONNX without its
                external data, which only the fetched graph names (`Format.companions`)
    `stem`      the file name of the result without its ending: `saved_model`, or the ONNX file's stem
    `evidence`  one line that says why we think so
    """

    format: str
    path: str
    needs: tuple[str, ...]
    stem: str
    evidence: str
    mlflow: MLflowModel | None = None


class Format(Protocol):
    """One format. `recognise` answers None if this is something else, and raises `ModelError` if it is broken."""

    name: str

    def recognise(self, files: Files) -> SourceModel | None:
        """Look for this format in a tree (or single file) that carries no `MLmodel`."""

    def companions(self, root: Path, model: SourceModel) -> tuple[str, ...]:
        """Further files that the fetched model refers to (ONNX external data), relative to the tree, each checked to stay in it."""
