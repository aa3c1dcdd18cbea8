"""Files as the pipeline hands them to a repository, and a check that a version is one run's and whole."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ovms_converter.repository import RECORD, SIGNATURE, ModelRepository
from ovms_converter.repository.versions import members

__all__ = ["assert_unmixed", "version_files"]


def version_files(
    directory: Path, fingerprint: str, size: int = 64, *, signed: bool = False
) -> dict[str, Path]:
    """A record, weights and a graph on disk, all telling whose they are; in the order of publishing.

    What stands for a signature is as long as the fingerprint.
    """
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "model.bin": (f"weights of {fingerprint} ".encode() * size)[:size],
        "model.xml": f"<net name='{fingerprint}'/>".encode(),
    }
    facts = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents.items()
    }
    told: dict[str, object] = {"fingerprint": fingerprint, "files": facts}
    signature = {SIGNATURE: fingerprint.encode()} if signed else {}
    record = json.dumps(told | ({"signed_by": "sha256:0"} if signed else {})).encode()
    paths = {}
    for name, data in ({RECORD: record} | signature | contents).items():
        paths[name] = directory / name
        paths[name].write_bytes(data)
    return paths


def assert_unmixed(repository: ModelRepository) -> Mapping[int, str]:
    """Every version has just the files of its record, with its digests; gives fingerprints by number."""
    fingerprints = {}
    for version in repository.versions():
        record = json.loads(repository.destination.read(f"{version.directory}/{RECORD}"))
        assert set(version.files) == {RECORD, *members(record)}
        if record.get("signed_by"):
            signature = repository.destination.read(f"{version.directory}/{SIGNATURE}")
            assert signature == record["fingerprint"].encode(), version.directory
        for name, facts in record["files"].items():
            data = repository.destination.read(f"{version.directory}/{name}")
            assert hashlib.sha256(data).hexdigest() == facts["sha256"], f"{version.directory}/{name}"
        fingerprints[version.number] = record["fingerprint"]
    return fingerprints
