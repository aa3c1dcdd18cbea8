"""Truth values, numbers, names and pairs of names."""

from ovms_converter.optimizer.scanner import Scanner, whole_number

__all__ = ["parse_flag", "parse_names", "parse_number", "parse_positive", "parse_renames"]

_FLAGS = dict.fromkeys(("true", "yes", "on", "1", "t", "y"), True) | dict.fromkeys(
    ("false", "no", "off", "0", "f", "n"), False
)


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
