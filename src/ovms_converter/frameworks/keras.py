"""Keras' own files: loaded by Keras, traced through its OpenVINO backend, without TensorFlow."""

import functools
import importlib.util
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.keras_config import newer_note
from ovms_converter.frameworks.base import Exported, ExportJob

if TYPE_CHECKING:
    from ovms_converter.frameworks.base import Array

__all__ = ["export", "run"]

_TESTED = "3.15."
"""The release of Keras whose private modules are known here: the extra `keras` pins it."""

_BACKENDS = ("torch", "jax", "tensorflow")
"""Backends that share no code with the exported graph, the quickest to start first."""

_UNKNOWN = (
    "Could not locate class",
    "Could not locate function",
    "Could not deserialize",
    "Unknown layer",
    "Unknown object",
)
"""How Keras begins to say that it lacks the code of a class or function."""

_CALLING = "Exception encountered when calling "
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_EXPORT = 'run `model.export("saved_model")` where the model was made, and convert that directory'


def export(job: ExportJob) -> Exported:
    """Trace the model into an OpenVINO graph and write that.

    Raises `UnsupportedModelError` and `CorruptModelError`.
    """
    sys.meta_path.insert(0, _WithoutTensorFlow())
    path = job.output / "model.xml"
    with _known_release(), _operations(job.model):
        model = _load(job.model, job.format, job.trusted)
        import openvino as ov

        from ovms_converter.frameworks.keras_trace import trace

        ov.serialize(trace(model), path)
    return Exported(path, "openvino.ir", (*_notes(model), *_newer(job)))


