"""PyTorch: TorchScript, exported programs and pickled modules, through OpenVINO's PyTorch front end."""

import contextlib
import logging
import pickle
import re
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.archives import DAMAGE
from ovms_converter.formats.torch_archive import (
    check_end,
    exported_program,
    file_operators,
    harmless_copy,
    records,
)
from ovms_converter.formats.torch_naming import asked_outputs, output_names
from ovms_converter.frameworks.base import Exported, ExportJob

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array
    from ovms_converter.frameworks.torch_exported import ExportedProgram
    from ovms_converter.frameworks.torch_module import ModuleProgram
    from ovms_converter.frameworks.torch_ports import Settled
    from ovms_converter.frameworks.torch_script import ScriptProgram

    Program: TypeAlias = ExportedProgram | ScriptProgram | ModuleProgram

__all__ = ["export", "run"]

_LISTED = 8
"""How many findings an error names."""


def export(job: ExportJob) -> Exported:
    """Write the model as OpenVINO IR with the weights' own precision."""
    import openvino as ov

    from ovms_converter.frameworks.torch_exported import ExportedProgram
    from ovms_converter.frameworks.torch_graph import graph
    from ovms_converter.frameworks.torch_module import ModuleProgram

    program, settled = _opened(job)
    if isinstance(program, ModuleProgram):
        concrete = program.program(settled.inputs, settled.size)
        if isinstance(concrete, ExportedProgram):
            settled = settled.narrowed(concrete.inputs)
    else:
        concrete = program
    model = graph(concrete, settled, program.outputs, asked_outputs(job.signature))
    path = job.output / "model.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return Exported(path, "openvino.ir", settled.notes)


