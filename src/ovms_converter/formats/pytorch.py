"""PyTorch's archives, told apart by the names in their ZIP directory; and bare weights of any framework."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.archives import DAMAGE, open_archive, read_member
from ovms_converter.formats.base import ModelDescription, SourceModel, TensorSpec
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.programs import pickle_globals
from ovms_converter.formats.refused import Refused, file_match
from ovms_converter.formats.torch_archive import (
    exported_program,
    file_operators,
    foreign_records,
    is_plain,
    records,
)
from ovms_converter.formats.torch_code import Forward, read_forward
from ovms_converter.formats.torch_naming import asked_outputs, output_names, signed_inputs, signed_names
from ovms_converter.formats.torch_program import outline
from ovms_converter.formats.tree import Sample, Tree
from ovms_converter.formats.words import naming

__all__ = ["FORMATS"]


_PICKLE = 1 << 20
"""Bytes of a pickle that are looked through."""

_UNKNOWN = "unknown"
"""The type of a tensor that nothing tells."""


def _members(sample: Sample) -> set[str]:
    """The names below an archive's one top directory."""
    return {name.partition("/")[2] for name in sample.zip_names}


def _export(sample: Sample) -> str | None:
    names = _members(sample)
    if "archive_format" in names and any(name.startswith("models/") for name in names):
        return "it is a ZIP archive with `archive_format` and `models/`"
    if "serialized_exported_program.json" in {*names, *sample.zip_names}:
        return "it is a ZIP archive with `serialized_exported_program.json`"
    return None


def _torchscript(sample: Sample) -> str | None:
    names = _members(sample)
    found = "constants.pkl" in names and any(name.startswith("code/") for name in names)
    return "it is a ZIP archive with `constants.pkl` and `code/`" if found else None


def _pickled(sample: Sample) -> str | None:
    return "it is a ZIP archive with `data.pkl` and no code" if "data.pkl" in _members(sample) else None


def _safetensors(sample: Sample) -> str | None:
    head = sample.head
    length = int.from_bytes(head[:8], "little")
    found = head[8:9] == b"{" and 2 <= length <= 100_000_000 and head[9:10] in b'" }'
    return "it starts with a safetensors header" if found and len(head) > 9 else None


def _check_export(tree: Tree, model: SourceModel) -> None:
    """Refuse the format of before PyTorch 2.8, and what holds no program."""
    with naming(model.path):
        try:
            with open_archive(tree, model.path) as archive:
                exported_program(archive, records(archive))
        except UnsupportedModelError as error:
            raise UnsupportedModelError(f"`{model.path}`: {error.message}", hint=error.hint) from None
        except CorruptModelError:
            raise
        except DAMAGE:
            return  # longer than what is read here; PyTorch's process reads all of it


