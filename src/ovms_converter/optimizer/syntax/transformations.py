"""Transformations with their arguments, which are Python's literals."""

import ast

from ovms_converter.optimizer.scanner import Scanner
from ovms_converter.optimizer.suggestions import did_you_mean, listed
from ovms_converter.optimizer.values import Transformation

__all__ = ["parse_transformations"]

_TRANSFORMATIONS: dict[str, dict[str, type]] = {
    "LowLatency2": {"use_const_initializer": bool},
    "MakeStateful": {"param_res_names": dict},
    "Pruning": {},
}


def parse_transformations(text: str, parameter: str = "transform") -> tuple[Transformation, ...]:
    """`LowLatency2[use_const_initializer=False],Pruning`: transformations with their arguments."""
    scanner = Scanner(text, parameter)
    transformations = scanner.items(lambda: _transformation(scanner))
    scanner.check_different(entry.name for entry in transformations)
    return transformations


def _transformation(scanner: Scanner) -> Transformation:
    name = scanner.name()
    if name not in _TRANSFORMATIONS:
        hint = did_you_mean(name, _TRANSFORMATIONS) or f"there are {listed(_TRANSFORMATIONS)}"
        raise scanner.error(f"there is no transformation `{name}`", hint)
    arguments: list[tuple[str, bool | tuple[tuple[str, str], ...]]] = []
    if scanner.take("["):
        while True:
            key = scanner.until(("=", ";", "]"))
            scanner.expect("=")
            arguments.append((key, _literal(scanner, name, key)))
            if not scanner.take(";"):
                break
        scanner.expect("]")
    scanner.check_different((key for key, _ in arguments))
    if name == "MakeStateful" and not arguments:
        raise scanner.error(
            "`MakeStateful` needs its argument", "`MakeStateful[param_res_names={'input':'output'}]`"
        )
    return Transformation(name, tuple(arguments))


def _literal(scanner: Scanner, name: str, key: str) -> bool | tuple[tuple[str, str], ...]:
    known = _TRANSFORMATIONS[name]
    if key not in known:
        has = listed(known) if known else "none"
        raise scanner.error(f"`{name}` has no argument `{key}`", f"its arguments are: {has}")
    text = _literal_text(scanner)
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if isinstance(value, bool) and known[key] is bool:
        return value
    if isinstance(value, dict) and known[key] is dict:
        pairs = tuple((first, second) for first, second in value.items())
        if pairs and all(isinstance(part, str) and part for pair in pairs for part in pair):
            return pairs
    wanted = "`True` or `False`" if known[key] is bool else "names in the form `{'input':'output'}`"
    raise scanner.error(f"the argument `{key}` of `{name}` is `{text}`; it takes {wanted}")


def _literal_text(scanner: Scanner) -> str:
    """The text up to the `;` or `]` that is not inside quotes."""
    start, quote = scanner.at, ""
    while scanner.at < len(scanner.text):
        character = scanner.text[scanner.at]
        if quote and character == "\\":
            scanner.at += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in ";]":
            break
        scanner.at += 1
    return scanner.text[start : scanner.at].strip()
