"""Reading the text of a parameter, place by place; see `syntax.py` for the grammar."""

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from ovms_converter.errors import RequestError
from ovms_converter.parameters import by_name

__all__ = ["NAME_ENDS", "Scanner", "whole_number"]

NAME_ENDS = ("[", "]", "(", ")", "{", "}", ",", "->")
_CLOSING = {"[": "]", "(": ")"}
_T = TypeVar("_T")


class Scanner:
    """A place in a parameter's text."""

    def __init__(self, text: str, parameter: str) -> None:
        self.text = text
        self.parameter = parameter
        self.at = 0

    def error(self, problem: str, hint: str | None = None) -> RequestError:
        """The error that says what is wrong, in the words of the parameter."""
        example = by_name()[self.parameter].example
        return RequestError(
            f"`{self.parameter}` is `{self.text}`; {problem}",
            hint=hint or (f"for example `{example}`" if example else None),
            parameter=self.parameter,
        )

    @property
    def rest(self) -> str:
        """What was not read yet."""
        return self.text[self.at :]

    def skip_space(self) -> None:
        """Go on to the next character that is no white space."""
        self.at = len(self.text) - len(self.rest.lstrip())

    def take(self, token: str) -> bool:
        """Read `token` if it comes next."""
        self.skip_space()
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def take_bracket(self) -> str | None:
        """Read an opening bracket; the one that must close it, or None if there is none."""
        return next((end for start, end in _CLOSING.items() if self.take(start)), None)

    def expect(self, token: str) -> None:
        """Read `token`, which must come next."""
        if not self.take(token):
            place = f"before `{self.rest}`" if self.rest else "at its end"
            raise self.error(f"it lacks a `{token}` {place}")

    def until(self, ends: Iterable[str]) -> str:
        """Read up to the first of `ends`, or to the end of the text; without the white space around it."""
        found = [at for at in (self.text.find(end, self.at) for end in ends) if at >= 0]
        start, self.at = self.at, min(found, default=len(self.text))
        return self.text[start : self.at].strip()

    def items(self, one: Callable[[], _T]) -> tuple[_T, ...]:
        """Read items with commas between them, to the end of the text."""
        found = [one()]
        while self.take(","):
            found.append(one())
        self.skip_space()
        if self.rest:
            raise self.error(f"`{self.rest}` is too much or does not belong there")
        return tuple(found)

    def words(self, closing: str) -> list[str]:
        """Read words with white space or commas between them, and the closing bracket."""
        text = self.until((closing,))
        self.expect(closing)
        groups = [group.split() for group in text.split(",")]
        if len(groups) > 1 and not all(groups):
            raise self.error("there is nothing between two commas")
        return [word for group in groups for word in group]

    def name(self, ends: Iterable[str] = NAME_ENDS) -> str:
        """Read a name, which must come next."""
        name = self.until(ends)
        if not name:
            raise self.error("a name is missing")
        return name

    def number(self, word: str) -> float:
        """The finite number that a word of the text is."""
        word = word.strip()
        plain = word.isascii() and "_" not in word
        try:
            number = float(word) if plain else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"`{word}` is no number" if word else "a number is missing")
        return number

    def check_different(self, names: Iterable[str]) -> None:
        """Raise the error for a name that occurs twice; entries without a name do not count."""
        seen: set[str] = set()
        for name in filter(None, names):
            if name in seen:
                raise self.error(f"`{name}` occurs twice")
            seen.add(name)

    def check_named(self, names: Iterable[str], entry: str) -> None:
        """As `check_different`, and either every one has a name or none has; `entry` begins that sentence."""
        found = tuple(names)
        self.check_different(found)
        if len(set(map(bool, found))) > 1:
            raise self.error(f"either every {entry} or none has")


def whole_number(word: str) -> int | None:
    """A whole number from 0; None if the word is none."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 20 else None
