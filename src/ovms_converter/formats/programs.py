"""Programs in what somebody stored as a model, read as data: what a pickle imports, Keras' Lambda layers.

What is listed is what was seen, not a proof that there is nothing else.
"""

import json
import pickletools
import re

__all__ = ["LAMBDA", "keras_programs", "pickle_globals"]

LAMBDA = re.compile(rb'"class_name": ?"Lambda"')
"""A Lambda layer in a Keras configuration that cannot be read whole."""

_LISTED = 12


def pickle_globals(data: bytes) -> tuple[str, ...]:
    """What a pickle imports, as `module.name`, as far as the bytes go; nothing is executed."""
    found: dict[str, None] = {}
    memo: dict[int, str] = {}
    pushed: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                pushed.append(str(argument).replace(" ", "."))
                found[pushed[-1]] = None
            elif opcode.name == "STACK_GLOBAL":
                pushed[-2:] = [".".join(pushed[-2:])]
                found[pushed[-1]] = None
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = pushed[-1]
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[int(argument or 0)] = pushed[-1]
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                pushed.append(memo.get(int(argument or 0), "?"))
            elif opcode.stack_after:
                pushed.append(argument if isinstance(argument, str) else "?")
            if len(found) >= _LISTED:
                break
    except (ValueError, OverflowError, UnicodeError, IndexError):
        # The part that was read ends, or these are no opcodes: what was seen so far stays true.
        pass
    return tuple(found)


def keras_programs(config: bytes) -> tuple[str, ...]:
    """Lambda layers, and objects of modules other than Keras' own, in an archive's configuration."""
    try:
        waiting: list[object] = [json.loads(config)]
    except (ValueError, RecursionError):
        return ("Lambda",) if LAMBDA.search(config) else ()
    found: dict[str, None] = {}
    while waiting and len(found) < _LISTED:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            kind, module = item.get("class_name"), item.get("module")
            if kind == "Lambda":
                settings = item.get("config")
                name = settings.get("name") if isinstance(settings, dict) else None
                found[f"Lambda ({name})" if name else "Lambda"] = None
            elif isinstance(module, str) and not module.startswith(("keras", "builtins")):
                found[f"{module}.{kind}"] = None
            waiting += item.values()
    return tuple(found)
