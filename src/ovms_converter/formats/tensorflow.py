"""TensorFlow SavedModel as a format: a directory with `saved_model.pb` and its variables."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import Files, MLflowModel, ModelDescription, SourceModel, TensorSpec
from ovms_converter.formats.checkpoint import read_checkpoint, shard_count
from ovms_converter.formats.local import mapped
from ovms_converter.formats.outline import headers
from ovms_converter.formats.saved_model import (
    MetaGraph,
    SavedModelDescription,
    Signature,
    describe_saved_model,
    read_saved_model,
)
from ovms_converter.formats.tensorflow_weights import VARIABLES, variables
from ovms_converter.formats.tree import Tree
from ovms_converter.formats.words import naming, shown

__all__ = [
    "SAVED_MODEL",
    "SavedModelFormat",
    "logged_graphs",
    "served_graph",
    "served_tensors",
    "serving_signature",
]

_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")

_WHOLE = "a SavedModel is whole only with its `variables` directory: store it again with everything below it"


def serving_signature(graphs: tuple[MetaGraph, ...]) -> Signature | None:
    """The signature that a server uses: `serving_default` of the graph tagged `serve`, or the only one."""
    ordered = sorted(graphs, key=lambda graph: graph.tags != ("serve",))
    public = [found for graph in ordered for found in graph.signatures if not found.name.startswith("__")]
    for found in public:
        if found.name == "serving_default":
            return found
    return public[0] if len(public) == 1 else None


def served_graph(graphs: tuple[MetaGraph, ...]) -> MetaGraph:
    """The graph that a server uses: the one tagged `serve` and nothing else, or the first."""
    return next((each for each in graphs if set(each.tags) == {"serve"}), graphs[0])


def served_tensors(graph: MetaGraph) -> list[str]:
    """The graph tensors that the signature gives which a server uses, else those of all public signatures."""
    public = [each for each in graph.signatures if not each.name.startswith("__") and each.outputs]
    chosen = serving_signature((graph,))
    signatures = [chosen] if chosen else public
    return [tensor for signature in signatures for tensor in signature.output_tensors.values()]


def logged_graphs(graphs: tuple[MetaGraph, ...], mlflow: MLflowModel | None) -> tuple[MetaGraph, ...]:
    """The graphs, reduced to the tags and the signature that MLflow 1.x noted to be those which it serves."""
    noted = mlflow.flavors.get("tensorflow", {}) if mlflow else {}
    tags, name = noted.get("meta_graph_tags"), noted.get("signature_def_key")
    wanted = set(map(str, tags)) if isinstance(tags, list) else None
    named = tuple(graph for graph in graphs if set(graph.tags) == wanted) or graphs
    return tuple(
        replace(
            graph, signatures=tuple(one for one in graph.signatures if one.name == name) or graph.signatures
        )
        for graph in named
    )


@dataclass(frozen=True)
class SavedModelFormat:
    """The `Format` of TensorFlow's SavedModels."""

    name: str = "tensorflow.saved_model"
    title: str = "a TensorFlow SavedModel"
    suffixes: tuple[str, ...] = (".pb",)
    convertible: bool = True

    def find(self, tree: Tree) -> Iterator[SourceModel]:
        """Every directory with a `saved_model.pb`."""
        for sample in tree.named("saved_model.pb"):
            directory = posixpath.dirname(sample.path)
            prefix = posixpath.join(directory, "variables/variables.")
            stored = (path for path in tree.below(directory) if path.startswith(prefix))
            place = f"`{directory}`" if directory else "the directory"
            yield SourceModel(
                self.name,
                directory,
                tuple(sorted((sample.path, *stored))),
                "saved_model",
                f"{place} holds a `saved_model.pb`",
            )

    def confirm(self, tree: Tree, model: SourceModel) -> None:
        """Raise `CorruptModelError` if the graph is cut off or data files of the variables are missing."""
        path = posixpath.join(model.path, "saved_model.pb")
        sample = tree.sample(path)
        file = sample.window()
        if sample.size is not None:
            with naming(path):
                if all(header.number != 2 for header in list(headers(file, 0, sample.size))):
                    raise CorruptModelError("it holds no meta graph")
        self._confirm_shards(tree, model)

    def _confirm_shards(self, tree: Tree, model: SourceModel) -> None:
        index = posixpath.join(model.path, "variables/variables.index")
        found = {match.groups() for match in map(_SHARD.search, model.needs) if match}
        total = shard_count(tree.sample(index).head) if index in tree else None
        if total is None:
            total = max((int(count) for _, count in found), default=1 if index in tree else 0)
        for number in range(min(total, 100_000)):
            if (f"{number:05}", f"{total:05}") not in found:
                name = posixpath.join(model.path, f"variables/variables.data-{number:05}-of-{total:05}")
                raise CorruptModelError(
                    f"the SavedModel's variables are incomplete: `{name}` is missing", hint=_WHOLE
                )

    def companions(self, root: Path, model: SourceModel, _files: Files | None, _cut: bool) -> tuple[str, ...]:
        """None: `needs` is everything. Raises `CorruptModelError` if graph or variables are damaged."""
        directory = root / model.path
        graph = directory / "saved_model.pb"
        index = directory / "variables" / "variables.index"
        named = posixpath.join(model.path, "variables/variables.index")
        with naming(posixpath.join(model.path, "saved_model.pb")):
            if index.is_file():
                mapped(graph, read_saved_model)
                unknown = 0
            else:
                used = mapped(graph, describe_saved_model).operations
                unknown = sum(used.get(name, 0) for name in VARIABLES)
        if index.is_file():
            self._check_variables(index, named)
        elif unknown:
            raise CorruptModelError(
                f"the SavedModel has {unknown} variables, and `{named}` is missing", hint=_WHOLE
            )
        return ()

    def _check_variables(self, index: Path, named: str) -> None:
        with naming(named):
            checkpoint = mapped(index, read_checkpoint)
        if checkpoint is None:
            return
        sizes = {path.name: path.stat().st_size for path in index.parent.iterdir() if path.is_file()}
        for stored in checkpoint.tensors:
            shard = f"variables.data-{stored.shard:05}-of-{checkpoint.shards:05}"
            if stored.offset + stored.size > sizes.get(shard, 0):
                raise CorruptModelError(
                    f"`{posixpath.dirname(named)}/{shard}` is truncated: variable {shown(stored.name)} ends "
                    f"at byte {stored.offset + stored.size}, and the file has {sizes.get(shard, 0)}",
                    hint=_WHOLE,
                )

    def describe(self, tree: Tree, model: SourceModel) -> ModelDescription:
        """Signatures, tags and operations; weights as the checkpoint's index lists them."""
        path = posixpath.join(model.path, "saved_model.pb")
        with naming(path):
            found = describe_saved_model(memoryview(tree.files.read(path)))
        graphs = logged_graphs(found.meta_graphs, model.mlflow)
        parameters, size = _count_parameters(tree, model, graphs)
        chosen = serving_signature(graphs)
        return ModelDescription(
            format=self.name,
            title=self.title,
            evidence=model.evidence,
            producer=f"TensorFlow {found.tensorflow_version}" if found.tensorflow_version else None,
            inputs=chosen.inputs if chosen else (),
            outputs=chosen.outputs if chosen else (),
            signatures=_signatures(found),
            tags=tuple(graph.tags for graph in found.meta_graphs),
            operations={"tensorflow": found.operations},
            parameters=parameters,
            parameter_bytes=size,
        )


def _signatures(
    found: SavedModelDescription,
) -> Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]:
    """All public signatures by name; those of a second meta graph carry its tags."""
    named: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {}
    for graph in found.meta_graphs:
        for signature in graph.signatures:
            if not signature.name.startswith("__"):
                name = (
                    signature.name
                    if signature.name not in named
                    else f"{signature.name} ({','.join(graph.tags)})"
                )
                named[name] = (signature.inputs, signature.outputs)
    return named


def _count_parameters(
    tree: Tree, model: SourceModel, graphs: tuple[MetaGraph, ...]
) -> tuple[int | None, int | None]:
    """Elements and bytes of the variables that are served; (None, None) if they are not told."""
    graph = served_graph(graphs)
    try:
        found = variables(tree, model.path, graph, served_tensors(graph))
    except CorruptModelError:
        found = None
    if found is None:
        return None, None
    return sum(each.elements for each in found), sum(each.bytes for each in found)


SAVED_MODEL = SavedModelFormat()
