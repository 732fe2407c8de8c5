"""Sealing: who holds the public key can write a secret, and only the private key's holder can read it.

HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM. A seal is bound to a context: opened in any other
place (another identity, host or version) it is broken, whoever moved it there.
The text form is base64url of: suite (1 byte) | key id (8 bytes) | encapsulated key and ciphertext.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from vreg_shared.canonical import canonical_json
from vreg_shared.errors import VregError
from vreg_shared.pem import read_private, read_public, write_private, write_public
from vreg_shared.secret import Secret

X25519_AES256GCM: Final = 1
_SUITES: Final = {X25519_AES256GCM: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)}
_KEY_ID_BYTES: Final = 8
_HEADER_BYTES: Final = 1 + _KEY_ID_BYTES


class SealBrokenError(VregError):
    """The seal was made for another key or another place, or was altered: the secret must be given again."""


@dataclass(frozen=True, slots=True)
class SealingPublicKey:
    """What a writer needs to seal for one reader."""

    key: X25519PublicKey

    @property
    def key_id(self) -> bytes:
        """Eight bytes that tell this key from others."""
        raw = self.key.public_bytes_raw()
        return hashlib.sha256(raw).digest()[:_KEY_ID_BYTES]

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a PEM public key; raise InvalidKeyError."""
        return cls(read_public(pem, X25519PublicKey))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a PEM file; raise InvalidKeyError or OSError."""
        return cls.from_pem(path.read_bytes())

    def to_pem(self) -> bytes:
        """Return the key as PEM."""
        return write_public(self.key)


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey:
    """What a reader needs to open what was sealed for it."""

    key: X25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read an unencrypted PEM private key; raise InvalidKeyError."""
        return cls(read_private(pem, X25519PrivateKey))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a PEM file; raise InvalidKeyError or OSError."""
        return cls.from_pem(path.read_bytes())

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PEM, for a file only its owner can read."""
        return write_private(self.key)

    @property
    def public(self) -> SealingPublicKey:
        """The key that others seal with."""
        return SealingPublicKey(self.key.public_key())


def seal(plaintext: Secret, to: SealingPublicKey, context: Mapping[str, Any]) -> str:
    """Seal `plaintext` for the holder of `to`, in this context only."""
    suite = _SUITES[X25519_AES256GCM]
    sealed = suite.encrypt(plaintext.reveal().encode(), to.key, info=canonical_json(context))
    return base64.urlsafe_b64encode(bytes([X25519_AES256GCM]) + to.key_id + sealed).decode()


def open_sealed(text: str, with_: SealingKey, context: Mapping[str, Any]) -> Secret:
    """Open what `seal` made; raise SealBrokenError unless key, context and every byte are the same."""
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise SealBrokenError("the seal is not base64url") from error
    suite = _SUITES.get(raw[0]) if len(raw) > _HEADER_BYTES else None
    if suite is None:
        raise SealBrokenError("the seal is of a suite this version does not know")
    if raw[1:_HEADER_BYTES] != with_.public.key_id:
        raise SealBrokenError("the secret was sealed for another key; give it again")
    try:
        opened = suite.decrypt(raw[_HEADER_BYTES:], with_.key, info=canonical_json(context))
        return Secret(opened.decode())
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError("the secret was sealed for another place, or altered; give it again") from error
