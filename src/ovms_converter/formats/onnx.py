"""ONNX: one file, recognised by its bytes, and the external data files that its graph names."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.errors import CorruptModelError, NotFoundError, UnsupportedModelError
from ovms_converter.formats.base import Files, ModelDescription, SourceModel
from ovms_converter.formats.local import mapped
from ovms_converter.formats.onnx_graph import OnnxDescription, Weight, describe_onnx
from ovms_converter.formats.outline import headers, onnx_outline
from ovms_converter.formats.tree import Sample, Tree, inside
from ovms_converter.formats.wire import LENGTH, VARINT
from ovms_converter.formats.words import naming, shown

__all__ = ["CLASSICAL_DOMAIN", "CLASSICAL_OPERATIONS", "ONNX", "OnnxFormat"]

_GRAPH = 7
_MODEL_FIELDS = {1: VARINT, 5: VARINT} | dict.fromkeys((2, 3, 4, 6, 8, 14, 20, 25, 26), LENGTH)
"""The other fields of a ModelProto and how they are written."""

_GRAPH_FIELDS = (1, 2, 5, 10, 11, 12, 13, 14, 15, 16)

_ENDLESS = 1 << 62

CLASSICAL_DOMAIN = "ai.onnx.ml"
"""ONNX's operators for classical machine learning, none of which OpenVINO has."""

CLASSICAL_OPERATIONS = frozenset(
    (
        "ArrayFeatureExtractor", "Binarizer", "FeatureVectorizer", "Imputer", "LabelEncoder",
        "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder", "SVMClassifier", "SVMRegressor",
        "Scaler", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap",
    )
)  # fmt: skip
"""Those of them that are written with plain operators before OpenVINO reads the model."""

_WHOLE = (
    "an ONNX model with external data is whole only together with the files it names; store them beside it"
)


def _is_onnx(sample: Sample) -> bool:
    """True if the first bytes are those of a ModelProto, even of a truncated one."""
    file = sample.window()
    seen = {8} if sample.suffix == ".onnx" else set[int]()
    try:
        for header in headers(file, 0, _ENDLESS):
            if header.number == _GRAPH and header.wire_type == LENGTH:
                inner = (
                    next(headers(file, header.payload, _ENDLESS), None)
                    if header.end > header.payload
                    else None
                )
                plausible = inner is None or (inner.number in _GRAPH_FIELDS and inner.wire_type == LENGTH)
                return plausible and bool(seen & {1, 8})
            if _MODEL_FIELDS.get(header.number) != header.wire_type:
                return False
            seen.add(header.number)
    except CorruptModelError:
        return False
    return False


def _refuse_classical_operators(path: str, description: OnnxDescription) -> None:
    found = description.operations.get(CLASSICAL_DOMAIN, {})
    left = sorted(found.keys() - CLASSICAL_OPERATIONS)
    if left:
        names = ", ".join(f"{shown(name)} ({found[name]})" for name in left)
        raise UnsupportedModelError(
            f"`{path}` uses operators of ONNX's classical machine learning domain `{CLASSICAL_DOMAIN}` that "
            f"have no form in plain ONNX operators: {names}",
            hint="they work on maps and texts, which OpenVINO has not: prepare the features before the "
            "model, and export what takes and gives numbers",
        )


