"""The text of a PyTorch exported program (`models/model.json` of a `.pt2`), checked as data.

PyTorch builds Python code from it: it evaluates symbolic sizes and guards, resolves operators by attribute,
imports what tree specifications name, and writes node names into a generated function
(`torch/_export/serde/serialize.py`, `torch/export/_unlift.py`, `torch/fx/graph.py`). So a program is only as
harmless as every text in it, and each is held against what PyTorch itself writes at that place.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ovms_converter.formats.base import ModelDescription, TensorSpec
from ovms_converter.formats.torch_naming import asked_outputs, output_names, signed_inputs

__all__ = ["foreign_texts", "outline", "stripped"]

_NAME = re.compile(r"[\w.]*", re.ASCII)
_VERSION = re.compile(r"[\w.+:-]*", re.ASCII)
_DUNDER = re.compile(r"(^|\.)__\w*__(\.|$)")
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized_decomposed)\.(?P<name>\w+)\.(?P<overload>[a-zA-Z]\w*)",
    re.ASCII,
)
_FILES = ("from_file", "save", "load")
"""Operators of `aten` that read or write files."""

_OPERATOR_DUNDERS = re.compile(r"__i?(and|or|xor|lshift|rshift)__")
_FUNCTION = re.compile(
    r"_operator\.(add|and_|eq|floordiv|ge|getitem|gt|invert|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv|xor)"
    r"|math\.(ceil|floor|trunc|sqrt|exp|log|pow|isnan|isinf)"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)"
    r"|torch\._C\._set_grad_enabled"
    r"|torch\.ops\.higher_order\.(associative_scan|cond|flex_attention|invoke_subgraph|map_impl|scan|while_loop"
    r"|wrap_with_autocast|wrap_with_set_grad_enabled)"
)
"""Functions that are no operators."""

_TOKEN = re.compile(
    r"\s+"
    r"|Symbol\('[a-z]{1,4}\d{1,9}'(?:, [a-z]+=(?:True|False))*\)"
    r"|Float\('[-+.\de]{1,40}', precision=\d{1,3}\)"
    r"|\d{1,20}(?:\.\d{1,20})?"
    r"|(?P<call>[A-Za-z_]\w*)(?=\s*\()"
    r"|(?P<symbol>[A-Za-z_]\w*)"
    r"|\*\*\d(?!\d)"
    r"|[-+*/%(),<>=!&|~]",
    re.ASCII,
)
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}|oo|int_oo|True|False|true|false", re.ASCII)
_CALL = re.compile(
    r"Abs|Add|And|BitwiseFn_bitwise_(and|or)|CeilDiv|CeilToInt|CleanDiv|Eq|FloatPow|FloatTrueDiv|FloorDiv"
    r"|FloorToInt|G[et]|Identity|IntTrueDiv|Integer|IsNonOverlappingAndDenseIndicator|LShift|L[et]|M(ax|in|od|ul)"
    r"|ModularIndexing|N(e|ot)|Or|Pow(ByNatural)?|PythonMod|RShift|Rational|RoundDecimal|RoundToInt|ToFloat"
    r"|TruncTo(Float|Int)|Where|ceiling|floor|(Strict)?(Greater|Less)Than|(Une|E)quality"
)
_TREES = ("builtins.dict", "builtins.list", "builtins.tuple", "collections.OrderedDict", "torch.Size")


def stripped(program: Mapping[str, Any]) -> dict[str, Any]:
    """A program without what no conversion needs: stack traces, module types, guards in Python."""
    bare = {**_without_metadata(program)}
    if "guards_code" in bare:
        bare["guards_code"] = []
    return bare


def _without_metadata(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: {} if key == "metadata" and isinstance(item, dict) else _without_metadata(item)
            for key, item in value.items()
        }
    return [_without_metadata(item) for item in value] if isinstance(value, list) else value


def foreign_texts(program: object) -> Iterator[str]:
    """The texts of a program that PyTorch does not write, each told as `place: text`.

    The program must be `stripped`.
    """
    waiting: list[tuple[str, object]] = [("", program)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            yield from (f"a key: {_short(name)}" for name in value if not _is_name(name))
            if value.get("as_custom_obj") is not None:
                yield "as_custom_obj: an object of a C++ class"
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((key, item) for item in value)
        elif isinstance(value, str) and not _CHECKS.get(key, _is_name)(value):
            yield f"{_short(key) if not _is_name(key) else key}: {_short(value)}"


def _short(text: object) -> str:
    return f"`{str(text)[:60].encode('ascii', 'backslashreplace').decode()}`"


def _is_name(text: object) -> bool:
    """A name of nodes, weights or modules: it can end up in generated code."""
    return isinstance(text, str) and bool(_NAME.fullmatch(text)) and not _DUNDER.search(text)


def _is_operator(text: str) -> bool:
    found = _OPERATOR.fullmatch(text)
    if found:
        name = found["name"]
        return name not in _FILES and (not name.startswith("__") or bool(_OPERATOR_DUNDERS.fullmatch(name)))
    return bool(_FUNCTION.fullmatch(text))


def _is_expression(text: str) -> bool:
    """A size such as `2*s0 + Max(1, s1)`, or the same as sympy's `srepr` writes it."""
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return False
        call, symbol = token["call"], token["symbol"]
        if (call and not _CALL.fullmatch(call)) or (symbol and not _SYMBOL.fullmatch(symbol)):
            return False
        at = token.end()
    return len(text) <= 10_000