def run(job: ExportJob, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
    """What Keras computes with another backend, which shares no code with the exported graph.

    Raises `UnsupportedModelError` if none is installed, else as `export` does.
    """
    found = [name for name in _BACKENDS if importlib.util.find_spec(name)]
    if not found:
        raise UnsupportedModelError(
            "Keras has no backend here but OpenVINO's, so there is nothing independent to compare with",
            hint="pip install torch, or `--verify load`",
        )
    os.environ.setdefault("KERAS_BACKEND", found[0])
    with _known_release():
        model = _load(job.model, job.format, job.trusted)
        import numpy as np
        from keras import ops, tree

        from ovms_converter.frameworks.keras_names import input_structure, named_inputs, named_outputs

        tensors = [
            ops.convert_to_tensor(inputs[name], dtype=tensor.dtype) for name, tensor in named_inputs(model)
        ]
        outputs = model(tree.pack_sequence_as(input_structure(model), tensors), training=False)
        return {name: np.asarray(ops.convert_to_numpy(it)) for name, it in named_outputs(model, outputs)}


class _WithoutTensorFlow:
    """Keras imports TensorFlow where it is, which takes seconds, and needs it for no layer that is traced."""

    def find_spec(self, name: str, *_: object) -> None:
        """Stands before the finders that would find it."""
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError("tensorflow is not used here", name=name)


@functools.lru_cache(maxsize=1)
def _load(path: Path, format: str, trusted: bool) -> Any:
    """The model, not compiled, whatever its file is called."""
    import keras

    try:
        if format == "keras.h5":
            from ovms_converter.frameworks import keras_h5

            return keras_h5.load(path, trusted=trusted)
        from ovms_converter.frameworks import keras_archive

        if keras_archive.written_by(path).startswith("2."):
            return keras_archive.load_keras_2(path, trusted=trusted)
        named = Path("model.keras")  # in this process's own directory: Keras goes by the ending
        named.symlink_to(path)
        return keras.saving.load_model(named, compile=False, safe_mode=not trusted)
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise CorruptModelError(
            f"`{path.name}` is truncated or damaged: {error}",
            hint="compare its size and checksum with the original, and upload it again",
        ) from None
    except (TypeError, ValueError) as error:
        raise _too_new(error, path, format) or _explained(error, path) or error from None


def _written_by(path: Path, format: str) -> str:
    """The version of Keras that wrote a file that Keras could open."""
    from ovms_converter.frameworks import keras_archive, keras_h5

    return keras_h5.written_by(path) if format == "keras.h5" else keras_archive.written_by(path)


def _newer(job: ExportJob) -> tuple[str, ...]:
    """That a newer Keras wrote the file than the one that has read it, if so."""
    import keras

    note = newer_note(_written_by(job.model, job.format), keras.__version__)
    return (note,) if note else ()


def _too_new(error: Exception, path: Path, format: str) -> UnsupportedModelError | None:
    """The refusal of what a newer Keras has written and this one does not know; None if it is not newer."""
    import keras

    written = _written_by(path, format)
    if newer_note(written, keras.__version__) is None or "safe_mode" in str(error):
        return None
    return UnsupportedModelError(
        f"`{path.name}` was written by Keras {written}, and Keras {keras.__version__} does not know all of "
        f"it: {_cause(error)}",
        hint=_EXPORT,
    )


def _cause(error: Exception) -> str:
    """What is the matter, out of Keras' long account of where: its last exception that is told."""
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    told = [
        line.partition("Exception encountered:")[2].strip()
        for line in lines
        if "Exception encountered:" in line
    ]
    found = next((line for line in (*reversed(told), *lines) if line), type(error).__name__)
    return found.partition(". ")[0].rstrip(".")


def _explained(error: Exception, path: Path) -> UnsupportedModelError | None:
    """What Keras' refusal means for the user; None for what it tells well enough itself."""
    text = " ".join(str(error).split())
    if "`Lambda` layer" in text and "safe_mode" in text:
        return UnsupportedModelError(
            f"`{path.name}` has Lambda layers, which run Python code of its author",
            hint="if you trust whoever wrote it, `--trust-source` runs it in a process without network and "
            f"credentials; or {_EXPORT}",
        )
    if "bad marshal data" in text:
        return UnsupportedModelError(
            f"`{path.name}` has Lambda layers with bytecode of another Python than "
            f"{sys.version_info.major}.{sys.version_info.minor}",
            hint=f"run this program with the Python that wrote it, or {_EXPORT}",
        )
    if "requires TensorFlow" in text:
        layer = text[: text.index("requires TensorFlow")].split()[-1]
        return UnsupportedModelError(
            f"`{path.name}` has layers that only TensorFlow runs: {layer}", hint=_EXPORT
        )
    for words in _UNKNOWN:
        if words in text:
            named = text[text.index(words) :].replace("'", "`").split(". ")[0]
            return UnsupportedModelError(
                f"`{path.name}` uses code that is not in the file: {named[0].lower()}{named[1:]}",
                hint=_EXPORT,
            )
    return None


@contextmanager
def _operations(path: Path) -> Iterator[None]:
    """Name what Keras' OpenVINO backend cannot trace."""
    try:
        yield
    except NotImplementedError as error:
        raise UnsupportedModelError(
            f"`{path.name}` uses what Keras' OpenVINO backend does not have: {_line(error)}", hint=_EXPORT
        ) from None
    except RuntimeError as error:
        if "is symbolic" not in str(error):
            raise
        raise UnsupportedModelError(
            f"`{path.name}` has a layer that needs sizes which the model leaves free: {_line(error)}",
            hint=f"save it with inputs of fixed sizes, or {_EXPORT}",
        ) from None
    except ImportError as error:
        if "tensorflow" not in str(error).lower():
            raise
        raise UnsupportedModelError(
            f"`{path.name}` has layers that only TensorFlow runs: {_line(error)}", hint=_EXPORT
        ) from None
    except Exception as error:
        if not str(error).startswith(_CALLING):
            raise
        raise ModelError(
            f"Keras cannot trace `{path.name}`: {type(error).__name__}: {_line(error)}", hint=_EXPORT
        ) from error


@contextmanager
def _known_release() -> Iterator[None]:
    """Tell a Keras of other private modules from a fault of the model."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        from importlib.metadata import version

        installed = version("keras")
        if installed.startswith(_TESTED):
            raise
        raise UnsupportedModelError(
            f"Keras {installed} is not the release that is known here, {_TESTED}x: {_line(error)}",
            hint="pip install 'ovms-converter[keras]'",
        ) from None


def _line(error: Exception) -> str:
    """What an error says first; where Keras begins with the layer that was called, the cause as well."""
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    first, *more = [line for line in lines if line] or [type(error).__name__]
    if not (first.startswith(_CALLING) and more):
        return first
    return f"{first.removeprefix(_CALLING).rstrip('.')}: {more[0]}"


def _notes(model: Any) -> tuple[str, ...]:
    kept = [layer.name for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    if not kept:
        return ()
    return (f"{', '.join(kept)} kept a state between calls; here every request begins without one",)