def run(job: ExportJob, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
    """What PyTorch itself computes."""
    from ovms_converter.frameworks.torch_values import array, leaves, tensor

    program, settled = _opened(job)
    found = leaves(program.call([tensor(inputs[port.name], port) for port in settled.inputs]))
    names = output_names(
        [key for key, _ in found],
        {port.name for port in settled.inputs},
        program.outputs,
        asked_outputs(job.signature),
    )
    return {name: array(value) for name, (_, value) in zip(names, found, strict=True)}


_KEPT: "dict[Path, tuple[Program, Settled]]" = {}


def _opened(job: ExportJob) -> "tuple[Program, Settled]":
    """The program and what goes into it; a process opens one."""
    from ovms_converter.frameworks.torch_ports import settle, wanted

    if job.model not in _KEPT:
        logging.getLogger("torch").setLevel(logging.ERROR)
        with _naming(job.model):
            opened = _OPENERS[job.format](job, wanted(job))
        _KEPT[job.model] = opened, settle(opened.inputs, opened.call, job)
    return _KEPT[job.model]


def _script(job: ExportJob, wanted: Collection[str]) -> "ScriptProgram":
    import torch

    from ovms_converter.frameworks.torch_script import ScriptProgram

    check_end(job.model)
    with zipfile.ZipFile(job.model) as archive:
        operators = file_operators(archive, records(archive))
    if operators and not job.trusted:
        raise _untrusted(job, "a TorchScript program that reads or writes files", operators)
    try:
        module = torch.jit.load(str(job.model), map_location="cpu")
    except RuntimeError as error:
        raise _unreadable(job, str(error)) from None
    return ScriptProgram(module, wanted)


def _exported(job: ExportJob, _wanted: Collection[str]) -> "ExportedProgram":
    import torch

    from ovms_converter.frameworks.torch_exported import ExportedProgram

    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "program.pt2"
        foreign = harmless_copy(job.model, source)
        if foreign and not job.trusted:
            raise _untrusted(
                job, "a PyTorch exported program with content that runs or is unpickled", foreign
            )
        with zipfile.ZipFile(job.model) as archive:
            writer = str(
                exported_program(archive, records(archive)).get("torch_version", "an unknown release")
            )
        try:
            program = torch.export.load(job.model if foreign else source)
        except Exception as error:  # noqa: BLE001 - it raises what it likes
            traceback.print_exception(error)
            raise UnsupportedModelError(
                f"it was written by PyTorch {writer}, and PyTorch {torch.__version__} cannot read it: "
                f"{_first_line(error)}",
                hint=f"pip install 'torch=={writer.partition('+')[0]}', or export it again with this release",
            ) from None
    return ExportedProgram(program)


def _pickled(job: ExportJob, wanted: Collection[str]) -> "ModuleProgram | ScriptProgram":
    import torch

    from ovms_converter.frameworks.torch_module import ModuleProgram
    from ovms_converter.frameworks.torch_script import ScriptProgram

    if not job.trusted:
        raise _untrusted(job, "a pickled PyTorch module", ())
    _check_python(job)
    try:
        module = torch.load(job.model, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise UnsupportedModelError(
            f"`{job.model.name}` is a pickled module whose code is not in it: {_first_line(error)}",
            hint="export it where that code is, with `torch.export.save` or `torch.jit.script`",
        ) from None
    except (RuntimeError, EOFError, pickle.UnpicklingError, *DAMAGE) as error:
        raise _unreadable(job, str(error)) from None
    if isinstance(module, torch.jit.ScriptModule):
        return ScriptProgram(module, wanted)
    if not isinstance(module, torch.nn.Module):
        raise UnsupportedModelError(
            f"`{job.model.name}` holds a `{type(module).__name__}` and no model, so there is no graph",
            hint="build the model, load this into it, and run `torch.export.save`",
        )
    return ModuleProgram(module, wanted)


def _check_python(job: ExportJob) -> None:
    """Refuse code of another Python: its instructions mean something else, or crash."""
    written = ".".join(job.versions.get("python_version", "").split(".")[:2])
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not written or written == here:
        return
    with zipfile.ZipFile(job.model) as archive:
        found = records(archive)
        pickled = archive.read(found["data.pkl"]) if "data.pkl" in found else b""
    if b"cloudpickle" in pickled:
        raise UnsupportedModelError(
            f"`{job.model.name}` holds bytecode of Python {written}, and this is Python {here}",
            hint=f"run ovms-converter with Python {written}, or export the model with `torch.export.save`",
        )


_OPENERS: "Mapping[str, Callable[[ExportJob, Collection[str]], Program]]" = {
    "pytorch.torchscript": _script,
    "pytorch.export": _exported,
    "pytorch.pickle": _pickled,
}


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is said of its content."""
    try:
        yield
    except (CorruptModelError, UnsupportedModelError) as error:
        if error.message.startswith(f"`{path.name}`"):
            raise
        raise type(error)(f"`{path.name}`: {error.message}", hint=error.hint) from None
    except DAMAGE as error:
        raise CorruptModelError(
            f"`{path.name}` is truncated or damaged: {_first_line(error)}",
            hint="compare its size and checksum with the original, and upload it again",
        ) from None


def _untrusted(job: ExportJob, what: str, found: Sequence[str]) -> UnsupportedModelError:
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    listed = f": {', '.join(found[:_LISTED])}{more}" if found else ""
    return UnsupportedModelError(
        f"`{job.model.name}` is {what}{listed}",
        hint="if you trust whoever wrote it, `--trust-source` runs it in a process without network",
    )


def _unreadable(job: ExportJob, text: str) -> ModelError:
    """What PyTorch could not read, in the words of its own message."""
    import torch

    version = re.search(r"file with version (\d+)", text)
    operator = re.search(r"Unknown builtin op: ([\w:.]+)", text)
    if version:
        return UnsupportedModelError(
            f"`{job.model.name}` is of a newer PyTorch (format {version[1]}) than {torch.__version__}",
            hint="pip install --upgrade torch, or save it again with this release",
        )
    if operator:
        return UnsupportedModelError(
            f"`{job.model.name}` uses the operator `{operator[1].rstrip('.')}`, which PyTorch lacks",
            hint="export the model without it",
        )
    return CorruptModelError(
        f"`{job.model.name}` cannot be read by PyTorch {torch.__version__}: {_first_line(text)}",
        hint="compare its size and checksum with the original, and upload it again",
    )


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
