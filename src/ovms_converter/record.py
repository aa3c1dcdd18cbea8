"""`conversion.json`: the story of a conversion, told in the version that it made. No secret, no time."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ovms_converter._version import __version__
from ovms_converter.assurance import Assurance
from ovms_converter.engine.job import ConvertedModel, Port
from ovms_converter.errors import ModelError
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.describe import describe
from ovms_converter.formats.onnx_graph import DEFAULT_DOMAIN
from ovms_converter.formats.tree import LocalFiles
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.parameters import PARAMETERS, Kind, Support
from ovms_converter.repository.graph import Graph, read_graph
from ovms_converter.repository.releases import minimum_openvino
from ovms_converter.request import ConversionRequest
from ovms_converter.storage.base import FetchedFile, FetchedTree
from ovms_converter.storage.location import Location

__all__ = [
    "SCHEMA",
    "Circumstances",
    "build_record",
    "digest",
    "fingerprint",
    "hashed",
    "reads_more_than_the_source",
    "request_digest",
    "source_operations",
]

SCHEMA = "ovms-converter/conversion/1"
_BLOCK = 1 << 18
_OWN_DOMAINS = (DEFAULT_DOMAIN, "tensorflow", "tflite", "paddle")
"""Domains that go without saying."""

_BESIDE_THE_RESULT = frozenset(
    {
        "benchmark", "dry_run", "extra_args", "input_model", "keep", "log_level", "memory_limit",
        "model_version", "output_model", "sign", "timeout", "tolerance", "verbose", "verify", "verify_data",
    }
)  # fmt: skip
"""Parameters that do not change what is published, or that are counted elsewhere: `extra_args` as what is in
it.
"""


@dataclass(frozen=True)
class Circumstances:
    """What decides a result beside its source and the parameters.

    `programs`     name → version of those that take part, besides this one
    `signer`       the fingerprint of the key that signs, which makes the signature a part of the result
    `calibration`  SHA-256 of `calibration_data`
    """

    programs: Mapping[str, str]
    signer: str | None = None
    calibration: str | None = None

    def decisive(self) -> dict[str, object]:
        """As a part of a digest."""
        versions = {"ovms_converter": __version__, **self.programs}
        return {"versions": versions, "signer": self.signer, "calibration": self.calibration}


def digest(path: Path) -> str:
    """SHA-256 of a file as hex digits."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            hasher.update(buffer[:size])
    return hasher.hexdigest()


def hashed(tree: FetchedTree) -> tuple[FetchedFile, ...]:
    """The files of a tree, each with its digest; those that were hashed in transit are not read again."""
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda file: file.sha256 or digest(tree.root / file.path), tree.files)
        return tuple(
            FetchedFile(file.path, file.size, sha256)
            for file, sha256 in zip(tree.files, digests, strict=True)
        )


def fingerprint(
    request: ConversionRequest,
    model: SourceModel,
    files: Sequence[FetchedFile],
    circumstances: Circumstances,
) -> str:
    """What decides the result: source bytes, their roles, the parameters' meaning, the circumstances."""
    return _digest_of(
        {
            "files": sorted((_within(file.path, model.path), file.sha256) for file in files),
            "format": [model.format, request.output_format],
            "arguments": _meaning(request.arguments),
            "stem": request.model_name or model.stem,
            "weights": request.weights,
            **circumstances.decisive(),
        }
    )


def request_digest(request: ConversionRequest, circumstances: Circumstances) -> str:
    """All that decides the result but the source: what was asked for, and the programs' versions.

    It is known before the source is, and so goes by the text of what was given. What is not known to be
    beside the point counts.
    """
    given = {name: item.value for name, item in request.parameters.items() if name not in _BESIDE_THE_RESULT}
    return _digest_of({"given": given, **replace(circumstances, calibration=None).decisive()})


def reads_more_than_the_source(request: ConversionRequest) -> bool:
    """Whether the result depends on a further file, which `request_digest` knows by its name alone."""
    return any(
        parameter.kind is Kind.URL and parameter.name not in _BESIDE_THE_RESULT
        for parameter in PARAMETERS
        if parameter.name in request.parameters
    )


