"""PyTorch's ZIP archives read as data: what is in them, and what of that would run.

A `.pt2` holds one exported program: its text, raw weights, and records that PyTorch unpickles. Only the text
and raw numbers are ever used, from a copy that holds nothing else. A TorchScript archive is a program in a
language of its own, which can compute and, with a few operators, read and write files.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ovms_converter.errors import CorruptModelError, UnsupportedModelError
from ovms_converter.formats.archives import DAMAGE
from ovms_converter.formats.programs import pickle_globals
from ovms_converter.formats.torch_program import foreign_texts, stripped

__all__ = [
    "check_end",
    "exported_program",
    "file_operators",
    "foreign_records",
    "harmless_copy",
    "is_plain",
    "records",
]

Records = Mapping[str, zipfile.ZipInfo]
"""The records of an archive by their name below its one top directory."""

_PROGRAM = "models/model.json"
_CONFIGS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_\d{1,9}"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_\d{1,9}"),
}
"""Lists of raw tensors, and how the record of one is called."""

_SAMPLE = "data/sample_inputs/model.pt"
_MARKS = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
_TEXT_BYTES = 512 << 20
"""Bytes of the longest program text that is read, and of all code of a TorchScript archive together."""

_END = 98
"""Bytes of the records at the end of an archive: of ZIP64 56 and 20, then 22."""

_LEGACY = "serialized_exported_program.json"

_PLAIN = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.(\w+Storage|storage\.\w+|Size|Tensor|device|float\w*|double|half|bfloat16|u?int\w*|long|bool)"
    r"|torch\._export\.serde\.serialize\._reconstruct_fake_tensor|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|_codecs\.encode|builtins\.(set|dict|list|tuple|complex)"
    r"|numpy(\._core|\.core)?\.multiarray\.(_reconstruct|scalar)|numpy\.(dtype|ndarray)"
)
"""What a pickle of tensors, numbers and texts imports."""

_WORDS = re.compile(rb"\b(save|from_file)\b")
"""`torch.save` and `torch.from_file`; a method of that name is refused with them."""


def is_plain(imported: str) -> bool:
    """Whether a pickle that imports this needs it for tensors and numbers only."""
    return bool(_PLAIN.fullmatch(imported))


def check_end(path: Path) -> None:
    """Raise `CorruptModelError` if PyTorch and Python could find different directories in an archive."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END))
        tail = file.read()
    end, locator = tail[-22:], tail[-42:-22]
    plain = end.startswith(b"PK\x05\x06") and end[-2:] == b"\0\0"
    if not plain or (
        locator.startswith(b"PK\x06\x07") and int.from_bytes(locator[8:16], "little") != size - _END
    ):
        raise CorruptModelError("it does not end as an archive that PyTorch writes")


def records(archive: zipfile.ZipFile) -> Records:
    """The records by name.

    Raises `CorruptModelError` if two readers could see different records: names that repeat (PyTorch ignores
    case), several top directories, bytes after the directory; `UnsupportedModelError` for an old format.
    """
    if any(name.endswith(_LEGACY) for name in archive.namelist()):
        raise UnsupportedModelError(
            "it was exported before PyTorch 2.8, whose format others do not read",
            hint="load it with that release and run `torch.onnx.export(program, dynamo=True)`",
        )
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    roots = {info.filename.partition("/")[0] for info in archive.infolist()}
    if len(roots) != 1 or archive.comment:
        raise CorruptModelError("it is no archive that PyTorch writes: it has several top directories")
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        if name.casefold() in seen or info.flag_bits & 1 or "\\" in name:
            raise CorruptModelError(f"it is no archive that PyTorch writes: `{name[:60]}` is there twice")
        seen.add(name.casefold())
        if name and not name.endswith("/"):
            found[name] = info
    return found


def exported_program(archive: zipfile.ZipFile, found: Records) -> dict[str, Any]:
    """The text of the program. Raises `CorruptModelError` or one of `DAMAGE`."""
    if _PROGRAM not in found:
        raise CorruptModelError("it holds no exported program called `model`")
    return _json(archive, found, _PROGRAM)


def _json(archive: zipfile.ZipFile, found: Records, name: str) -> dict[str, Any]:
    if found[name].file_size > _TEXT_BYTES or found[name].compress_type != zipfile.ZIP_STORED:
        raise CorruptModelError(f"`{name}` is too long, or compressed")
    try:
        value = json.loads(archive.read(found[name]))
    except (ValueError, RecursionError):
        raise CorruptModelError(f"`{name}` is no JSON text") from None
    if not isinstance(value, dict):
        raise CorruptModelError(f"`{name}` is no JSON object")
    return value


