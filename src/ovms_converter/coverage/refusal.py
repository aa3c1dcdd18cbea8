"""Refusing a graph before its weights are fetched, where no conversion could succeed."""

from pathlib import Path

from ovms_converter.coverage.operations import Operations, onnx_operations
from ovms_converter.coverage.rules import coverage, has_rule, workaround
from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.local import mapped
from ovms_converter.formats.wire import Message
from ovms_converter.formats.words import naming, shown

__all__ = ["refuse_unsupported"]

_LISTED = 4
_NODES = 2


def refuse_unsupported(graph: Path, name: str) -> None:
    """Raise `UnsupportedModelError` for an ONNX file, called `name`, with operations that OpenVINO lacks.

    Only what its outputs need counts, and nothing is refused if another openvino is installed than the one
    that was asked what it can do.
    """
    if not coverage().matches:
        return
    with naming(name):
        operations = mapped(graph, lambda data: onnx_operations(Message(data), needed=True))
    lacking = [
        key for key, _ in operations.counts.most_common() if not has_rule(*key) and key not in operations.own
    ]
    if lacking:
        told = ", ".join(_told(operations, key) for key in lacking[:_LISTED])
        more = f" and {len(lacking) - _LISTED} more" if len(lacking) > _LISTED else ""
        raise UnsupportedModelError(
            f"OpenVINO has no operation for {told}{more}, which `{name}` needs", hint=workaround(*lacking[0])
        )


def _told(operations: Operations, key: tuple[str, str]) -> str:
    """An operation as an error names it: with its domain, how often it is there, and where first."""
    domain, operation = key
    label = operation if domain in ("ai.onnx", "tensorflow") else f"{domain}.{operation}"
    nodes = ", ".join(shown(node) for node in operations.nodes[key][:_NODES] if node)
    count = operations.counts[key]
    return f"`{label}`" + (f" ({count}{f': {nodes}' if nodes else ''})" if count > 1 or nodes else "")
