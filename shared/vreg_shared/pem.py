"""Keys as PEM: read as the one type that is expected, written without a passphrase for a private file."""

from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from vreg_shared.errors import VregError

PublicT = TypeVar("PublicT", X25519PublicKey, Ed25519PublicKey)
PrivateT = TypeVar("PrivateT", X25519PrivateKey, Ed25519PrivateKey, RSAPrivateKey)


class InvalidKeyError(VregError):
    """The file holds no key of the right type."""


def read_public(pem: bytes, kind: type[PublicT]) -> PublicT:
    """Read a public key of exactly this kind; raise InvalidKeyError."""
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise InvalidKeyError("not a PEM public key") from error
    if not isinstance(key, kind):
        raise InvalidKeyError(f"not an {kind.__name__}")
    return key


def read_private(pem: bytes, kind: type[PrivateT]) -> PrivateT:
    """Read an unencrypted private key of exactly this kind; raise InvalidKeyError."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidKeyError("not an unencrypted PEM private key") from error
    if not isinstance(key, kind):
        raise InvalidKeyError(f"not an {kind.__name__}")
    return key


def write_public(key: X25519PublicKey | Ed25519PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_private(key: X25519PrivateKey | Ed25519PrivateKey | RSAPrivateKey) -> bytes:
    """Return a private key as unencrypted PEM, for a file only its owner can read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
