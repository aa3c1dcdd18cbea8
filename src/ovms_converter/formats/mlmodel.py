"""The `MLmodel` file of MLflow 1.x, 2.x and 3.x: read safely, and only a guide to what lies beside it."""

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.base import MLflowModel
from ovms_converter.formats.tree import Tree
from ovms_converter.formats.words import naming

__all__ = ["LIMIT", "find_mlmodels", "parse_mlmodel", "read_mlmodel"]

LIMIT = 1 << 20
"""Bytes of the largest `MLmodel` that is read."""

_DEPTH = 32
_ALIASES = 100
_TAGS = {"map", "seq", "str", "null", "bool"}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # known at run time
    """YAML with texts, lists, mappings, null and true/false only: every number stays the text that it is.

    So no value can cost more time than its length (YAML's base-60 integers do), and versions such as 1.10
    survive.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has them
        letter: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in _TAGS]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012 - as above
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in _TAGS
    }


def find_mlmodels(tree: Tree) -> Iterator[str]:
    """The directories that an `MLmodel` describes, without the copies that MLflow 3 keeps in `metadata/`."""
    found = sorted(posixpath.dirname(path) for path in tree.paths if posixpath.basename(path) == "MLmodel")
    for directory in found:
        parent, _, name = directory.rpartition("/")
        if name != "metadata" or parent not in found:
            yield directory


def read_mlmodel(tree: Tree, directory: str) -> MLflowModel:
    """The `MLmodel` of a directory of a tree. Raises `CorruptModelError`."""
    path = posixpath.join(directory, "MLmodel")
    with naming(path):
        data = tree.files.read(path, 0, LIMIT + 1)
        if len(data) > LIMIT:
            raise CorruptModelError(f"it is larger than {LIMIT} bytes")
        return parse_mlmodel(data, directory)


def parse_mlmodel(data: bytes, directory: str = "") -> MLflowModel:
    """What an `MLmodel` says. Raises `CorruptModelError` if it is no YAML mapping with `flavors`."""
    content = _load(data)
    flavors = content.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise CorruptModelError("it names no flavors")
    named = {str(name): values if isinstance(values, dict) else {} for name, values in flavors.items()}
    python_function = named.pop("python_function", {})
    return MLflowModel(
        directory=directory,
        mlflow_version=_text(content, "mlflow_version"),
        flavors=named,
        python_function=python_function,
        signature=_signature(content.get("signature")),
        model_uuid=_text(content, "model_uuid") or _text(content, "model_id"),
        run_id=_text(content, "run_id"),
        example=_example(content.get("saved_input_example_info")),
    )


def _load(data: bytes) -> dict[Any, Any]:
    try:
        _check_structure(data)
        content = yaml.load(data, Loader=_Loader)  # noqa: S506 - it makes nothing but texts, lists and mappings
    except yaml.YAMLError as error:
        raise CorruptModelError(_complaint(error)) from None
    except (ValueError, TypeError, RecursionError):
        raise CorruptModelError("it is no YAML that MLflow writes") from None
    if not isinstance(content, dict):
        raise CorruptModelError("it is no YAML mapping")
    return content


def _complaint(error: yaml.YAMLError) -> str:
    """PyYAML's complaint in one line, which may quote a part of the file of any length."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return "it is no YAML text"
    said = ", ".join(filter(None, (error.context, error.problem))) or "it is no YAML"
    return f"{said[:200]}{f' in line {error.problem_mark.line + 1}' if error.problem_mark else ''}"


def _check_structure(data: bytes) -> None:
    """Refuse what makes a small YAML file expensive: depth, many aliases, merge keys, several documents."""
    depth = aliases = 0
    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<":
            raise CorruptModelError("it uses YAML merge keys")
        if depth > _DEPTH or aliases > _ALIASES:
            raise CorruptModelError("it is nested or aliased beyond reason")


def _text(content: Mapping[Any, Any], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None


def _example(value: object) -> str | None:
    """The path of the input example that was logged with the model."""
    return _text(value, "artifact_path") if isinstance(value, dict) else None


def _signature(value: object) -> dict[str, Any] | None:
    """MLflow's signature, whose `inputs`, `outputs` and `params` are JSON texts; others are left out."""
    if not isinstance(value, dict):
        return None
    parsed: dict[str, Any] = {}
    for part in ("inputs", "outputs", "params"):
        text = value.get(part)
        if isinstance(text, str):
            try:
                parsed[part] = json.loads(text)
            except (ValueError, RecursionError):
                continue
    return parsed or None
