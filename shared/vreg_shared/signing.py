"""Signatures (Ed25519): they say who wrote a record, which a seal does not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vreg_shared.errors import VregError
from vreg_shared.pem import read_private, read_public, write_private, write_public


class SignatureInvalidError(VregError):
    """The bytes were not signed by the expected writer, or were altered since."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """Tells whether a writer signed something. It comes from a file, never from the bus."""

    key: Ed25519PublicKey

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a PEM public key; raise InvalidKeyError."""
        return cls(read_public(pem, Ed25519PublicKey))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a PEM file; raise InvalidKeyError or OSError."""
        return cls.from_pem(path.read_bytes())

    def to_pem(self) -> bytes:
        """Return the key as PEM."""
        return write_public(self.key)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return quietly, or raise SignatureInvalidError."""
        try:
            self.key.verify(signature, message)
        except InvalidSignature as error:
            raise SignatureInvalidError("the signature does not fit the writer and the bytes") from error


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A writer's own key."""

    key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read an unencrypted PEM private key; raise InvalidKeyError."""
        return cls(read_private(pem, Ed25519PrivateKey))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a PEM file; raise InvalidKeyError or OSError."""
        return cls.from_pem(path.read_bytes())

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PEM, for a file only its owner can read."""
        return write_private(self.key)

    @property
    def verifying(self) -> VerifyingKey:
        """The key that readers verify with."""
        return VerifyingKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self.key.sign(message)
