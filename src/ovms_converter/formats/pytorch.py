"""PyTorch's archives, told apart by the names in their ZIP directory; and bare weights of any framework."""

import re
from dataclasses import replace

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.archives import DAMAGE, open_archive, read_member
from ovms_converter.formats.base import ModelDescription, SourceModel
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
from ovms_converter.formats.torch_program import outline
from ovms_converter.formats.tree import Sample, Tree
from ovms_converter.formats.words import naming

__all__ = ["FORMATS"]


_PICKLE = 1 << 20
"""Bytes of a pickle that are looked through."""


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
            return outline(exported_program(archive, records(archive)), found)
    except (CorruptModelError, UnsupportedModelError, *DAMAGE, KeyError, TypeError, AttributeError):
        return found


def _operators(tree: Tree, model: SourceModel) -> tuple[str, ...]:
    """What in a TorchScript program reads or writes files; its own process looks again."""
    try:
        with open_archive(tree, model.path) as archive:
            return file_operators(archive, records(archive))
    except (CorruptModelError, *DAMAGE):
        return ()


def _script_details(tree: Tree, model: SourceModel, found: ModelDescription) -> ModelDescription:
    """The arguments of `forward`, as the code of the outermost module has them, and the bytes of weights."""
    try:
        with open_archive(tree, model.path) as archive:
            members = records(archive)
            weights = sum(info.file_size for name, info in members.items() if name.startswith("data/"))
            outermost = pickle_globals(archive.read(members["data.pkl"]))[:1]
            module, _, kind = outermost[0].rpartition(".") if outermost else ("", "", "")
            code = archive.read(members[f"code/{module.replace('.', '/')}.py"]).decode("utf-8", "replace")
    except (CorruptModelError, *DAMAGE, KeyError):
        return found
    body = code.partition(f"class {kind}(Module):")[2].partition("\nclass ")[0]
    forward = re.search(r"def forward\(self: [^,)]*,?\s*([^)]*)\)", body)
    taken = " ".join(forward[1].split()) if forward else ""
    notes = (f"`forward` takes {taken}",) if taken else ()
    return replace(found, parameter_bytes=weights, notes=(*found.notes, *notes))


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
