"""Formats of files that OpenVINO's own front ends read: TFLite, PaddlePaddle, frozen TensorFlow graphs, IR.

None of them runs code when it is read, and none needs the framework that it was made with.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.errors import CorruptModelError, NotFoundError
from ovms_converter.formats.base import Files, ModelDescription, SourceModel
from ovms_converter.formats.contents import Contents
from ovms_converter.formats.frozen import read_frozen
from ovms_converter.formats.paddle import read_paddle
from ovms_converter.formats.refused import Finding, file_match, magic
from ovms_converter.formats.tflite import read_tflite
from ovms_converter.formats.tree import Sample, Tree, Window
from ovms_converter.formats.wire import LENGTH, Message, fields
from ovms_converter.formats.words import naming

__all__ = ["FORMATS", "IR", "NativeFormat"]

_WORD = re.compile(rb"[A-Za-z_.>][A-Za-z0-9_.>\\/\-]*")


@dataclass(frozen=True)
class NativeFormat:
    """A `Format` of one file, with its weights inside or in one file beside it.

    `search`   finds the models of this format in a tree
    `weights`  the ending that the file of weights has in place of the model's own; "" if there is none
    `must`     whether a model without that file is broken; otherwise it may have no weights
    `contents` reads what the model declares; None if nothing here does
    """

    name: str
    title: str
    search: Callable[[Tree], Iterator[Finding]]
    suffixes: tuple[str, ...] = ()
    weights: str = ""
    must: bool = False
    contents: Callable[[Window], Contents] | None = None
    convertible: bool = True

    def find(self, tree: Tree) -> Iterator[SourceModel]:
        """Every file of this format."""
        for path, needs, evidence in self.search(tree):
            yield SourceModel(self.name, path, tuple(sorted(needs)), Path(path).stem or "model", evidence)

    def confirm(self, tree: Tree, model: SourceModel) -> None:
        """A few bytes tell no more than `find` has seen; the front end reads the rest."""

    def companions(self, root: Path, model: SourceModel, files: Files | None, cut: bool) -> tuple[str, ...]:
        """The file of weights. Raises `CorruptModelError` if it must be there and is not."""
        del cut
        if not self.weights:
            return ()
        path = _beside(model.path, self.weights)
        if _exists(root, path, files):
            return (path,)
        if self.must:
            raise CorruptModelError(
                f"`{model.path}` has its weights in `{path}`, which is missing",
                hint="store the two files beside each other, with the same name but for the ending",
            )
        return ()

    def describe(self, tree: Tree, model: SourceModel) -> ModelDescription:
        """What the graph declares; payloads of weights are not read."""
        found = self.read(tree, model)
        if found is None:
            return ModelDescription(self.name, self.title, model.evidence)
        weights = found.weights
        return ModelDescription(
            self.name,
            self.title,
            model.evidence,
            producer=found.producer,
            inputs=found.inputs,
            outputs=found.outputs,
            signatures=found.signatures,
            operations=found.operations(),
            parameters=None if weights is None else sum(each.elements for each in weights),
            parameter_bytes=None if weights is None else sum(each.bytes for each in weights),
        )

    def read(self, tree: Tree, model: SourceModel) -> Contents | None:
        """What the graph declares. Raises `CorruptModelError`; None if nothing reads this format."""
        if self.contents is None:
            return None
        with naming(model.path):
            return self.contents(tree.sample(model.path).window())


def _beside(path: str, ending: str) -> str:
    head, dot, _ = path.rpartition(".")
    return f"{head if dot else path}{ending}"


def _exists(root: Path, path: str, files: Files | None) -> bool:
    """Whether a file is there; neighbours of a single file are not listed, so they are asked for."""
    if (root / path).is_file():
        return True
    if files is None:
        return False
    if path in files.sizes():
        return True
    try:
        files.read(path, 0, 1)
    except NotFoundError:
        return False
    return True


def _with_weights(tree: Tree, path: str, ending: str, evidence: str, beside: str = "") -> Iterator[Finding]:
    """A file, and the file of its weights if the tree has it."""
    weights = _beside(path, ending)
    if weights in tree:
        yield path, (path, weights), beside or evidence
    else:
        yield path, (path,), evidence


def _paddle(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if path.endswith(".pdmodel"):
            yield from _with_weights(
                tree,
                path,
                ".pdiparams",
                "its name ends in `.pdmodel`",
                "it has `.pdiparams` beside `.pdmodel`",
            )


def _ir(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if path.endswith(".xml") and tree.sample(path).head.lstrip()[:200].find(b"<net") >= 0:
            yield from _with_weights(tree, path, ".bin", "its XML begins with `<net>`")


def _first_message(head: bytes) -> Message | None:
    """The message that a file begins with as field 1, as far as the head holds it whole."""
    try:
        first = next(fields(memoryview(head)), None)
        return Message(first.data) if first and first.number == 1 and first.wire_type == LENGTH else None
    except CorruptModelError:
        return None


def _frozen(sample: Sample) -> str | None:
    node = _first_message(sample.head)
    if node is None:
        return None
    try:
        name, operation = node.text(1), node.text(2)
    except CorruptModelError:
        return None
    found = all(_WORD.fullmatch(word.encode()) for word in (name, operation))
    return f"it is a graph whose first node is `{name}` ({operation})" if found else None


IR = NativeFormat("openvino.ir", "OpenVINO IR", _ir, weights=".bin")

FORMATS = (
    NativeFormat(
        "tflite",
        "a TensorFlow Lite model",
        magic(b"TFL3", at=4, called="it has the identifier `TFL3`"),
        suffixes=(".tflite", ".lite"),
        contents=read_tflite,
    ),
    NativeFormat(
        "paddle",
        "a PaddlePaddle inference model",
        _paddle,
        weights=".pdiparams",
        must=True,
        contents=read_paddle,
    ),
    NativeFormat(
        "tensorflow.frozen",
        "a frozen TensorFlow graph",
        file_match(_frozen),
        suffixes=(".pb", ".pbtxt"),
        contents=read_frozen,
    ),
    IR,
)
