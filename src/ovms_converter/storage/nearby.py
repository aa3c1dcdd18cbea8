"""What to say where nothing is: the nearest name that is there."""

import difflib
import itertools
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from ovms_converter.storage.location import Location

__all__ = ["CHECK", "beside", "near"]

CHECK = "check the spelling; a prefix needs at least one object below it"
_LOOKED_AT = 10_000
"""Names of a directory beyond this are not compared: an error must not take long."""

_LISTED = 3


def near(location: Location) -> str | None:
    """A hint for a path of this machine that is not there, in the form in which it was given: the nearest
    entry of the deepest directory on it that is, or that directory. None if it is there, or in a store.
    """
    if location.scheme != "file" or Path(location.path).exists():
        return None
    return _near_path(Path(location.path if location.text.startswith("file:") else location.text))


def _near_path(path: Path) -> str:
    if path.is_symlink():
        return f"it is a link, and `{path.readlink()}` is not there"
    tail = [path.name]
    directory = path.parent
    while not directory.is_dir():
        if directory == directory.parent:
            return "check the spelling"
        tail.insert(0, directory.name)
        directory = directory.parent
    found = _nearest(tail[0], _names(directory))
    if found is None:
        return (
            f"`{directory}` is there, without `{tail[0]}`: `ls {shlex.quote(str(directory))}` shows what is"
        )
    whole = directory.joinpath(found, *tail[1:])
    return f"did you mean `{whole if whole.exists() else directory / found}`?"


def beside(name: str, names: Iterable[str], parent: str) -> str:
    """A hint for a name that a store does not have below `parent`: the nearest of those that it has there."""
    there = sorted({each for each in names if each.isprintable() and "`" not in each})
    found = _nearest(name, there)
    if found is not None:
        return f"did you mean `{parent}/{found}`?"
    if not there:
        return CHECK
    more = f" and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
    return f"`{parent}` holds {', '.join(f'`{each}`' for each in there[:_LISTED])}{more}"


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in itertools.islice(entries, _LOOKED_AT)]
    except OSError:
        return []


def _nearest(name: str, names: Iterable[str]) -> str | None:
    """The most similar name, which case does not make different; None if none is similar."""
    known = {each.lower(): each for each in names if each.isprintable()}
    found = difflib.get_close_matches(name.lower(), known, n=1)
    return known[found[0]] if found else None
