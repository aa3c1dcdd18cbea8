"""HTML in which a text cannot become markup: only what `tag` made is taken as it is, all else is escaped."""

import html
import re
from collections.abc import Sequence

__all__ = ["Html", "capital", "counted", "join", "prose", "table", "tag"]

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


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    class_: str | None = None,
) -> Html:
    """A table whose first column names the rows; `numbers` are the columns that are set to the right."""

    def cell(name: str, column: int, text: str, scope: str | None) -> Html:
        return tag(name, text, scope=scope, class_="number" if column in numbers else None)

    return tag(
        "table",
        tag("caption", title) if title else "",
        tag("thead", tag("tr", *(cell("th", at, text, "col") for at, text in enumerate(columns)))),
        tag(
            "tbody",
            *(
                tag(
                    "tr",
                    *(
                        cell("td" if at else "th", at, text, None if at else "row")
                        for at, text in enumerate(row)
                    ),
                )
                for row in rows
            ),
        ),
        class_=class_,
    )


def counted(number: int, word: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def capital(text: str) -> str:
    """The text with its first letter in upper case, and no other changed."""
    return text[:1].upper() + text[1:]
