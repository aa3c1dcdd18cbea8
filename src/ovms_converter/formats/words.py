"""How errors speak of files and names that come out of a model: short, printable, and with the file named."""

from collections.abc import Iterator
from contextlib import contextmanager

from ovms_converter.errors import CorruptModelError

__all__ = ["naming", "shown"]

_LONGEST = 120


def shown(name: str) -> str:
    """A name out of a model, in backticks: cut, and escaped so that no control character gets out."""
    text = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    return f"`{text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}`"


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Turn a reader's `CorruptModelError`, which knows bytes only, into one that names the file."""
    try:
        yield
    except CorruptModelError as error:
        raise CorruptModelError(
            f"`{path}` is truncated or damaged: {error.message}",
            hint=error.hint or "compare its size and checksum with the original, and upload it again",
        ) from None
