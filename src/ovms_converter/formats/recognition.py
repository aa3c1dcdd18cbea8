"""Which model is in a tree? The `MLmodel` guides, the bytes decide, and two are one too many."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

from ovms_converter.errors import AmbiguousModelError, CorruptModelError, RequestError, UnsupportedModelError
from ovms_converter.formats.base import Files, Format, SourceModel
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.mlflow import locate
from ovms_converter.formats.mlmodel import find_mlmodels, read_mlmodel
from ovms_converter.formats.native import IR
from ovms_converter.formats.notmodels import BYSTANDERS
from ovms_converter.formats.registry import FORMATS, INPUT_FORMATS, SUFFIXES, format_named, open_tree
from ovms_converter.formats.tree import Tree
from ovms_converter.formats.words import shown

__all__ = ["companions", "identify", "recognise"]

_LISTED = 10
"""Paths that an error lists at most."""


def recognise(files: Files, input_format: str = "auto", *, trusted: bool = False) -> SourceModel:
    """The one model in a tree, which can be converted as far as a few bytes of it tell.

    `input_format` is one of `INPUT_FORMATS`. Raises `RequestError` if the model is of another format than was
    asked for, `AmbiguousModelError`, `CorruptModelError` or `UnsupportedModelError`; the last one also if the
    model runs its author's code and is not `trusted`.
    """
    tree = open_tree(files)
    model = identify(tree, input_format)
    row = format_named(model.format)
    row.confirm(tree, model)
    if isinstance(row, FrameworkFormat) and not trusted:
        row.check_trust(tree, model)
    return model


def companions(
    root: Path, model: SourceModel, files: Files | None = None, *, cut: bool = False
) -> tuple[str, ...]:
    """Further files that the fetched model needs, relative to the tree, each inside the model's directory.

    Reads the graph, so this is where a model is refused that a few bytes could not give away: damage,
    variables or external data that are missing or too short (as far as `files`, or the disk without it,
    shows), operators that OpenVINO does not have (not if the request `cut`s the graph, for then they may be
    cut off). Raises `CorruptModelError` or `UnsupportedModelError`.
    """
    return format_named(model.format).companions(root, model, files, cut)


def identify(tree: Tree, input_format: str = "auto") -> SourceModel:
    """The one model in a tree, whether or not it can be converted. Raises as `recognise` does."""
    if input_format not in INPUT_FORMATS:
        raise RequestError(
            f"`{input_format}` is no input format",
            hint=f"one of {', '.join(INPUT_FORMATS)}",
            parameter="input_format",
        )
    described = list(find_mlmodels(tree))
    described = [""] if "" in described else described
    if input_format == "mlflow" and not described:
        raise RequestError(
            "`input_format` is `mlflow`, and there is no `MLmodel` file",
            hint="give the directory that holds the `MLmodel`, or leave `input_format` away",
            parameter="input_format",
        )
    if len(described) > 1:
        raise AmbiguousModelError(
            f"there are {len(described)} MLflow models: {_listed(described)}",
            hint=f"give one of them by its path, such as `<input_model>/{described[0]}`",
        )
    found = _described(tree, described[0]) if described else _by_content(tree)
    only_bystanders = not described and all(model.format in BYSTANDERS for model in found)
    if only_bystanders and tree.show_published():
        # A model repository with a note or a server's configuration beside its versions.
        found = _by_content(tree)
    if input_format in ("auto", "mlflow"):
        return _one(tree, found)
    return _requested(tree, found or _by_content(tree), input_format)


def _described(tree: Tree, directory: str) -> list[SourceModel]:
    """What an `MLmodel` describes, and every model outside its directory that can be converted."""
    others = [path for path in tree.paths if directory and not path.startswith(f"{directory}/")]
    outside = [
        model
        for model in _by_content(tree.limited(others))
        if format_named(model.format).convertible and model.format != IR.name
    ]
    return locate(tree, read_mlmodel(tree, directory), _by_content) + outside


def _by_content(tree: Tree) -> list[SourceModel]:
    """Every model in a tree; files whose names tell nothing are opened only if there is no other."""
    found = [model for row in FORMATS for model in _taken(tree, row)]
    if not found and not tree.probing:
        tree.probing = True
        found = [model for row in FORMATS for model in _taken(tree, row)]
    return found


def _taken(tree: Tree, row: Format) -> list[SourceModel]:
    models = list(row.find(tree))
    for model in models:
        tree.take(model.needs)
        if model.path not in tree:
            tree.take(tree.below(model.path))
    return models


def _one(tree: Tree, found: Sequence[SourceModel]) -> SourceModel:
    """The only model that can be converted, else the only one at all."""
    convertible = [model for model in found if format_named(model.format).convertible]
    # IR beside another model is what an earlier conversion made of it
    convertible = [model for model in convertible if model.format != IR.name] or convertible
    # What needs a framework lies beside a model that does not, as often as not: the file it was made from, a
    # pickled tokenizer.
    convertible = _simplest(tree, convertible)
    candidates = convertible or [model for model in found if _counts(tree, model)]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise _unknown(tree)
    if not convertible:
        raise UnsupportedModelError(
            f"there are {len(candidates)} models and none can be converted: {_listed(_told(candidates))}",
            hint="give one of them by its path to learn what would work",
        )
    paths = sorted(model.path for model in candidates)
    raise AmbiguousModelError(
        f"there are {len(candidates)} models: {_listed(paths)}",
        hint=f"give one of them by its path, such as `<input_model>/{_example(paths)}`"
        f"{_other_choice(candidates)}",
    )


def _example(paths: Sequence[str]) -> str:
    """One of the paths: the newest of numbered versions of one model, as Triton's repositories hold them."""
    parts = [path.partition("/") for path in paths]
    if all(first.isdecimal() for first, _, _ in parts) and len({rest for _, _, rest in parts}) == 1:
        return max(paths, key=lambda path: int(path.partition("/")[0]))
    return paths[0] or paths[1]


