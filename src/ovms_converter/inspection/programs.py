"""Programs in what somebody stored as a model: pickles, Keras' Lambda layers, Python files.

They are read as data, a bounded part of each, and never loaded. What is listed is what was seen, not a proof
that there is nothing else.
"""

import io
import json
import lzma
import pickletools
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator

from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.pickles import is_pickle
from ovms_converter.formats.tree import Tree
from ovms_converter.inspection.reading import WindowFile
from ovms_converter.inspection.report import ExecutableContent

__all__ = ["executable_content"]

_READ = 128 << 10
"""Bytes of a file that are looked through."""

_ARCHIVE_READ = 4 << 20
"""Bytes of an archive that are read, its directory included; one that needs more is not looked into."""

_LISTED = 12
_PICKLE_SUFFIXES = (".pkl", ".pickle", ".cloudpickle", ".joblib", ".statsmodels")
_ARCHIVES = ("pytorch.pickle", "pytorch.torchscript", "pytorch.export", "keras.keras")
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for archives that are damaged, encrypted or compressed in a way it does not know."""

_LAMBDA = re.compile(rb'"class_name": ?"Lambda"')


def executable_content(tree: Tree, model: SourceModel) -> tuple[ExecutableContent, ...]:
    """Everything beside and in the model that is a program, the model's own first."""
    found = [*_in_model(tree, model), *_beside(tree, model)]
    return tuple({item.path: item for item in reversed(found)}.values())[::-1]


def _in_model(tree: Tree, model: SourceModel) -> Iterator[ExecutableContent]:
    path = model.path
    if path not in tree:
        return
    if model.format in _ARCHIVES:
        yield from _in_archive(tree, model)
    elif model.format == "keras.h5":
        if _LAMBDA.search(tree.sample(path).read(0, _READ)):
            yield ExecutableContent(path, "Keras Lambda layers: Python bytecode in the file", ("Lambda",))
    elif is_pickle(tree.sample(path).head):
        yield _pickle(tree, path)


def _pickle(tree: Tree, path: str) -> ExecutableContent:
    return ExecutableContent(
        path, "a pickle: opening it runs what it names", _globals(tree.sample(path).read(0, _READ))
    )


def _in_archive(tree: Tree, model: SourceModel) -> Iterator[ExecutableContent]:
    path = model.path
    try:
        with zipfile.ZipFile(_opened(tree, path)) as archive:
            names = archive.namelist()
            if model.format == "keras.keras":
                layers = _keras_layers(_member(archive, "config.json")) if "config.json" in names else ()
                if layers:
                    yield ExecutableContent(path, "Keras layers that carry or import Python code", layers)
                return
            for name in names:
                if name.endswith("/data.pkl") and model.format == "pytorch.pickle":
                    yield ExecutableContent(
                        path, "a pickle: opening it runs what it names", _globals(_member(archive, name))
                    )
            if model.format == "pytorch.export":
                yield ExecutableContent(path, "`torch.export.load` unpickles records of it")
            elif model.format == "pytorch.torchscript":
                yield ExecutableContent(path, "a TorchScript program: it runs when it is traced or called")
    except _DAMAGE:
        yield ExecutableContent(path, "an archive that could not be looked into")


def _opened(tree: Tree, path: str) -> io.BufferedReader:
    return io.BufferedReader(WindowFile(tree.sample(path).window(), _ARCHIVE_READ))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        return member.read(_READ)


def _beside(tree: Tree, model: SourceModel) -> Iterator[ExecutableContent]:
    """Files of an MLflow artifact that a loader of MLflow would run."""
    if model.mlflow is None:
        return
    for path in tree.below(model.mlflow.directory):
        suffix = posixpath.splitext(path)[1].lower()
        if suffix in _PICKLE_SUFFIXES and path != model.path:
            yield ExecutableContent(path, "a pickle beside the model")
        elif suffix == ".py":
            yield ExecutableContent(path, "Python code beside the model")


def _globals(data: bytes) -> tuple[str, ...]:
    """What a pickle imports, as `module.name`, as far as the bytes go; nothing is executed."""
    found: dict[str, None] = {}
    memo: dict[int, str] = {}
    pushed: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                pushed.append(str(argument).replace(" ", "."))
                found[pushed[-1]] = None
            elif opcode.name == "STACK_GLOBAL":
                pushed[-2:] = [".".join(pushed[-2:])]
                found[pushed[-1]] = None
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = pushed[-1]
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[int(argument or 0)] = pushed[-1]
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                pushed.append(memo.get(int(argument or 0), "?"))
            elif opcode.stack_after:
                pushed.append(argument if isinstance(argument, str) else "?")
            if len(found) >= _LISTED:
                break
    except (ValueError, OverflowError, UnicodeError, IndexError):
        # The part that was read ends, or these are no opcodes: what was seen so far stays true.
        pass
    return tuple(found)


def _keras_layers(config: bytes) -> tuple[str, ...]:
    """Lambda layers, and objects of modules other than Keras' own, in an archive's configuration."""
    try:
        waiting: list[object] = [json.loads(config)]
    except (ValueError, RecursionError):
        return ("Lambda",) if _LAMBDA.search(config) else ()
    found: dict[str, None] = {}
    while waiting and len(found) < _LISTED:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            kind, module = item.get("class_name"), item.get("module")
            if kind == "Lambda":
                settings = item.get("config")
                name = settings.get("name") if isinstance(settings, dict) else None
                found[f"Lambda ({name})" if name else "Lambda"] = None
            elif isinstance(module, str) and not module.startswith(("keras", "builtins")):
                found[f"{module}.{kind}"] = None
            waiting += item.values()
    return tuple(found)
