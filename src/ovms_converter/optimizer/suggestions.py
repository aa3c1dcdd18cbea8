"""Which known name did the user mean?"""

import difflib
from collections.abc import Iterable

__all__ = ["counted", "did_you_mean", "listed", "nearest"]


def counted(number: int, thing: str) -> str:
    """A number and its noun, in the singular for one."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three known names that look like `name`, the most similar first; case does not count."""
    candidates = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), candidates, n=3, cutoff=0.6)
    return tuple(candidates[match] for match in found)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names what looks like `name`, or None."""
    near = nearest(name, known)
    return f"did you mean {listed(near, 'or')}?" if near else None


def listed(names: Iterable[str], last: str = "and", limit: int = 12) -> str:
    """Names in backticks as an English list; those beyond `limit` are counted only."""
    shown = [f"`{name}`" for name in names]
    if len(shown) > limit:
        shown[limit:] = [f"{len(shown) - limit} more"]
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), "".join(shown[-1:]))))
