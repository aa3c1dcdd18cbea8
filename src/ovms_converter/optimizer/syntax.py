"""The grammar of Model Optimizer's arguments, as 2021.4 and 2024.6 accept them.

    shapes     = shape { "," shape }
    shape      = "[" [ dimension { space dimension } ] "]"           also in round brackets
    dimension  = integer | "?" | "-1" | [ integer ] ".." [ integer ]
    inputs     = entry { "," entry }
    entry      = [ name ] { shape | "{" type "}" } [ "->" value ]
    frozen     = name "->" value { "," name "->" value }
    value      = scalar | "[" [ scalar { space scalar } ] "]"
    scalar     = number | "true" | "false"
    channels   = name list { "," name list }  |  list { "," list }
    list       = "[" number { "," number } "]"                       also in round brackets
    layouts    = item { "," item }
    item       = [ name ] "(" change ")"  |  [ name ] bracketed [ "->" layout ]  |  change
    change     = [ layout ] [ "->" layout ]
    layout     = letters | bracketed
    bracketed  = "[" letter-or-word { "," letter-or-word } "]"       "?" any, "..." any number
    transforms = word [ "[" word "=" literal { ";" word "=" literal } "]" ] { "," … }
    renames    = name "=" name { "," name "=" name }
    names      = name { "," name }

`space` is white space, a comma, or both. A `name` is anything without brackets, commas and `->`; white space
around it does not count. Every function reads a whole text, or raises `RequestError` in the words of the
parameter.
"""

import ast

from ovms_converter.optimizer.scanner import NAME_ENDS, Scanner, whole_number
from ovms_converter.optimizer.suggestions import did_you_mean, listed
from ovms_converter.optimizer.values import (
    ELEMENT_TYPES,
    ChannelValues,
    Dimension,
    Frozen,
    InputEntry,
    Layout,
    LayoutChange,
    Scalar,
    Shape,
    Transformation,
    Value,
)

__all__ = [
    "parse_channels",
    "parse_flag",
    "parse_frozen",
    "parse_inputs",
    "parse_layouts",
    "parse_names",
    "parse_number",
    "parse_positive",
    "parse_renames",
    "parse_shapes",
    "parse_transformations",
]

_FLAGS = dict.fromkeys(("true", "yes", "on", "1", "t", "y"), True) | dict.fromkeys(
    ("false", "no", "off", "0", "f", "n"), False
)
_LARGEST = 2**63 - 1
_TRANSFORMATIONS: dict[str, dict[str, type]] = {
    "LowLatency2": {"use_const_initializer": bool},
    "MakeStateful": {"param_res_names": dict},
    "Pruning": {},
}


def parse_flag(text: str, parameter: str) -> bool:
    """A truth value in any of the usual spellings."""
    try:
        return _FLAGS[text.strip().lower()]
    except KeyError:
        raise Scanner(text, parameter).error(
            "it is a yes or no", "write `true` or `false` (also `yes`, `no`, `on`, `off`, `1`, `0`)"
        ) from None


def parse_positive(text: str, parameter: str) -> int:
    """A whole number above 0."""
    number = whole_number(text.strip())
    if not number:
        raise Scanner(text, parameter).error("it must be a whole number above 0")
    return number


def parse_number(text: str, parameter: str) -> float:
    """A finite number."""
    return Scanner(text, parameter).number(text)


def parse_shapes(text: str, parameter: str = "input_shape") -> tuple[Shape, ...]:
    """`[1,3,224,224],[1,?]`: the shapes of the inputs in order."""
    scanner = Scanner(text, parameter)

    def one() -> Shape:
        shape = _shape(scanner)
        if shape is None:
            raise scanner.error("a shape stands in brackets")
        return shape

    return scanner.items(one)


def parse_inputs(text: str, parameter: str = "input") -> tuple[InputEntry, ...]:
    """`image[1,3,224,224]{f32},is_training->False`: inputs with their shapes, types and fixed values."""
    scanner = Scanner(text, parameter)
    entries = scanner.items(lambda: _input(scanner))
    scanner.check_named((entry.name for entry in entries), "entry has a name")
    return entries


def parse_frozen(text: str, parameter: str = "freeze_placeholder_with_value") -> tuple[Frozen, ...]:
    """`is_training->False,threshold->[0.5]`: inputs that become constants."""
    scanner = Scanner(text, parameter)

    def one() -> Frozen:
        name = scanner.name()
        if not scanner.take("->"):
            raise scanner.error(f"`{name}` lacks `->` and its value")
        return Frozen(name, _value(scanner))

    frozen = scanner.items(one)
    scanner.check_different(entry.name for entry in frozen)
    return frozen


def parse_channels(text: str, parameter: str) -> tuple[ChannelValues, ...]:
    """`data[123.675,116.28,103.53]`: a value for each channel of each input; all lists have names or
    none has.
    """
    scanner = Scanner(text, parameter)

    def one() -> ChannelValues:
        name = scanner.until(NAME_ENDS)
        closing = scanner.take_bracket()
        if closing is None:
            raise scanner.error("the values of an input stand in brackets")
        words = scanner.until((closing,)).split(",")
        scanner.expect(closing)
        return ChannelValues(name, tuple(scanner.number(word) for word in words))

    channels = scanner.items(one)
    scanner.check_named((entry.name for entry in channels), "list has the name of its input")
    return channels


