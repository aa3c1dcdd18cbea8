"""Keys for tests, as PEM files."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

__all__ = ["KINDS", "new_pair"]

KINDS = ("P-256", "P-384", "P-521", "Ed25519")
_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "K-256": ec.SECP256K1()}


def new_pair(directory: Path, kind: str = "P-256", passphrase: str = "") -> tuple[Path, Path]:
    """A new private key and its public key: `<kind>.pem` and `<kind>.pub`."""
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if kind == "Ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "RSA":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(_CURVES[kind])
    hidden = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    private, public = directory / f"{kind}.pem", directory / f"{kind}.pub"
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, hidden))
    public.write_bytes(
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public
