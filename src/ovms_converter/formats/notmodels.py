"""Files that are no model although they were stored as one: empty ones, pointers, error pages, archives."""

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.refused import Refused, file_match, magic
from ovms_converter.formats.tree import Sample
from ovms_converter.formats.words import shown

__all__ = ["ARCHIVES", "BYSTANDERS", "POINTERS", "TEXTS"]

BYSTANDERS = ("text", "numpy", "empty")
"""Formats of files that lie about beside models: they count only where they were named themselves."""


def _empty(sample: Sample) -> str | None:
    return "it has 0 bytes" if sample.size == 0 or not sample.head else None


def _html(sample: Sample) -> str | None:
    start = sample.head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return (
        f"it starts with `{start[:14].decode('ascii', 'replace')}`"
        if start.startswith((b"<!doctype html", b"<html"))
        else None
    )


def _store_error(sample: Sample) -> str | None:
    start = sample.head[:512]
    if start.lstrip().startswith(b"<") and b"<Error>" in start and b"<Code>" in start:
        return "it is a store's XML error answer"
    return None


def _dvc(sample: Sample) -> str | None:
    start = sample.head[:512]
    return "it lists `outs:` with a checksum" if start.startswith(b"outs:") and b"md5:" in start else None


def _tar(sample: Sample) -> str | None:
    return "it has a tar header" if sample.head[257:262] == b"ustar" else None


def _zip(sample: Sample) -> str | None:
    if not sample.head.startswith(b"PK"):
        return None
    names = sample.zip_names
    if not names:
        return None
    return (
        f"it holds {len(names)} files, first {shown(names[0])}"
        if len(names) > 1
        else f"it holds {shown(names[0])}"
    )


def _cut_zip(sample: Sample) -> str | None:
    cut = sample.head.startswith(b"PK\x03\x04") and not sample.zip_names
    return "it has the header of a ZIP archive and no directory at its end" if cut else None


def _text(sample: Sample) -> str | None:
    start = sample.head[:1024]
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return None
        text = start[: error.start].decode("utf-8")
    if not text.strip() or not all(letter.isprintable() or letter in "\t\r\n" for letter in text):
        return None
    return f"it starts with `{' '.join(text.split())[:40]}`"


POINTERS = (
    Refused(
        "empty",
        "an empty file",
        file_match(_empty),
        "the upload or export that made it did not finish; repeat it",
        reason="not a model",
        error=CorruptModelError,
    ),
    Refused(
        "git-lfs",
        "a Git LFS pointer",
        magic(
            b"version https://git-lfs.github.com/spec/",
            called="it holds the checksum of the model, not the model",
        ),
        "run `git lfs pull` where it was cloned, then store the real file",
        reason="not the model itself",
        error=CorruptModelError,
    ),
    Refused(
        "dvc",
        "a DVC pointer",
        file_match(_dvc),
        "run `dvc pull` where it was cloned, then store the real file",
        reason="not the model itself",
        error=CorruptModelError,
    ),
    Refused(
        "html",
        "an HTML page",
        file_match(_html),
        "a log-in or error page was stored or served instead of the model; open the URL in a browser",
        reason="not a model",
        error=CorruptModelError,
    ),
    Refused(
        "store-error",
        "an error message of an object store",
        file_match(_store_error),
        "whatever stored this file did not check for errors; store the model again",
        reason="not a model",
        error=CorruptModelError,
    ),
)
"""Looked for first: they carry the name of the model that they are not."""

_UNPACK = "unpack it and give the directory or file inside"
_UNPACKED_HERE = f"{_UNPACK}; one that is given by its own path is unpacked here"

ARCHIVES = (
    Refused(
        "archive.truncated",
        "a truncated archive",
        file_match(_cut_zip),
        "compare its size and checksum with the original, and upload it again",
        reason="not a whole model",
        error=CorruptModelError,
    ),
    Refused(
        "archive.zip",
        "a ZIP archive",
        file_match(_zip),
        _UNPACKED_HERE,
        suffixes=(".zip",),
    ),
    Refused(
        "archive.tar",
        "a tar archive",
        file_match(_tar),
        _UNPACKED_HERE,
        suffixes=(".tar",),
    ),
    Refused(
        "archive.gzip",
        "a gzip file",
        magic(b"\x1f\x8b", called="it has a gzip header"),
        f"{_UNPACK}; a `.gz` that is given by its own path is unpacked here",
        suffixes=(".gz", ".tgz"),
    ),
    Refused(
        "archive.zstd",
        "a Zstandard file",
        magic(b"\x28\xb5\x2f\xfd", called="it has a zstd header"),
        _UNPACK,
        suffixes=(".zst",),
    ),
    Refused(
        "archive.xz",
        "an xz file",
        magic(b"\xfd7zXZ\0", called="it has an xz header"),
        _UNPACK,
        suffixes=(".xz",),
    ),
    Refused(
        "archive.bzip2",
        "a bzip2 file",
        magic(b"BZh", called="it has a bzip2 header"),
        _UNPACK,
        suffixes=(".bz2",),
    ),
    Refused(
        "archive.7z",
        "a 7-Zip archive",
        magic(b"7z\xbc\xaf\x27\x1c", called="it has a 7z header"),
        _UNPACK,
        suffixes=(".7z",),
    ),
)
"""Looked for after the formats that are archives themselves (Keras, PyTorch, skops)."""

TEXTS = (
    Refused(
        "text",
        "a text file",
        file_match(_text),
        "give the model's own file or directory",
        reason="not a model that is known here",
    ),
)
"""Looked for last."""
