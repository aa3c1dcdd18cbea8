"""Keys that sign and verify: ECDSA on the curves P-256, P-384 and P-521, and Ed25519, as PEM files.

A key is named by its path, or as `env:NAME` by the variable that holds its text. Nothing of it is ever shown.
The package `cryptography` is imported when a key is loaded, not before.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovms_converter.errors import RequestError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    _Private: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    _Public: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

__all__ = ["PASSPHRASE", "PrivateKey", "PublicKey"]

PASSPHRASE = "OVMS_CONVERTER_SIGN_PASSPHRASE"  # noqa: S105 - the name of a variable
_LARGEST = 64 << 10
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_KINDS = "ECDSA (P-256, P-384, P-521) or Ed25519"


class PrivateKey:
    """A key that signs.

    `fingerprint` is the SHA-256 in hex of its public key's PEM, which `model_signing` names keys by.
    """

    def __init__(self, key: "_Private") -> None:
        self._key = key
        self.fingerprint = _fingerprint(key.public_key())

    @classmethod
    def load(cls, name: str, environ: Mapping[str, str]) -> "PrivateKey":
        """The key at a path or in a variable; its passphrase, if it has one, is that of `PASSPHRASE`.

        Raises `RequestError` (parameter `sign`) if package, key or passphrase is missing or wrong.
        """
        _require("sign")
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        data = _read(name, environ, "sign")
        if b"SIGSTORE PRIVATE KEY" in data or b"COSIGN PRIVATE KEY" in data:
            raise _refused("sign", name, "is in cosign's own format", "make one: `openssl ecparam -name "
                           "prime256v1 -genkey | openssl pkcs8 -topk8 -nocrypt`")  # fmt: skip
        passphrase = environ.get(PASSPHRASE, "")
        encrypted = b"ENCRYPTED" in data
        if encrypted and not passphrase:
            raise _refused("sign", name, "has a passphrase", f"set `{PASSPHRASE}`")
        try:
            key = load_pem_private_key(data, passphrase.encode() if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            why = f"does not open with the passphrase in `{PASSPHRASE}`" if encrypted else "is no private key"
            raise _refused("sign", name, why, "give a PEM file with an ECDSA or Ed25519 key") from None
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
            return cls(key)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key)
        raise _refused("sign", name, "is of a kind that is not used here", f"give one of {_KINDS}")

    def sign(self, data: bytes) -> bytes:
        """The signature: DER for ECDSA, 64 bytes for Ed25519; the same each time where OpenSSL can (3.2)."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec

        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(data)
        hashing = _hash_of(self._key.curve)
        try:
            return self._key.sign(data, ec.ECDSA(hashing, deterministic_signing=True))
        except UnsupportedAlgorithm:
            return self._key.sign(data, ec.ECDSA(hashing))


class PublicKey:
    """A key that verifies; `fingerprint` as in `PrivateKey`."""

    def __init__(self, key: "_Public") -> None:
        self._key = key
        self.fingerprint = _fingerprint(key)

    @classmethod
    def load(cls, name: str, environ: Mapping[str, str]) -> "PublicKey":
        """The key at a path or in a variable. Raises `RequestError` (parameter `key`)."""
        _require("key")
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        data = _read(name, environ, "key")
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            raise _refused(
                "key", name, "is no public key", "`openssl pkey -in PRIVATE.pem -pubout` makes it"
            ) from None
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
            return cls(key)
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(key)
        raise _refused("key", name, "is of a kind that is not used here", f"give one of {_KINDS}")

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature over these bytes is this key's."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, data, ec.ECDSA(_hash_of(self._key.curve)))
            else:
                self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def _hash_of(curve: "ec.EllipticCurve") -> "hashes.HashAlgorithm":
    """The hash that belongs to a curve, as `model_signing` chooses it."""
    from cryptography.hazmat.primitives import hashes

    return {256: hashes.SHA256(), 384: hashes.SHA384()}.get(curve.key_size, hashes.SHA512())


def _fingerprint(key: "_Public") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _require(parameter: str) -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise RequestError(
            f"`{parameter}` needs the package `cryptography`, which is not installed",
            hint="pip install 'ovms-converter[sign]'",
            parameter=parameter,
        )


def _read(name: str, environ: Mapping[str, str], parameter: str) -> bytes:
    """The text of a key. Raises `RequestError`, which names the place only."""
    variable = name.removeprefix("env:")
    if variable != name:
        text = environ.get(variable, "").strip()
        if not text:
            raise _refused(parameter, name, "is not set", "put the text of a PEM file into that variable")
        return text.encode()
    try:
        with Path(name).open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        why = (error.strerror or "cannot be read").lower()
        raise _refused(parameter, name, f"cannot be read: {why}", "give a path, or `env:NAME`") from None


def _refused(parameter: str, name: str, why: str, hint: str) -> RequestError:
    kind = "variable" if name.startswith("env:") else "key"
    return RequestError(
        f"the {kind} `{name.removeprefix('env:')}` of `{parameter}` {why}", hint=hint, parameter=parameter
    )
