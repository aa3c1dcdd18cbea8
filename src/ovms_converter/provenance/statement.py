"""in-toto statements (https://in-toto.io/Statement/v1) about a published version, as JSON values.

Two kinds: a *manifest* names every file with its digest, as `model_signing` 1.x signs it; a *provenance*
says how the files were made, as SLSA has it (https://slsa.dev/spec/v1.0/provenance). Both follow from the
files and the record alone: no time, no random number, no name of a machine.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from ovms_converter.errors import VerificationError
from ovms_converter.repository.versions import mapping_of, mappings_of

__all__ = ["BUILD_TYPE", "manifest", "provenance", "signed_files"]

_STATEMENT = "https://in-toto.io/Statement/v1"
_MANIFEST = "https://model_signing/signature/v1.0"
_PROVENANCE = "https://slsa.dev/provenance/v1"
_PROJECT = "https://pypi.org/project/ovms-converter/"
BUILD_TYPE = f"{_PROJECT}#conversion/1"
"""What the parameters of a provenance mean: docs/concepts/provenance.md tells."""


def manifest(name: str, digests: Mapping[str, str], ignored: str) -> dict[str, Any]:
    """The statement that a version consists of these files: SHA-256 in hex by path.

    `name` is for people; `ignored` is the file in the version that will hold the signature.
    """
    paths = sorted(digests, key=lambda path: path.split("/"))
    return {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root([digests[path] for path in paths])}}],
        "predicateType": _MANIFEST,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [ignored],
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": digests[path]} for path in paths],
        },
    }


def signed_files(statement: object) -> dict[str, str]:
    """The files that a manifest names: SHA-256 in hex by path.

    Raises `VerificationError` if the statement is no such manifest, or contradicts itself.
    """
    if not isinstance(statement, Mapping):
        raise VerificationError("the signed statement is no manifest of a model")
    try:
        kind = statement["_type"], statement["predicateType"]
        if kind != (_STATEMENT, _MANIFEST):
            raise VerificationError(
                f"the signed statement is of the type `{kind[1]}`, which tells nothing of a model's files",
                hint=f"expected is `{_MANIFEST}`, as `--sign` and `model_signing sign key` write it",
            )
        predicate = statement["predicate"]
        method = predicate["serialization"]["method"]
        found = {
            str(one["name"]): (str(one["algorithm"]), str(one["digest"])) for one in predicate["resources"]
        }
        root = statement["subject"][0]["digest"]["sha256"]
        digests = {name: digest for name, (_, digest) in found.items()}
        consistent = root == _root(list(digests.values())) and len(statement["subject"]) == 1
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise VerificationError("the signed statement is no manifest of a model") from None
    if method != "files" or any(algorithm != "sha256" for algorithm, _ in found.values()):
        raise VerificationError(
            "the signed statement has other digests than the SHA-256 of whole files",
            hint="sign with `--sign`, or with `model_signing sign key` and its defaults",
        )
    if not consistent or len(found) < len(predicate["resources"]):
        raise VerificationError("the signed statement contradicts itself: its root is not that of its files")
    return digests


def provenance(record: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """The statement of how these files (SHA-256 in hex by path) were made, as their record tells it."""
    source, versions = mapping_of(record.get("source")), mapping_of(record.get("versions"))
    parameters = {name: mapping_of(item) for name, item in mapping_of(record.get("parameters")).items()}
    given = {name: item for name, item in parameters.items() if item.get("origin") != "default"}
    release = versions.get("ovms_converter")
    return {
        "_type": _STATEMENT,
        "subject": [{"name": path, "digest": {"sha256": digest}} for path, digest in sorted(digests.items())],
        "predicateType": _PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "source": source.get("url"),
                    "parameters": {name: item.get("value") for name, item in sorted(given.items())},
                },
                "internalParameters": {
                    name: item.get("value") for name, item in sorted(parameters.items()) if name not in given
                },
                "resolvedDependencies": [
                    *(
                        {"name": file.get("path"), "digest": {"sha256": file.get("sha256")}}
                        for file in mappings_of(source.get("files"))
                    ),
                    *(
                        {"uri": f"pkg:pypi/{name.replace('_', '-')}@{version}"}
                        for name, version in sorted(versions.items())
                    ),
                ],
            },
            "runDetails": {"builder": {"id": _PROJECT, "version": {"ovms-converter": release}}},
        },
    }


def _root(digests: list[str]) -> str:
    """SHA-256 over the digests one after the other, which stands for all files."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