def _tensors(archive: zipfile.ZipFile, found: Records, config: str) -> Iterator[tuple[str, str, str | None]]:
    """The tensors that a list names: weight's name, record's path, and why it is no raw tensor, if so."""
    listed = _json(archive, found, config).get("config")
    if not isinstance(listed, dict):
        raise CorruptModelError(f"`{config}` lists no tensors")
    for weight, entry in listed.items():
        path = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(path, str):
            raise CorruptModelError(f"`{config}` names no record of `{weight[:60]}`")
        place = f"{config.rpartition('/')[0]}/{path}"
        raw = entry.get("use_pickle") is False and isinstance(entry.get("tensor_meta"), dict)
        if not _CONFIGS[config].fullmatch(path) or not raw:
            yield weight, place, "an object that is unpickled"
        else:
            yield weight, place, None


def foreign_records(archive: zipfile.ZipFile, found: Records) -> Iterator[str]:
    """What in an exported program would run or be unpickled, each told as `record: what`.

    Raises `CorruptModelError`, `UnsupportedModelError` or one of `DAMAGE`.
    """
    program = exported_program(archive, found)
    yield from dict.fromkeys(f"{_PROGRAM}: {text}" for text in foreign_texts(stripped(program)))
    known = {_PROGRAM, _SAMPLE, *_CONFIGS, *_MARKS}
    for config in _CONFIGS:
        if config not in found:
            continue
        yield from (f"{config}: {text}" for text in foreign_texts(_nameless(_json(archive, found, config))))
        for _, place, why in _tensors(archive, found, config):
            known.add(place)
            if why:
                yield f"{place}: {why}"
    for name in found:
        if name not in known and not name.startswith("extra/"):
            yield f"{name}: a record that is no part of an exported program"
    if _SAMPLE in found:
        yield from (f"{_SAMPLE}: imports {name}" for name in _sample_imports(archive, found))


def _nameless(config: dict[str, Any]) -> object:
    """The entries of a list of tensors without the weights' names, which PyTorch takes as they are."""
    listed = config.get("config")
    return list(listed.values()) if isinstance(listed, dict) else config


def _sample_imports(archive: zipfile.ZipFile, found: Records) -> Iterator[str]:
    """What the pickle of sample inputs imports beyond tensors; nothing if it is empty."""
    if found[_SAMPLE].file_size == 0:
        return
    with archive.open(found[_SAMPLE]) as file:
        try:
            with zipfile.ZipFile(file) as inner:
                names = [name for name in inner.namelist() if name.endswith("data.pkl")]
                data = inner.read(names[0]) if names else b""
        except DAMAGE:
            yield "an unknown format"
            return
    yield from (name for name in pickle_globals(data) if not is_plain(name))


def harmless_copy(source: Path, target: Path) -> tuple[str, ...]:
    """Copy an exported program with its text and raw tensors and nothing else.

    Nothing is written if there is more than that: it is what is returned, as `foreign_records` tells it.
    Raises `CorruptModelError`, `UnsupportedModelError` or one of `DAMAGE`.
    """
    with zipfile.ZipFile(source) as archive:
        found = records(archive)
        foreign = tuple(foreign_records(archive, found))
        if foreign:
            return foreign
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
            for name, text in (("archive_format", "pt2"), ("archive_version", "0"), ("byteorder", "little")):
                copy.writestr(f"model/{name}", _mark(archive, found, name) or text)
            copy.writestr("model/.data/version", _mark(archive, found, ".data/version") or "6\n")
            copy.writestr(f"model/{_PROGRAM}", json.dumps(stripped(exported_program(archive, found))))
            copy.writestr(f"model/{_SAMPLE}", b"")
            for config in _CONFIGS:
                if config not in found:
                    copy.writestr(f"model/{config}", '{"config": {}}')
                    continue
                copy.writestr(f"model/{config}", archive.read(found[config]))
                for place in sorted({place for _, place, _ in _tensors(archive, found, config)}):
                    _copy(archive, found, place, copy)
    return ()


def _mark(archive: zipfile.ZipFile, found: Records, name: str) -> str:
    if name not in found or found[name].file_size > 64:
        return ""
    return archive.read(found[name]).decode("ascii", "replace")


def _copy(archive: zipfile.ZipFile, found: Records, place: str, copy: zipfile.ZipFile) -> None:
    if place not in found or found[place].compress_type != zipfile.ZIP_STORED:
        raise CorruptModelError(f"the record `{place}` is missing or compressed")
    with archive.open(found[place]) as data, copy.open(f"model/{place}", "w", force_zip64=True) as out:
        while block := data.read(1 << 20):
            out.write(block)


def file_operators(archive: zipfile.ZipFile, found: Records) -> tuple[str, ...]:
    """Operators in a TorchScript program that read or write files, as `record: word`.

    Raises `CorruptModelError` if its code is beyond reason, or one of `DAMAGE`.
    """
    code = [info for name, info in found.items() if name.startswith("code/") and name.endswith(".py")]
    if sum(info.file_size for info in code) > _TEXT_BYTES:
        raise CorruptModelError("its code is larger than any model's")
    words = (
        f"{info.filename.partition('/')[2]}: {word.decode()}"
        for info in code
        for word in sorted(set(_WORDS.findall(archive.read(info))))
    )
    return tuple(words)
