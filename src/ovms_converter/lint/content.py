"""What the small files of the served version tell: its graph, its record, its `mapping_config.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ovms_converter.errors import CorruptModelError, LocationError
from ovms_converter.lint.findings import Findings, Severity
from ovms_converter.lint.names import Layout, model_files
from ovms_converter.repository import RECORD, SIGNATURE, Version
from ovms_converter.repository.graph import Graph, GraphPort, read_graph
from ovms_converter.repository.releases import minimum_openvino
from ovms_converter.repository.versions import check_small, load_record, members
from ovms_converter.storage.base import Destination

__all__ = ["GraphFacts", "check_content"]

_MAPPING = "mapping_config.json"
_LARGEST_GRAPH = 512 << 20
_PART = 8 << 20


@dataclass(frozen=True)
class GraphFacts:
    """What the served graph tells. `minimum_openvino` is None if no release is known to read it."""

    minimum_openvino: str | None
    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]


def check_content(destination: Destination, layout: Layout, findings: Findings) -> GraphFacts | None:
    """Check the records of all versions, and everything in the served one."""
    for version in layout.numbers.values():
        if version:
            _check_record(destination, layout, version, findings)
    served = layout.served_version
    if served is None:
        return None
    graph = None
    model, *weights = model_files(served)
    if model.endswith(".xml"):
        graph = _check_graph(destination, served, model, weights[0], findings)
    if _MAPPING in served.files:
        _check_mapping(destination, served, graph, findings)
    if graph is None:
        return None
    release = minimum_openvino(graph)
    return GraphFacts(release[0] if release else None, graph.inputs, graph.outputs)


def _check_record(destination: Destination, layout: Layout, version: Version, findings: Findings) -> None:
    path = f"{version.directory}/{RECORD}"
    if RECORD not in version.files:
        return
    try:
        record = load_record(destination, version)
    except (CorruptModelError, LocationError) as error:
        findings.warning("invalid-record", path, error.message)
        return
    if members(record) - record["files"].keys() - version.files.keys():
        findings.warning("invalid-record", path, f"it tells of `{SIGNATURE}`, which is not there")
    for name, facts in record["files"].items():
        entry = version.files.get(name)
        if entry and entry.size not in (None, facts.get("size")):
            findings.add(
                "size-differs",
                Severity.ERROR if version.number == layout.served else Severity.WARNING,
                f"{version.directory}/{name}",
                f"it has {entry.size:,} bytes, and the record tells of {facts.get('size')}",
            )
        elif entry is None and version.number == layout.served and not name.endswith((".xml", ".bin")):
            findings.warning("invalid-record", path, f"it tells of `{name}`, which is not there")


def _check_graph(
    destination: Destination, version: Version, model: str, weights: str, findings: Findings
) -> Graph | None:
    path = f"{version.directory}/{model}"
    length = version.files[model].size or 0
    if length > _LARGEST_GRAPH:
        text = f"it has {length:,} bytes, and no more than {_LARGEST_GRAPH:,} of a graph are looked at here"
        findings.warning("large-graph", path, text)
        return None
    source = destination.as_source()
    try:
        graph = read_graph(source.read(path, start, _PART) for start in range(0, length, _PART))
    except CorruptModelError as error:
        findings.error("unreadable-graph", path, error.message)
        return None
    there = version.files[weights].size
    if there is not None and there < graph.weights_end:
        findings.error(
            "weights-too-short",
            f"{version.directory}/{weights}",
            f"it has {there:,} bytes, and the graph needs {graph.weights_end:,}",
        )
    _check_ports(graph.inputs, "input", path, findings)
    _check_ports(graph.outputs, "output", path, findings)
    release = minimum_openvino(graph)
    if release:
        text = f"OVMS {release[0]} or later reads it, because of {release[1]}"
        findings.info("minimum-release", path, text)
    elif graph.ir_version < 10:
        findings.error("old-ir", path, f"OVMS no longer reads IR version {graph.ir_version}")
    else:
        strange = sorted(
            {f"`{kind}` of `{opset}`" for kind, opset in graph.operations if "opset" not in opset}
        )
        what = ", ".join(strange[:3]) or "an operation set of a later release"
        findings.warning("unknown-operation", path, f"it is not known which release reads {what}")
    return graph


def _check_ports(ports: Sequence[GraphPort], kind: str, path: str, findings: Findings) -> None:
    for number, port in enumerate(ports):
        if not port.names and kind == "input":
            findings.error("unnamed-input", path, f"input {number} has no name, and OVMS does not load it")
        elif not port.names:
            findings.warning(
                "unnamed-output", path, f"output {number} has no name; OVMS calls it `out_{number}`"
            )
        elif len(port.names) > 1:
            names = ", ".join(f"`{name}`" for name in port.names)
            findings.warning("several-names", path, f"{kind} {number} is {names}; OVMS takes any one of them")


def _check_mapping(
    destination: Destination, version: Version, graph: Graph | None, findings: Findings
) -> None:
    path = f"{version.directory}/{_MAPPING}"
    try:
        check_small(version, _MAPPING)
        mapping = json.loads(destination.read(path))
        faults = _mapping_faults(mapping)
    except CorruptModelError as error:
        findings.warning("invalid-mapping", path, error.message)
        return
    except (ValueError, RecursionError):
        faults = ["it is no JSON"]
    for fault in faults:
        findings.warning("invalid-mapping", path, f"OVMS ignores the file: {fault}")
    if faults or graph is None:
        return
    for key, ports in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        known = {name for port in ports for name in port.names}
        for name in sorted(mapping.get(key, {}).keys() - known):
            findings.warning("unknown-mapped-name", path, f"the model has no {key[:-1]} `{name}`")


def _mapping_faults(mapping: object) -> list[str]:
    if not isinstance(mapping, Mapping):
        return ["it is no JSON object"]
    faults = [f"`{key}` is neither `inputs` nor `outputs`" for key in mapping.keys() - {"inputs", "outputs"}]
    for key in ("inputs", "outputs"):
        names = mapping.get(key, {})
        if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
            faults.append(f"`{key}` does not map names to names")
    return sorted(faults)