def _is_tree(text: str) -> bool:
    """How arguments or results nest: tuples, lists and dictionaries, no classes that would be imported."""
    try:
        waiting: list[object] = [json.loads(text)] if text else []
    except (ValueError, RecursionError):
        return False
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            kind, context = item.get("type"), item.get("context")
            if kind is not None and kind not in _TREES:
                return False
            if not (context is None or (isinstance(context, str) and _is_plain(context))):
                return False
            waiting.append(item.get("children_spec"))
    return True


def _is_plain(context: str) -> bool:
    """The keys of a dictionary, or null."""
    try:
        value = json.loads(context)
    except (ValueError, RecursionError):
        return False
    return value is None or (
        isinstance(value, list) and all(isinstance(item, (str, int, float, bool)) for item in value)
    )


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "target": _is_operator,
    "as_operator": _is_operator,
    "expr_str": _is_expression,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "as_float": lambda text: text in ("Infinity", "-Infinity", "NaN"),
    "as_string": lambda text: len(text) <= 1000,
    "torch_version": lambda text: bool(_VERSION.fullmatch(text)),
    "type": lambda text: bool(_VERSION.fullmatch(text)),
}
"""What a text must be, by the key that it is the value of; any other must be a name."""

_SCALARS = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
"""Numbers of types, by `torch/_export/serde/schema.py`."""

_SYMBOL_NAME = re.compile(r"Symbol\('(\w+)'")


def outline(
    program: Mapping[str, Any], signature: Mapping[str, Any] | None, found: ModelDescription
) -> ModelDescription:
    """A description with the operations of a program, and with inputs and outputs as they are published.

    `signature` is MLflow's. Raises KeyError, TypeError, AttributeError or ValueError if it is no program.
    """
    module = program["graph_module"]
    graph, ends = module["graph"], module["signature"]
    tensors = graph["tensor_values"]
    fixed = _fixed(program.get("range_constraints") or {})
    inputs = [spec["user_input"]["arg"] for spec in ends["input_specs"] if "user_input" in spec]
    outputs = [spec["user_output"]["arg"] for spec in ends["output_specs"] if "user_output" in spec]
    weights = [spec["parameter"]["arg"] for spec in ends["input_specs"] if "parameter" in spec]
    operations = Counter(str(node["target"]).removeprefix("torch.ops.") for node in graph["nodes"])
    elements = [_elements(tensors[weight["name"]]) for weight in weights]
    taken = _signed([_spec(each, tensors, fixed) for each in inputs if "as_tensor" in each], signature)
    tree = json.loads(module["module_call_graph"][0]["signature"]["out_spec"])[1]
    leaves = zip(_keys(tree), outputs, strict=True)
    given = [(key, _spec(each, tensors, fixed)) for key, each in leaves if "as_tensor" in each]
    names = output_names(
        [key for key, _ in given],
        {spec.name for spec in taken},
        [spec.name for _, spec in given],
        asked_outputs(signature),
    )
    return replace(
        found,
        producer=f"PyTorch {program.get('torch_version', '')}".strip(),
        inputs=tuple(taken),
        outputs=tuple(replace(spec, name=name) for name, (_, spec) in zip(names, given, strict=True)),
        operations={"torch": dict(operations.most_common())} if operations else {},
        parameters=sum(elements),
    )


def _signed(own: list[TensorSpec], signature: Mapping[str, Any] | None) -> list[TensorSpec]:
    signed = signed_inputs([spec.name for spec in own], signature)
    if signed is None:
        return own
    return [
        replace(spec, name=signed.name(position, spec.name), shape=signed.shape(position, spec.shape))
        for position, spec in enumerate(own)
    ]


def _keys(tree: Mapping[str, Any], key: str | None = None) -> Iterator[str | None]:
    """For every leaf of a tree specification, the key that it has in a dictionary."""
    children = tree["children_spec"]
    if tree["type"] is None:
        yield key
    elif tree["type"] in ("builtins.dict", "collections.OrderedDict"):
        for name, child in zip(json.loads(tree["context"]), children, strict=True):
            yield from _keys(child, str(name))
    else:
        for child in children:
            yield from _keys(child)


def _spec(argument: Mapping[str, Any], tensors: Mapping[str, Any], fixed: Mapping[str, int]) -> TensorSpec:
    name = argument["as_tensor"]["name"]
    tensor = tensors[name]
    shape = tuple(_size(size, fixed) for size in tensor["sizes"])
    return TensorSpec(name, _SCALARS.get(tensor["dtype"], "unknown"), shape)


def _size(size: Mapping[str, Any], fixed: Mapping[str, int]) -> int | str | None:
    if "as_int" in size:
        return int(size["as_int"])
    symbol = _SYMBOL_NAME.fullmatch(size["as_expr"]["expr_str"].split(",")[0])
    return fixed.get(symbol[1], symbol[1]) if symbol else None


def _fixed(ranges: Mapping[str, Mapping[str, Any]]) -> Mapping[str, int]:
    """The symbols that stand for one number only, which PyTorch fixed as it exported."""
    return {
        name: each["min_val"]
        for name, each in ranges.items()
        if isinstance(each["min_val"], int) and each["min_val"] == each["max_val"]
    }


def _elements(tensor: Mapping[str, Any]) -> int:
    count = 1
    for size in tensor["sizes"]:
        count *= int(size["as_int"])
    return count
