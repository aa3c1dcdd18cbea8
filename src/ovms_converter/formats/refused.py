"""Formats that are recognised and not converted: what each is called, and what its owner can do instead."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ovms_converter.errors import ModelError, UnsupportedModelError
from ovms_converter.formats.base import Files, ModelDescription, SourceModel
from ovms_converter.formats.tree import Sample, Tree
from ovms_converter.formats.words import shown

__all__ = ["Finding", "Refused", "Told", "file_match", "magic", "nothing"]

Finding: TypeAlias = tuple[str, tuple[str, ...], str]
"""What a search yields: the path of the model, the files it needs, and the evidence."""


@dataclass(frozen=True)
class Told:
    """What one model of a format tells: in place of its row's `title` and `advice`, and further facts."""

    title: str
    advice: str
    producer: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A `Format` that only exists to be named.

    `search`  finds the models of this format in a tree
    `advice`  the export recipe, one line
    `reason`  follows "`path` is <title>, ..." in the message
    `look`    what the files of a model tell beyond its name; None if they are not looked into
    """

    name: str
    title: str
    search: Callable[[Tree], Iterator[Finding]]
    advice: str
    reason: str = "which cannot be converted"
    error: type[ModelError] = UnsupportedModelError
    suffixes: tuple[str, ...] = ()
    look: Callable[[Tree, SourceModel], Told] | None = None
    convertible: bool = False

    def find(self, tree: Tree) -> Iterator[SourceModel]:
        """Every file or directory of this format."""
        for path, needs, evidence in self.search(tree):
            stem = Path(path).stem or "model"
            yield SourceModel(self.name, path, tuple(sorted(needs)), stem, evidence)

    def told(self, tree: Tree, model: SourceModel) -> Told:
        """Title and advice for a model, which its own files may tell."""
        return self.look(tree, model) if self.look else Told(self.title, self.advice)

    def refusal(self, model: SourceModel, told: Told) -> ModelError:
        """The error that says what the model is and what would work."""
        place = shown(model.path) if model.path else "the model"
        return self.error(f"{place} is {told.title}, {self.reason}: {model.evidence}", hint=told.advice)

    def confirm(self, tree: Tree, model: SourceModel) -> None:
        """Always raises the refusal."""
        raise self.refusal(model, self.told(tree, model))

    def companions(
        self, _root: Path, model: SourceModel, _files: Files | None, _cut: bool
    ) -> tuple[str, ...]:
        """Always raises the refusal."""
        raise self.refusal(model, Told(self.title, self.advice))

    def describe(self, tree: Tree, model: SourceModel) -> ModelDescription:
        """The name, the evidence, and why it is refused."""
        told = self.told(tree, model)
        return ModelDescription(
            self.name, told.title, model.evidence, producer=told.producer, notes=(told.advice, *told.notes)
        )


def file_match(match: Callable[[Sample], str | None]) -> Callable[[Tree], Iterator[Finding]]:
    """A search for single files: `match` gives the evidence, or None."""

    def search(tree: Tree) -> Iterator[Finding]:
        for sample in tree.unclaimed():
            evidence = match(sample)
            if evidence:
                yield sample.path, (sample.path,), evidence

    return search


def magic(*starts: bytes, at: int = 0, called: str) -> Callable[[Tree], Iterator[Finding]]:
    """A search for files that have one of these byte strings at an offset."""

    def match(sample: Sample) -> str | None:
        return called if sample.head[at:].startswith(starts) else None

    return file_match(match)


def nothing(tree: Tree) -> Iterator[Finding]:
    """The search of a format that content does not show; only an `MLmodel` names it."""
    del tree
    yield from ()
