"""Inputs that somebody gave to verify a result with, or to calibrate it for: `.npz` files of numpy."""

from collections.abc import Mapping
from pathlib import Path

from ovms_converter.errors import CorruptModelError, RequestError
from ovms_converter.formats.npz import MOST_BYTES, read_npz
from ovms_converter.storage import open_source
from ovms_converter.storage.location import Location

__all__ = ["fetch_data"]


def fetch_data(location: Location, environ: Mapping[str, str], directory: Path, parameter: str) -> Path:
    """Bring the `.npz` into `directory`, if it is not on this machine, and look at the headers in it.

    `parameter` is the one that names it.

    Raises `RequestError` if it is no such file, holds Python objects or is too large, and what a source
    raises.
    """
    source = open_source(location, environ)
    listing = source.list()
    if not listing.is_file:
        raise _refused(
            parameter,
            f"`{location}` is no file" if listing.entries else f"there is no file at `{location}`",
            "write one with `numpy.savez('data.npz', NAME=array)`, with an array for each input",
        )
    (entry,) = listing.entries
    if (entry.size or 0) > MOST_BYTES:
        raise _refused(parameter, f"`{location}` is larger than {MOST_BYTES} bytes", "give fewer rows")
    directory.mkdir(parents=True, exist_ok=True)
    tree = source.fetch([entry.path], directory, _uncounted)
    path = tree.root / tree.files[0].path
    try:
        read_npz(path)
    except CorruptModelError as error:
        raise _refused(
            parameter, f"`{location}` {error.message}", "`numpy.savez` writes such files"
        ) from None
    return path


def _refused(parameter: str, problem: str, hint: str) -> RequestError:
    return RequestError(f"`{parameter}` cannot be used: {problem}", hint=hint, parameter=parameter)


def _uncounted(count: int) -> None:
    """The bytes of a small file beside the model are not told."""
    del count
