"""Formats that OpenVINO does not read: their own library, where it is installed, exports them first."""

import importlib.util
import posixpath
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.base import Files, MLflowModel, ModelDescription, SourceModel
from ovms_converter.formats.refused import Finding
from ovms_converter.formats.tree import Tree, inside
from ovms_converter.formats.words import shown

__all__ = ["EXAMPLE_BYTES", "FrameworkFormat", "example_of", "examples_of", "versions_of"]

EXAMPLE_BYTES = 64 << 20
"""Bytes of the largest input example that is fetched."""

_LISTED = 8
"""How many of the programs in a model an error names."""


def _nothing(tree: Tree, model: SourceModel) -> None:
    """A format of which a few bytes tell no fault."""
    del tree, model


@dataclass(frozen=True)
class FrameworkFormat:
    """A `Format` that a library of its own exports to ONNX or IR in a process without a network.

    `search`    finds the models of this format in a tree
    `library`   what a sentence calls the library: "Keras"
    `extra`     the extra of this package that installs what is needed
    `modules`   what must be importable for that; they are looked up and not imported
    `python`    the first Python that the library runs with
    `recipe`    how the owner exports it without this program, one line
    `executes`  follows "`path` is <title>, ...": why opening it runs its author's code; None if it never does
    `programs`  what in a model would run; None if every model of this format `executes`
    `check`     raises `ModelError` for what a few bytes tell to be broken or unsupported
    `details`   what the model says about itself, beyond its name
    """

    name: str
    title: str
    search: Callable[[Tree], Iterator[Finding]]
    library: str
    extra: str
    modules: tuple[str, ...]
    recipe: str
    python: tuple[int, int] = (3, 10)
    executes: str | None = None
    programs: Callable[[Tree, SourceModel], tuple[str, ...]] | None = None
    check: Callable[[Tree, SourceModel], None] = _nothing
    details: Callable[[Tree, SourceModel, ModelDescription], ModelDescription] | None = None
    suffixes: tuple[str, ...] = ()
    convertible: bool = True

    def find(self, tree: Tree) -> Iterator[SourceModel]:
        """Every file or directory of this format."""
        for path, needs, evidence in self.search(tree):
            stem = Path(path).stem or "model"
            yield SourceModel(self.name, path, tuple(sorted(needs)), stem, evidence)

    def confirm(self, tree: Tree, model: SourceModel) -> None:
        """Refuse what `check` refuses, and everything if the library is not installed."""
        self.check(tree, model)
        missing = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if missing:
            wanted = ".".join(map(str, self.python))
            install = (
                f"pip install 'ovms-converter[{self.extra}]'"
                if sys.version_info >= self.python
                else f"run this program with Python {wanted} or later and its extra `{self.extra}`"
            )
            raise UnsupportedModelError(
                f"{_place(model)} is {self.title}, which needs {self.library}, and {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not installed here: {model.evidence}",
                hint=f"{install}, or {self.recipe}",
            )

    def runs_code(self, tree: Tree, model: SourceModel) -> tuple[str, ...] | None:
        """What in the model would run, as far as a few bytes tell, or None if nothing would."""
        if self.executes is None:
            return None
        if self.programs is None:
            return ()
        return self.programs(tree, model) or None

    def check_trust(self, tree: Tree, model: SourceModel) -> None:
        """Refuse a model that runs its author's code, for a user who has not said that he trusts it."""
        found = self.runs_code(tree, model)
        if found is None:
            return
        named = ", ".join(found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        listed = f": {named}{more}" if found else ""
        raise UnsupportedModelError(
            f"{_place(model)} is {self.title}, {self.executes}{listed}",
            hint="if you trust whoever wrote it, `--trust-source` runs it in a process without network and "
            f"credentials; or {self.recipe}",
        )

    def companions(self, root: Path, model: SourceModel, files: Files | None, cut: bool) -> tuple[str, ...]:
        """MLflow's input example, if it is there: it names and shapes inputs that the model does not."""
        del cut
        path = example_of(model)
        if path is None:
            return ()
        if (root / path).is_file():
            size: int | None = (root / path).stat().st_size
        else:
            size = files.sizes().get(path) if files else None
        return (path,) if size and size <= EXAMPLE_BYTES else ()

    def describe(self, tree: Tree, model: SourceModel) -> ModelDescription:
        """The name, the evidence, and what the format's own `details` tell."""
        found = ModelDescription(self.name, self.title, model.evidence)
        if self.details:
            found = self.details(tree, model, found)
        if found.inputs or found.outputs:
            return found
        return replace(found, notes=(*found.notes, "inputs and outputs are not known before it is opened"))


def example_of(model: SourceModel) -> str | None:
    """The path of MLflow's input example relative to the tree, whether or not it is there."""
    if model.mlflow is None or model.mlflow.example is None:
        return None
    mlmodel = posixpath.join(model.mlflow.directory, "MLmodel")
    return inside(model.mlflow.directory, model.mlflow.example, f"`{mlmodel}`")


def examples_of(model: SourceModel) -> tuple[str, ...]:
    """Where MLflow's input example may be: its own file, else the one that MLflow 2.22 made for a server."""
    path = example_of(model)
    if path is None:
        return ()
    return (path, posixpath.join(posixpath.dirname(path), "serving_input_example.json"))


def versions_of(mlflow: MLflowModel | None) -> dict[str, str]:
    """The versions that an `MLmodel` recorded: `keras_version`, `python_version`, ..."""
    if mlflow is None:
        return {}
    mappings = (mlflow.python_function, *mlflow.flavors.values())
    return {
        name: value
        for mapping in mappings
        for name, value in mapping.items()
        if isinstance(value, str) and str(name).endswith("_version")
    }


def _place(model: SourceModel) -> str:
    return shown(model.path) if model.path else "the model"
