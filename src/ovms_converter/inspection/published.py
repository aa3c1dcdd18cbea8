"""Versions that were published at a location, and the story of the newest one."""

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace

from ovms_converter.errors import ConverterError, CorruptModelError, LocationError
from ovms_converter.formats.base import Files, ModelDescription, TensorSpec
from ovms_converter.inspection.report import Published
from ovms_converter.repository import RECORD, version_number
from ovms_converter.repository.graph import GraphPort, read_graph

__all__ = ["find_published", "is_published", "published_description", "source_graph"]

_RECORD_LIMIT = 4 << 20
_GRAPH_LIMIT = 64 << 20
_MEMBERS = (".xml", ".bin", ".mapping")
_OLD = 10
"""The version of IR that Model Optimizer wrote; later ones name tensors."""


def find_published(files: Files, name: str) -> Published | None:
    """The versions below a location whose last part is `name`; the location may be one version itself.

    Where several directories hold versions, those nearest to the location count.
    """
    directories: dict[str, dict[str, int | None]] = {}
    for path, size in files.sizes().items():
        directory, member = posixpath.split(path)
        if member == RECORD or member.endswith(_MEMBERS):
            directories.setdefault(directory, {})[member] = size
    found = [
        (posixpath.dirname(directory), number, directory, members)
        for directory, members in directories.items()
        if (number := version_number(posixpath.basename(directory) or name)) is not None
        and (RECORD in members or any(member.endswith(".xml") for member in members))
    ]
    if not found:
        return None
    base = min((each[0] for each in found), key=lambda each: (each.count("/") + bool(each), each))
    versions = {
        number: (directory, members) for parent, number, directory, members in found if parent == base
    }
    complete = sorted(
        number for number, (_, members) in versions.items() if any(m.endswith(".xml") for m in members)
    )
    newest = complete[-1] if complete else None
    directory, members = versions[newest] if newest is not None else ("", {})
    return Published(
        directory=base,
        place=directory,
        versions=tuple(complete),
        incomplete=tuple(sorted(versions.keys() - set(complete))),
        newest=newest,
        files=dict(sorted(members.items())),
        record=_record(files, directory) if RECORD in members else None,
    )


def is_published(path: str, name: str) -> bool:
    """Whether a file is part of a published version, by its name and place."""
    directory, member = posixpath.split(path)
    return (member == RECORD or member.endswith(_MEMBERS)) and bool(
        version_number(posixpath.basename(directory) or name)
    )


def _record(files: Files, directory: str) -> Mapping[str, object] | None:
    try:
        record = json.loads(files.read(posixpath.join(directory, RECORD), 0, _RECORD_LIMIT))
    except (ValueError, RecursionError, ConverterError):
        return None
    return record if isinstance(record, dict) else None


def published_description(found: Published, files: Files) -> ModelDescription:
    """The newest version as its record tells it; as its graph does, if there is no record."""
    record = found.record or {}
    versions = record.get("versions")
    producer = f"openvino {versions.get('openvino')}" if isinstance(versions, dict) else None
    weights = [size for name, size in found.files.items() if name.endswith(".bin") and size is not None]
    description = ModelDescription(
        format="openvino.ir",
        title="OpenVINO IR, published",
        evidence=f"version {found.newest} holds "
        + " and ".join(f"`{name}`" for name in sorted(found.files) if name != RECORD),
        producer=producer,
        inputs=_ports(record.get("inputs")),
        outputs=_ports(record.get("outputs")),
        parameter_bytes=sum(weights) if weights else None,
    )
    graph = next((name for name in found.files if name.endswith(".xml")), None)
    if description.inputs or description.outputs or graph is None:
        return description
    return _with_graph(description, files, posixpath.join(found.place, graph))


def _with_graph(description: ModelDescription, files: Files, path: str) -> ModelDescription:
    """A description with the inputs and outputs that an `.xml` tells; as it was if that cannot be read."""
    try:
        graph = read_graph([files.read(path, 0, _GRAPH_LIMIT)])
    except (CorruptModelError, LocationError):
        return description
    return replace(
        description,
        inputs=_graph_ports(graph.inputs),
        outputs=_graph_ports(graph.outputs),
        notes=(*description.notes, f"IR version {graph.ir_version}"),
    )


def source_graph(description: ModelDescription, files: Files, path: str) -> ModelDescription:
    """A description with the ends of an `.xml` that is to be converted, as they are published.

    OpenVINO gives those of IR before version 11 other names and types when it reads them.
    """
    found = _with_graph(description, files, path)
    if f"IR version {_OLD}" in found.notes:
        told = "inputs and outputs get their names of before IR version 11, and f16 becomes f32"
        return replace(found, inputs=(), outputs=(), notes=(*found.notes, told))
    return replace(found, inputs=_in_numpy(found.inputs), outputs=_in_numpy(found.outputs))


def _in_numpy(ports: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The same with numpy's names of types, which all sources have."""
    return tuple(replace(port, type=_numpy_type(port.type)) for port in ports)


def _numpy_type(name: str) -> str:
    found = re.fullmatch(r"(bf|f|i|u)(\d+)", name)
    if found is None:
        return {"boolean": "bool"}.get(name, name)
    return {"bf": "bfloat", "f": "float", "i": "int", "u": "uint"}[found[1]] + found[2]


def _graph_ports(ports: tuple[GraphPort, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(next(iter(port.names), "(no name)"), port.type, _shape(port.shape)) for port in ports
    )


def _ports(ports: object) -> tuple[TensorSpec, ...]:
    named = [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []
    return tuple(
        TensorSpec(str(port.get("name")), str(port.get("type")), _shape(str(port.get("shape", ""))))
        for port in named
    )


def _shape(text: str) -> tuple[int | str | None, ...] | None:
    """`[?,3,224,224]` as a record writes it; ranges of sizes stay the text that they are."""
    inner = text.strip("[] ")
    if "..." in inner:
        return None
    parts = [part.strip() for part in inner.split(",")] if inner else []
    return tuple(None if part == "?" else int(part) if part.isdigit() else part for part in parts)
