"""Proof of where a version came from: statements about its files, and signatures over them.

statement.py  in-toto statements: which files there are, and how they were made
bundle.py     a signed statement as a Sigstore bundle, which the tool `model_signing` reads too
keys.py       private and public keys; needs the package `cryptography`, the extra `sign`

No network is asked: a signature is made and checked with a key alone.
"""

from ovms_converter.provenance.bundle import key_of, opened, sealed
from ovms_converter.provenance.keys import PrivateKey, PublicKey
from ovms_converter.provenance.statement import manifest, provenance, signed_files

__all__ = ["PrivateKey", "PublicKey", "key_of", "manifest", "opened", "provenance", "sealed", "signed_files"]
