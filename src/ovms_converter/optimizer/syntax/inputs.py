"""Inputs: their shapes, types and fixed values, and the values of their channels."""

from ovms_converter.optimizer.scanner import NAME_ENDS, Scanner, whole_number
from ovms_converter.optimizer.suggestions import listed
from ovms_converter.optimizer.values import (
    ELEMENT_TYPES,
    ChannelValues,
    Dimension,
    Frozen,
    InputEntry,
    Scalar,
    Shape,
    Value,
)

__all__ = ["parse_channels", "parse_frozen", "parse_inputs", "parse_shapes"]

_LARGEST = 2**63 - 1


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
