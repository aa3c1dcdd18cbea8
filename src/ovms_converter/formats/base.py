"""What a format is, and what is known of a model before it is converted.

A format looks at names and at a few bytes. It loads nothing and imports neither numpy nor openvino.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ovms_converter.formats.tree import Tree

__all__ = ["Files", "Format", "MLflowModel", "ModelDescription", "SourceModel", "TensorSpec", "shape_text"]


@dataclass(frozen=True)
class TensorSpec:
    """A named input, output or weight as its source declares it.

    `type` is numpy's name (`float32`, `bfloat16`), `string` or `unknown`; `shape` is None if the rank is
    unknown, and in it a dimension is a number, None (dynamic) or a name (dynamic, ONNX's `dim_param`).
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        return f"{self.name} {self.type} {shape_text(self.shape)}"


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """A shape as a person reads it: `[?,3,224,224]`, or `[...]` where not even the rank is known."""
    if shape is None:
        return "[...]"
    return f"[{','.join('?' if size is None else str(size) for size in shape)}]"


class Files(Protocol):
    """A tree of files, here or in a store, of which a little is read."""

    def sizes(self) -> Mapping[str, int | None]:
        """The bytes of every file by its relative POSIX path; None where nobody has told them yet."""

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`."""


@dataclass(frozen=True)
class MLflowModel:
    """What an `MLmodel` file says; a guide, never a proof.

    `example` is the path of the input example, relative to `directory`.
    `flavors` holds the native flavors' mappings (without `python_function`), `signature` MLflow's, parsed.
    All values are texts, lists, mappings, true/false or None: a number in the file is the text it is.
    """

    directory: str
    mlflow_version: str | None
    flavors: Mapping[str, Mapping[str, Any]]
    python_function: Mapping[str, Any] = field(default_factory=dict)
    signature: Mapping[str, Any] | None = None
    model_uuid: str | None = None
    run_id: str | None = None
    example: str | None = None


@dataclass(frozen=True)
class ModelDescription:
    """What a model says about itself, as far as it can be read without a framework.

    `producer`    the program that wrote it, with its version
    `inputs`, `outputs`  of the model, or of the signature that would be converted
    `signatures`  a SavedModel's, by name: inputs and outputs of each
    `tags`        a SavedModel's, of each meta graph
    `opsets`      ONNX: domain → version; the default domain is `ai.onnx`
    `operations`  domain → operation → count, most frequent first; TensorFlow's domain is `tensorflow`
    `parameters`  number of weight elements, `parameter_bytes` their size at their own type; None if unknown
    `notes`       further facts, one line each
    """

    format: str
    title: str
    evidence: str
    producer: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    signatures: Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = field(
        default_factory=dict
    )
    tags: tuple[tuple[str, ...], ...] = ()
    opsets: Mapping[str, int] = field(default_factory=dict)
    operations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    parameters: int | None = None
    parameter_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceModel:
    """A recognised model.

    `format`    the name of a `Format`: "onnx", "tensorflow.saved_model", or one that is only recognised
    `path`      the file or directory that is the model, relative to the tree; "" is the tree itself
    `needs`     every file that must be fetched to convert it, relative to the tree, sorted; for ONNX without
                its external data, which only the fetched graph names (`Format.companions`)
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
    """One format: a row of `ovms_converter.formats.FORMATS`."""

    @property
    def name(self) -> str:
        """What `input_format` and a report call it."""

    @property
    def title(self) -> str:
        """What a sentence calls it: "a Keras archive"."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings, lower case, of files that are looked into wherever they are in a tree."""

    @property
    def convertible(self) -> bool:
        """Whether it can become OpenVINO IR here; the others exist to be refused by name."""

    def find(self, tree: "Tree", /) -> Iterator[SourceModel]:
        """Every model of this format in a tree, judged by names and a few bytes."""

    def confirm(self, tree: "Tree", model: SourceModel, /) -> None:
        """Raise `ModelError` if a found model is broken or unsupported, as far as a few bytes tell."""

    def companions(
        self, root: Path, model: SourceModel, files: Files | None, cut: bool, /
    ) -> tuple[str, ...]:
        """Read the fetched model: raise `ModelError` if it is no good, else name the files it refers to.

        See `ovms_converter.formats.companions`.
        """

    def describe(self, tree: "Tree", model: SourceModel, /) -> ModelDescription:
        """What the model says about itself."""
