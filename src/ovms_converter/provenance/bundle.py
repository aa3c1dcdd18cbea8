"""A signed statement: a DSSE envelope in a Sigstore bundle, signed with a key, without a transparency log.

DSSE: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md; the bundle's format is version 0.3
of https://github.com/sigstore/protobuf-specs, with the fields that `model_signing` 1.x writes and reads.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from ovms_converter.errors import VerificationError
from ovms_converter.provenance.keys import PrivateKey, PublicKey

__all__ = ["key_of", "opened", "sealed"]

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sealed(statement: Mapping[str, Any], key: PrivateKey) -> bytes:
    """The bundle that holds a statement and its signature, as a file."""
    payload = json.dumps(statement, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.fingerprint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": _text(payload),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": _text(key.sign(_authenticated(payload))), "keyid": ""}],
        },
    }
    return (json.dumps(bundle, indent=1) + "\n").encode()


def opened(bundle: bytes, key: PublicKey) -> object:
    """The statement of a bundle, which this key signed. Raises `VerificationError` if it did not."""
    try:
        envelope = json.loads(bundle)["dsseEnvelope"]
        payload_type = envelope["payloadType"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"]]
    except (KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        raise VerificationError("the signature is no Sigstore bundle with a signed statement") from None
    if payload_type != _PAYLOAD_TYPE:
        raise VerificationError(f"the signature is over `{payload_type}`, which is no in-toto statement")
    if not any(key.signed(_authenticated(payload), signature) for signature in signatures):
        other = key_of(bundle)
        made_by = f"it names the key {other}" if other else "it names no key"
        raise VerificationError(
            f"the signature was not made with this key ({key.fingerprint}): {made_by}",
            hint="give the public key of whoever published it; if it is that one, do not use the version",
        )
    try:
        statement: object = json.loads(payload)
    except (ValueError, RecursionError):
        raise VerificationError("what was signed is no in-toto statement") from None
    return statement


def key_of(bundle: bytes) -> str | None:
    """The fingerprint of the key that a bundle claims to be signed with; a hint, no proof."""
    try:
        hint = json.loads(bundle)["verificationMaterial"]["publicKey"]["hint"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return hint if isinstance(hint, str) and hint.isalnum() else None


def _authenticated(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of a payload."""
    kind = _PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
