"""An inspection held against the conversion of the same model."""

from collections.abc import Sequence
from pathlib import Path

from conversions import Conversions
from ovms_converter.formats.base import ModelDescription, TensorSpec, shape_text
from ovms_converter.inspection import inspect

__all__ = ["both"]

TYPES = {"bool": "boolean", "bfloat16": "bf16", "float": "f", "uint": "u", "int": "i"}


def openvino_type(name: str) -> str:
    """`float32` → `f32`."""
    begin = next(begin for begin in TYPES if name.startswith(begin))
    return TYPES[begin] + name[len(begin) :]


def sizes(text: str) -> list[str] | None:
    inner = text.strip("[]")
    return None if "..." in inner else [part.strip() for part in inner.split(",")] if inner else []


def check(told: Sequence[TensorSpec], published: Sequence[dict[str, str]], exactly: bool) -> None:
    """Hold ports against each other; unless `exactly`, a size that is not known yet may turn out fixed."""
    assert [spec.name for spec in told] == [port["name"] for port in published]
    for spec, port in zip(told, published, strict=True):
        if spec.type != "unknown":
            assert openvino_type(spec.type) == port["type"]
        if spec.shape is None:
            continue
        shape = [size if isinstance(size, int) else None for size in spec.shape]
        own = sizes(port["shape"])
        assert own is not None
        assert len(own) == len(shape), (shape_text(spec.shape), port["shape"])
        for one, other in zip(shape, own, strict=True):
            assert str(one) == other or (one is None and (other == "?" or not exactly))


def both(source: Path, directory: Path, **parameters: str) -> ModelDescription:
    """Inspect and convert a model, hold the ends of both against each other, and hand back what was told."""
    found = inspect(str(source), environ={}).description
    assert found is not None
    converted = Conversions(str(directory / "published"))
    converted(str(source), **parameters)
    record = converted.record()
    if found.inputs or found.outputs:
        check(found.inputs, record["inputs"], exactly=True)
    if found.outputs:
        check(found.outputs, record["outputs"], exactly=False)
    return found
