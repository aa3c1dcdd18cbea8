"""HTML in which a text cannot become markup: only what `tag` made is taken as it is, all else is escaped."""

import html
import re

__all__ = ["Html", "join", "prose", "tag"]

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""What HTML does not allow in a text, what UTF-8 cannot write, and what turns the direction of reading."""
_CODE = re.compile(r"`([^`]+)`")


class Html(str):
    """A piece of finished HTML."""

    __slots__ = ()


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(_UNPRINTABLE.sub("\ufffd", text))


def join(*parts: str) -> Html:
    """The parts one after the other; those that are no `Html` are escaped."""
    return Html("".join(map(_escaped, parts)))


def tag(name: str, *children: str, **attributes: str | float | None) -> Html:
    """An element. An attribute that is None is left out; `class_` stands for `class`, `_` in others for `-`.

    >>> tag("p", "a < b", tag("b", "!"), class_="x")
    '<p class="x">a &lt; b<b>!</b></p>'
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(f' {key}="{_escaped(str(value))}"' for key, value in named.items() if value is not None)
    inner = join(*children)
    return Html(f"<{name}{written}>{inner}</{name}>")


def prose(text: str) -> Html:
    """A line as messages are written: what stands in backticks is code.

    >>> prose("`<x>` & more")
    '<code>&lt;x&gt;</code> &amp; more'
    """
    parts = _CODE.split(text)
    return join(*(tag("code", part) if number % 2 else part for number, part in enumerate(parts)))