def _simplest(tree: Tree, models: Sequence[SourceModel]) -> list[SourceModel]:
    """Those that need no framework; else those that run no code; else all."""
    rows = [(model, format_named(model.format)) for model in models]
    native = [model for model, row in rows if not isinstance(row, FrameworkFormat)]
    if native or len(rows) < 2:
        return native or list(models)
    harmless = [
        model
        for model, row in rows
        if isinstance(row, FrameworkFormat) and row.runs_code(tree, model) is None
    ]
    return harmless or list(models)


def _counts(tree: Tree, model: SourceModel) -> bool:
    """False for a text or an empty file that lies about in a directory."""
    named = posixpath.splitext(model.path)[1].lower() in SUFFIXES and model.format == "empty"
    return model.format not in BYSTANDERS or len(tree.paths) == 1 or named


def _other_choice(candidates: Sequence[SourceModel]) -> str:
    formats = sorted({model.format for model in candidates})
    return (
        f", or choose by `input_format` ({' or '.join(formats)})" if len(formats) == len(candidates) else ""
    )


def _requested(tree: Tree, found: Sequence[SourceModel], input_format: str) -> SourceModel:
    matching = [model for model in found if model.format == input_format]
    if matching:
        return _one(tree, matching)
    other = _one(tree, found)
    row = format_named(other.format)
    row.confirm(tree, other)
    raise RequestError(
        f"`input_format` is `{input_format}`, and the model is {row.title}: {other.evidence}",
        hint=f"leave `input_format` away, or give `{row.name}`",
        parameter="input_format",
    )


def _told(models: Sequence[SourceModel]) -> list[str]:
    return [f"{model.path or '.'} ({model.format})" for model in models]


def _listed(paths: Sequence[str]) -> str:
    names = ", ".join(shown(path or ".") for path in sorted(paths)[:_LISTED])
    return f"{names} and {len(paths) - _LISTED} more" if len(paths) > _LISTED else names


def _unknown(tree: Tree) -> CorruptModelError | UnsupportedModelError:
    """Nothing was recognised: damage if a name claims a format, an unknown one otherwise."""
    if not tree.paths:
        return UnsupportedModelError(
            "there are no files, so there is no model", hint="give the directory or file of the model itself"
        )
    for path in tree.paths:
        sample = tree.sample(path)
        if (
            sample.suffix in (SUFFIXES if len(tree.paths) == 1 else (".onnx",))
            or sample.name == "saved_model.pb"
        ):
            return CorruptModelError(
                f"`{path}` is truncated or damaged: its bytes are nothing that its name says",
                hint="compare its size and checksum with the original, and upload it again",
            )
    if len(tree.paths) == 1:
        sample = tree.sample(tree.paths[0])
        return UnsupportedModelError(
            f"`{sample.path}` is of no format that is known here: it starts with the bytes "
            f"`{sample.head[:8].hex(' ')}`",
            hint="give an ONNX, TFLite, Paddle, frozen TensorFlow or IR file, a SavedModel directory or an "
            "MLflow artifact",
        )
    return UnsupportedModelError(
        f"there is no model among {len(tree.paths)} files: {_listed(tree.paths)}",
        hint="give the directory or file of the model itself",
    )