def parse_layouts(text: str, parameter: str) -> tuple[LayoutChange, ...]:
    """`image(nhwc->nchw),prob[n,c]`: layouts; `->` is for `layout` only."""
    scanner = Scanner(text, parameter)
    changes = scanner.items(lambda: _layout_item(scanner))
    if parameter != "layout" and any(change.target for change in changes):
        raise scanner.error(
            "an arrow belongs into `layout`", "give `layout` instead, or both sides on their own"
        )
    scanner.check_named((change.name for change in changes), "layout has the name of its input or output")
    return changes


def parse_transformations(text: str, parameter: str = "transform") -> tuple[Transformation, ...]:
    """`LowLatency2[use_const_initializer=False],Pruning`: transformations with their arguments."""
    scanner = Scanner(text, parameter)
    transformations = scanner.items(lambda: _transformation(scanner))
    scanner.check_different(entry.name for entry in transformations)
    return transformations


def parse_renames(text: str, parameter: str = "rename") -> tuple[tuple[str, str], ...]:
    """`old=new,other=better`: pairs of the old and the new name."""
    scanner = Scanner(text, parameter)

    def one() -> tuple[str, str]:
        old, equals, new = (part.strip() for part in scanner.until((",",)).rpartition("="))
        if not (old and equals and new):
            raise scanner.error("every entry has the form `old=new`")
        return old, new

    renames = scanner.items(one)
    for side in (0, 1):
        scanner.check_different(pair[side] for pair in renames)
    return renames


def parse_names(text: str, parameter: str) -> tuple[str, ...]:
    """Names with commas between them, none twice."""
    scanner = Scanner(text, parameter)
    names = scanner.items(lambda: scanner.name((",",)))
    scanner.check_different(names)
    return names


def _shape(scanner: Scanner) -> Shape | None:
    closing = scanner.take_bracket()
    if closing is None:
        return None
    return Shape(tuple(_dimension(scanner, word) for word in scanner.words(closing)))


def _dimension(scanner: Scanner, word: str) -> Dimension:
    if word in ("?", "-1", ".."):
        return Dimension()
    low, dots, high = word.partition("..")
    if not dots:
        low, high = word, word
    lowest = whole_number(low or "0")
    highest = whole_number(high or str(_LARGEST))
    if lowest is None or highest is None or highest > _LARGEST:
        raise scanner.error(
            f"`{word}` is no dimension: write a whole number, `?` for any size, or a range `1..10`"
        )
    if lowest > highest:
        raise scanner.error(f"the range `{word}` ends before it begins")
    return Dimension(lowest, highest if high else None)


def _input(scanner: Scanner) -> InputEntry:
    name = scanner.until(NAME_ENDS)
    shape: Shape | None = None
    element_type: str | None = None
    while True:
        found = _shape(scanner)
        if found is not None:
            if shape is not None:
                raise scanner.error(f"`{name}` has two shapes")
            shape = found
        elif scanner.take("{"):
            word = scanner.until(("}",))
            scanner.expect("}")
            if element_type is not None:
                raise scanner.error(f"`{name}` has two types")
            if word.lower() not in ELEMENT_TYPES:
                raise scanner.error(
                    f"there is no type `{word}`", f"types are {listed(ELEMENT_TYPES, limit=20)}"
                )
            element_type = ELEMENT_TYPES[word.lower()]
        else:
            break
    value = _value(scanner) if scanner.take("->") else None
    if not name and value is not None:
        raise scanner.error("a fixed value needs the name of its input")
    if not name and shape is None and element_type is None:
        raise scanner.error("a name is missing")
    return InputEntry(name, shape, element_type, value)


def _value(scanner: Scanner) -> Value:
    if scanner.take("["):
        return Value(tuple(_scalar(scanner, word) for word in scanner.words("]")), is_list=True)
    return Value((_scalar(scanner, scanner.until((",",))),), is_list=False)


def _scalar(scanner: Scanner, word: str) -> Scalar:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    digits = word[1:] if word[:1] in ("+", "-") else word
    whole = whole_number(digits)
    if whole is not None:
        return -whole if word[0] == "-" else whole
    return scanner.number(word)


def _layout_item(scanner: Scanner) -> LayoutChange:
    word = scanner.until(NAME_ENDS)
    if scanner.take("("):
        inner = scanner.until(("[", ")", "->"))
        change = _layout_change(scanner, inner)
        scanner.expect(")")
        return LayoutChange(word, change.source, change.target)
    if scanner.text.startswith("[", scanner.at):
        change = _layout_change(scanner, "")
        return LayoutChange(word, change.source, change.target)
    return _layout_change(scanner, word)


def _layout_change(scanner: Scanner, word: str) -> LayoutChange:
    source = _layout(scanner, word)
    target = _layout(scanner, scanner.until(NAME_ENDS)) if scanner.take("->") else None
    if source is None and target is None:
        raise scanner.error("a layout is missing")
    return LayoutChange("", source, target)


def _layout(scanner: Scanner, word: str) -> Layout | None:
    """The layout whose letters were read already, or the bracketed one that comes next, or None."""
    dimensions: list[str] = []
    if not word and scanner.take("["):
        dimensions = [part.strip() for part in scanner.until(("]",)).split(",")]
        scanner.expect("]")
        if not all(dimensions):
            raise scanner.error("a dimension of the layout has no name")
    while word:
        first = "..." if word.startswith("...") else word[0]
        dimensions.append(first)
        word = word[len(first) :]
    for dimension in dimensions:
        if dimension not in ("?", "...") and not (
            dimension.isascii() and dimension.replace("_", "a").isalnum()
        ):
            raise scanner.error(f"`{dimension}` is no dimension of a layout: write letters, `?` or `...`")
    named = [dimension.upper() for dimension in dimensions]
    scanner.check_different(dimension for dimension in named if dimension != "?")
    return Layout(tuple(named)) if named else None


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