def _digest_of(decisive: Mapping[str, object]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def build_record(
    request: ConversionRequest,
    model: SourceModel,
    source_files: Sequence[FetchedFile],
    converted: ConvertedModel | None,
    written: Sequence[FetchedFile],
    circumstances: Circumstances,
    *,
    state: Mapping[str, Any] | None,
    asked: str,
    assurance: Assurance,
    operations: Mapping[str, int],
) -> dict[str, Any]:
    """The record as JSON values. `converted` is None where the source was published as it is.

    `asked` is the `request_digest`; `assurance` tells how strongly the result was verified; `state` is what
    the store tells of the source, None if it tells nothing sure. `operations` are the source's, by type.
    """
    graph = _graph_of(converted.xml) if converted else None
    return {
        "schema": SCHEMA,
        "fingerprint": fingerprint(request, model, source_files, circumstances),
        "request": asked,
        "source": _source(request, model, source_files, state),
        "parameters": _parameters(request),
        "versions": {"ovms_converter": __version__, **circumstances.programs},
        "minimum_openvino": _minimum_openvino(graph),
        "inputs": _ports(converted.inputs) if converted else [],
        "outputs": _ports(converted.outputs) if converted else [],
        "operations": {"source": dict(operations), "result": dict(graph.counts) if graph else {}},
        "verification": converted.verified if converted else "not verified: published as it was",
        "assurance": assurance.to_record(),
        "comparison": [asdict(output) for output in converted.comparison] if converted else [],
        "repairs": list(converted.repairs) if converted else [],
        "notes": list(converted.notes) if converted else [],
        "without_effect": list(request.arguments.without_effect),
        "files": {file.path: {"size": file.size, "sha256": file.sha256} for file in written},
        "signed_by": circumstances.signer and f"sha256:{circumstances.signer}",
    }


def _graph_of(path: Path) -> Graph:
    with path.open("rb") as file:
        return read_graph(iter(partial(file.read, _BLOCK), b""))


def _source(
    request: ConversionRequest,
    model: SourceModel,
    files: Sequence[FetchedFile],
    state: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What was converted: where it came from, what it is, and the files that were read."""
    told: dict[str, Any] = {
        "url": _place(request.input),
        "format": model.format,
        "evidence": model.evidence,
        "files": [
            {"path": file.path, "size": file.size, "sha256": file.sha256}
            for file in sorted(files, key=lambda file: file.path)
        ],
        "state": state,
    }
    if model.mlflow:
        names = ("mlflow_version", "model_uuid", "run_id", "signature")
        told["mlflow"] = {name: getattr(model.mlflow, name) for name in names}
    return told


def source_operations(model: SourceModel, tree: FetchedTree) -> Mapping[str, int]:
    """How many nodes of each type a source has, most frequent first; none where its format does not tell."""
    files = LocalFiles(tree.root, [file.path for file in tree.files])
    try:
        found = describe(files, model).operations
    except ModelError:
        return {}
    counts = Counter(
        {
            name if domain in _OWN_DOMAINS else f"{domain}.{name}": count
            for domain, names in found.items()
            for name, count in names.items()
            if name != "Const"
        }
    )
    return dict(counts.most_common())


def _parameters(request: ConversionRequest) -> dict[str, dict[str, str]]:
    """Every parameter that has a value, and where that came from."""
    given = {
        name: {"value": _public(request, name, item.value), "origin": item.origin}
        for name, item in request.parameters.items()
    }
    defaults = {
        parameter.name: {"value": parameter.default, "origin": "default"}
        for parameter in PARAMETERS
        if parameter.default and parameter.support is Support.HONOURED
    }
    return dict(sorted((defaults | given).items()))


def _meaning(arguments: OptimizerArguments) -> dict[str, str]:
    """The arguments that act on the result, as text by name."""
    silent = {*arguments.without_effect, "log_level", "framework"}
    return {name: text for name, text in arguments.to_values().items() if name not in silent}


def _minimum_openvino(graph: Graph | None) -> str | None:
    """The oldest release that reads the result; None if that is not known."""
    found = minimum_openvino(graph) if graph else None
    return found[0] if found else None


def _ports(ports: Sequence[Port]) -> list[dict[str, str]]:
    return [{"name": port.name, "type": port.type, "shape": port.shape} for port in ports]


def _within(path: str, model_path: str) -> str:
    """A file's name relative to the model, so that the place of the model does not count."""
    base = model_path if path.startswith(f"{model_path}/") else model_path.rpartition("/")[0]
    return path.removeprefix(f"{base}/") if base else path


def _public(request: ConversionRequest, name: str, value: str) -> str:
    if name == "sign" and not value.startswith("env:"):
        return Path(value).name
    places = {
        "input_model": request.input,
        "output_model": request.output,
        "verify_data": request.verify_data,
        "calibration_data": request.calibration_data,
    }
    place = places.get(name)
    return _place(place) if place else value


def _place(location: Location) -> str:
    """A location without secrets; of a local one only the last name, which tells nothing of the machine."""
    return str(location) if location.is_remote else location.name