def _foreign(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """What in an exported program would run; its own process looks again, at all of it."""
    try:
        with open_archive(tree, model.path) as archive:
            return tuple(foreign_records(archive, records(archive)))
    except (CorruptModelError, UnsupportedModelError, *DAMAGE):
        return ()


def _export_details(tree: Tree, model: SourceModel, found: ModelDescription) -> ModelDescription:
    try:
        with open_archive(tree, model.path) as archive:
            return outline(exported_program(archive, records(archive)), _signature(model), found)
    except (
        CorruptModelError,
        UnsupportedModelError,
        *DAMAGE,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ):
        return found


def _operators(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """What in a TorchScript program reads or writes files; its own process looks again."""
    try:
        with open_archive(tree, model.path) as archive:
            return file_operators(archive, records(archive))
    except (CorruptModelError, *DAMAGE):
        return ()


def _script_details(tree: Tree, model: SourceModel, found: ModelDescription) -> ModelDescription:
    """The ends of `forward`, as the code of the outermost module has them, and the bytes of weights."""
    try:
        with open_archive(tree, model.path) as archive:
            members = records(archive)
            weights = sum(info.file_size for name, info in members.items() if name.startswith("data/"))
            outermost = pickle_globals(archive.read(members["data.pkl"]))[:1]
            module, _, kind = outermost[0].rpartition(".") if outermost else ("", "", "")
            code = archive.read(members[f"code/{module.replace('.', '/')}.py"]).decode("utf-8", "replace")
    except (CorruptModelError, *DAMAGE, KeyError):
        return found
    forward = read_forward(code, kind)
    found = replace(found, parameter_bytes=weights)
    return found if forward is None else _with_ends(found, forward, _signature(model))


def _with_ends(
    found: ModelDescription, forward: Forward, signature: Mapping[str, Any] | None
) -> ModelDescription:
    """A description with the ends of a TorchScript program, whose code tells no types of numbers."""
    taken = forward.taken(signed_names(signature))
    if taken is None:
        return found
    left = [f"`{name}`" for name, _, _ in forward.arguments if name not in taken]
    if left:
        told = f"{', '.join(left)} of `forward` keep their defaults; what `--input` names is taken too"
        found = replace(found, notes=(*found.notes, told))
    signed = signed_inputs(taken, signature)
    inputs = tuple(
        TensorSpec(name, _UNKNOWN, None)
        if signed is None
        else TensorSpec(
            signed.name(position, name),
            signed.specs[position].type if signed.typed else _UNKNOWN,
            signed.shape(position, None),
        )
        for position, name in enumerate(taken)
    )
    if forward.outputs is None:
        told = "its code does not tell which outputs it has"
        return replace(found, inputs=inputs, notes=(*found.notes, told))
    names = output_names(forward.outputs, {spec.name for spec in inputs}, (), asked_outputs(signature))
    outputs = tuple(TensorSpec(name, _UNKNOWN, None) for name in names)
    return replace(found, inputs=inputs, outputs=outputs)


def _signature(model: SourceModel) -> Mapping[str, Any] | None:
    return model.mlflow.signature if model.mlflow else None


def _pickled_globals(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    return pickle_globals(_pickle(tree, model)) or ("what could not be read",)


def _pickle(tree: Tree, model: SourceModel) -> bytes:
    """The beginning of the pickle in an archive, empty if it cannot be read."""
    try:
        with open_archive(tree, model.path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return read_member(archive, name, _PICKLE)
    except (*DAMAGE, StopIteration):
        return b""


def _check_pickle(tree: Tree, model: SourceModel) -> None:
    """Refuse weights without a model: no permission helps there."""
    data = _pickle(tree, model)
    imported = pickle_globals(data)
    if b"pytorch-lightning_version" in data:
        raise UnsupportedModelError(
            f"`{model.path}` is a Lightning checkpoint, which holds weights and no graph",
            hint="load it with its class (`Net.load_from_checkpoint`), run `torch.export.export` and "
            "`torch.export.save`, and convert that file",
        )
    if imported and all(map(is_plain, imported)):
        raise UnsupportedModelError(
            f"`{model.path}` is a PyTorch state dictionary or checkpoint, which holds weights and no graph",
            hint="build the model, run `model.load_state_dict(...)`, `torch.export.export` and "
            "`torch.export.save`, and convert that file",
        )


FORMATS = (
    FrameworkFormat(
        "pytorch.export",
        "a PyTorch exported program (`torch.export`)",
        file_match(_export),
        library="PyTorch",
        extra="torch",
        modules=("torch",),
        recipe='run `torch.onnx.export(torch.export.load("model.pt2"), dynamo=True).save("model.onnx")` and '
        "convert that file",
        executes="with content that runs, or is unpickled, when it is opened",
        programs=_foreign,
        check=_check_export,
        details=_export_details,
        suffixes=(".pt2",),
    ),
    FrameworkFormat(
        "pytorch.torchscript",
        "a TorchScript program",
        file_match(_torchscript),
        library="PyTorch",
        extra="torch",
        modules=("torch",),
        recipe='run `torch.onnx.export(torch.jit.load("model.pt"), (example,), "model.onnx", dynamo=False)` '
        "and convert that file",
        executes="with operators that read or write files",
        programs=_operators,
        details=_script_details,
        suffixes=(".pt", ".pts", ".ptl", ".torchscript"),
    ),
    FrameworkFormat(
        "pytorch.pickle",
        "a pickled PyTorch model",
        file_match(_pickled),
        library="PyTorch",
        extra="torch",
        modules=("torch", "cloudpickle"),
        recipe='run `torch.export.save(torch.export.export(model, (example,)), "model.pt2")` where it was '
        "trained and convert that file",
        executes="which runs its author's code when it is opened",
        programs=_pickled_globals,
        check=_check_pickle,
        suffixes=(".pth", ".ckpt"),
    ),
    Refused(
        "safetensors",
        "a safetensors file",
        file_match(_safetensors),
        "it belongs to a model whose code knows the graph: load it there and export ONNX; of a Hugging Face "
        "model give the whole directory",
        "which holds weights and no graph",
        suffixes=(".safetensors",),
    ),
)
