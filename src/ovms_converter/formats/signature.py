"""MLflow's signature as tensors."""

from collections.abc import Mapping
from typing import Any

from ovms_converter.formats.base import TensorSpec

__all__ = ["signature_specs"]

_COLUMN_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
}
"""MLflow's names of column types → numpy's."""


def signature_specs(signature: Mapping[str, Any], part: str) -> tuple[TensorSpec, ...]:
    """One part of MLflow's signature, "inputs" or "outputs"; columns are one matrix `[?,n]`.

    What is no tensor or column of a plain type is left out: a signature is a hint, not the model.
    """
    entries = signature.get(part)
    if not isinstance(entries, list):
        return ()
    named = [entry for entry in entries if isinstance(entry, dict)]
    tensors = [spec for entry in named if (spec := _tensor(entry, part)) is not None]
    columns = {_COLUMN_TYPES[kind] for entry in named if (kind := str(entry.get("type"))) in _COLUMN_TYPES}
    if tensors or len(columns) != 1:
        return tuple(tensors)
    return (TensorSpec(part, columns.pop(), (None, len(named))),)


def _tensor(entry: Mapping[str, Any], part: str) -> TensorSpec | None:
    spec = entry.get("tensor-spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("shape"), list):
        return None
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in spec["shape"])
    return TensorSpec(str(entry.get("name") or part), str(spec.get("dtype")), shape)
