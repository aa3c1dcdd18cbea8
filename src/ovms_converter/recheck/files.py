"""The files of a version: what the record or a signature tells of them, and what they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovms_converter.errors import CorruptModelError, VerificationError
from ovms_converter.provenance import PublicKey, opened, signed_files
from ovms_converter.repository import RECORD, SIGNATURE
from ovms_converter.storage.base import FetchedFile

__all__ = ["READ_BY_SERVERS", "CheckedFile", "Signature", "checked_files", "checked_signature"]

READ_BY_SERVERS = (
    ".bin", ".onnx", ".xml", "mapping_config.json", ".pdiparams", ".pdmodel", ".pb", ".tflite",
)  # fmt: skip
"""What OVMS looks for in a version directory."""


@dataclass(frozen=True)
class CheckedFile:
    """A file of the record. `path` is below the repository; sizes in bytes, digests are SHA-256 in hex.

    `size` and `sha256` are None if the file is not there.
    """

    path: str
    size: int | None
    sha256: str | None
    recorded_size: int
    recorded_sha256: str

    @property
    def fault(self) -> str | None:
        """What differs, one line; None if nothing does."""
        if self.size is None:
            return "it is not there"
        if self.size != self.recorded_size:
            return f"it has {self.size:,} bytes, and the record tells of {self.recorded_size:,}"
        if self.sha256 != self.recorded_sha256:
            return f"its SHA-256 is {self.sha256}, and the record tells of {self.recorded_sha256}"
        return None


@dataclass(frozen=True)
class Signature:
    """The signature of a version, or that there should be one.

    `path`     the file that holds it, below the repository
    `key`      fingerprint of the key: that it names itself, or that of the key it was checked with
    `checked`  whether it was checked, with a key
    `faults`   path and what is wrong with it, if anything is
    """

    path: str
    key: str | None
    checked: bool
    faults: tuple[tuple[str, str], ...]


def checked_files(
    directory: str, record: Mapping[str, Any], found: Mapping[str, FetchedFile]
) -> tuple[CheckedFile, ...]:
    """The files of a record, in its order; `found` are those that are there, by their path.

    Raises `CorruptModelError` if the record tells no size and digest of one.
    """
    files = []
    for name, value in record["files"].items():
        size, sha256 = value.get("size"), value.get("sha256")
        if not isinstance(size, int) or not isinstance(sha256, str):
            raise CorruptModelError(
                f"`{RECORD}` tells no size and digest of `{name}`",
                hint="publish the model again as a new version",
            )
        path = f"{directory}/{name}"
        file = found.get(path)
        files.append(
            CheckedFile(path, file.size if file else None, file.sha256 if file else None, size, sha256)
        )
    return tuple(files)


def checked_signature(
    directory: str, bundle: bytes, key: PublicKey, digests: Mapping[str, str | None]
) -> Signature:
    """Whether this key signed just these files: SHA-256 in hex by name, None for one that was not read."""
    path = f"{directory}/{SIGNATURE}"
    try:
        signed = signed_files(opened(bundle, key))
    except VerificationError as error:
        return Signature(path, key.fingerprint, True, ((path, error.message),))
    faults = [(name, "it was signed, and is not there") for name in sorted(signed.keys() - digests.keys())]
    faults += [(name, "it was not signed") for name in sorted(digests.keys() - signed.keys())]
    faults += [
        (name, f"its SHA-256 is {digests[name]}, and {signed[name]} was signed")
        for name in sorted(signed.keys() & digests.keys())
        if digests[name] != signed[name]
    ]
    return Signature(
        path, key.fingerprint, True, tuple((f"{directory}/{name}", what) for name, what in faults)
    )