class _Companions:
    """The files that hold external tensors, with every check that can be made before they are here."""

    def __init__(self, root: Path, model: SourceModel, files: Files | None) -> None:
        self._root = root
        self._model = model
        self._directory = posixpath.dirname(model.path)
        self._files = files
        self._ends: dict[str, tuple[int, Weight]] = {}

    def add(self, weight: Weight, location: str) -> None:
        """Note where a tensor is; raises `CorruptModelError` if that is outside the model's directory."""
        named_by = f"tensor {shown(weight.name)} of `{self._model.path}`"
        if "\\" in location:
            raise CorruptModelError(
                f"{named_by} names the file {location!r}, which is a Windows path",
                hint="save the model again with `/` in the names of its external data",
            )
        path = inside(self._directory, location, named_by)
        end = weight.offset + weight.length
        if end >= self._ends.get(path, (-1, weight))[0]:
            self._ends[path] = (end, weight)

    def paths(self) -> tuple[str, ...]:
        """All files; raises `CorruptModelError` for a missing one, a short one or a link out of the tree."""
        for path, (end, weight) in sorted(self._ends.items()):
            self._check_link(path, weight)
            size = self._size(path, end, weight)
            if size is not None and size < end:
                raise CorruptModelError(
                    f"`{path}` is truncated: tensor {shown(weight.name)} of `{self._model.path}` ends at "
                    f"byte {end}, and the file has {size}",
                    hint="compare its size and checksum with the original, and upload it again",
                )
        return tuple(sorted(self._ends))

    def _check_link(self, path: str, weight: Weight) -> None:
        base = (self._root / self._directory).resolve()
        if not (self._root / path).resolve().is_relative_to(base):
            raise CorruptModelError(
                f"`{path}`, which tensor {shown(weight.name)} names, is a link out of the model's directory",
                hint="copy the model with its links resolved (`cp -rL`)",
            )

    def _size(self, path: str, end: int, weight: Weight) -> int | None:
        """Bytes of a companion; None if neither the tree nor the disk tells."""
        if self._files is None:
            local = self._root / path
            return local.stat().st_size if local.is_file() else None
        sizes = self._files.sizes()
        if path in sizes:
            return sizes[path]
        try:
            found = self._files.read(path, max(end - 1, 0), 1)
        except NotFoundError:
            raise CorruptModelError(
                f"tensor {shown(weight.name)} of `{self._model.path}` is in the file `{path}`, "
                "which is missing",
                hint=_WHOLE,
            ) from None
        return None if found or not end else 0


@dataclass(frozen=True)
class OnnxFormat:
    """The `Format` of ONNX models."""

    name: str = "onnx"
    title: str = "an ONNX model"
    suffixes: tuple[str, ...] = (".onnx", ".ort")
    convertible: bool = True

    def find(self, tree: Tree) -> Iterator[SourceModel]:
        """Every file that is a ModelProto, whatever its name."""
        for sample in tree.unclaimed():
            if _is_onnx(sample):
                yield SourceModel(
                    self.name,
                    sample.path,
                    (sample.path,),
                    sample.stem,
                    f"`{sample.path}` begins as an ONNX model does",
                )

    def confirm(self, tree: Tree, model: SourceModel) -> None:
        """Raise `CorruptModelError` if the file ends before its graph does."""
        sample = tree.sample(model.path)
        if sample.size is not None:
            with naming(model.path):
                for _ in headers(sample.window(), 0, sample.size):
                    pass

    def companions(self, root: Path, model: SourceModel, files: Files | None, cut: bool) -> tuple[str, ...]:
        """The external data files. Raises `CorruptModelError` or `UnsupportedModelError`."""
        with naming(model.path):
            description = mapped(root / model.path, describe_onnx)
        if not cut:
            _refuse_classical_operators(model.path, description)
        found = _Companions(root, model, files)
        for weight in description.external:
            found.add(weight, weight.location or "")
        return found.paths()

    def describe(self, tree: Tree, model: SourceModel) -> ModelDescription:
        """What the graph declares; large tensors are not read."""
        with naming(model.path):
            found = describe_onnx(memoryview(onnx_outline(tree.sample(model.path).window())))
        external = sorted({weight.location for weight in found.external if weight.location})
        notes = [f"IR version {found.ir_version}"]
        if external:
            notes.append(f"weights in {len(external)} other file(s), first `{external[0]}`")
        if found.functions:
            notes.append(f"functions of its own: {', '.join(found.functions)}")
        return ModelDescription(
            format=self.name,
            title=self.title,
            evidence=model.evidence,
            producer=found.producer or None,
            inputs=found.inputs,
            outputs=found.outputs,
            opsets=found.opsets,
            operations=found.operations,
            parameters=found.parameters,
            parameter_bytes=found.parameter_bytes,
            notes=tuple(notes),
        )


ONNX = OnnxFormat()
