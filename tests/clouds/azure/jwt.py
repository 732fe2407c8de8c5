"""Signed tokens as Azure writes them, and the signatures of clients' assertions."""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class BadTokenError(ValueError):
    """Not a token, or not one that this key signed."""


@dataclass(frozen=True, slots=True)
class Parted:
    """A token taken apart; nobody has verified it."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    def verify(self, key: RSAPublicKey) -> None:
        """Raise BadTokenError unless `key` signed it, with RS256 or PS256."""
        paddings: dict[str, AsymmetricPadding] = {
            "RS256": PKCS1v15(),
            "PS256": PSS(MGF1(SHA256()), SHA256().digest_size),
        }
        try:
            key.verify(self.signature, self.signed, paddings[self.header["alg"]], SHA256())
        except (InvalidSignature, KeyError, TypeError):
            raise BadTokenError("signature") from None


def part(token: str) -> Parted:
    """Take a token apart, padded or not; raise BadTokenError."""
    try:
        head, body, signature = token.split(".")
        header, claims = json.loads(decoded(head)), json.loads(decoded(body))
    except ValueError:
        raise BadTokenError("malformed") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadTokenError("malformed")
    return Parted(header, claims, f"{head}.{body}".encode(), decoded(signature))


@cache
def _key(_owner: str) -> RSAPrivateKey:
    """Return a key that is made when it is first needed, and once in a process: making one takes long."""
    return generate_private_key(65537, 2048)


@dataclass(frozen=True, slots=True)
class Signer:
    """A service's own key. `kid` is in the form of libtrust, as the registry has it."""

    owner: str

    @property
    def key(self) -> RSAPrivateKey:
        """Return the key."""
        return _key(self.owner)

    def rotated(self) -> "Signer":
        """Return another key for the same service."""
        return Signer(f"{self.owner}+")

    @property
    def kid(self) -> str:
        """Return the key's name."""
        raw = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = base64.b32encode(hashlib.sha256(raw).digest()[:30]).decode()
        return ":".join(text[at : at + 4] for at in range(0, len(text), 4))

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a token."""
        header = {"alg": "RS256", "typ": "JWT", "kid": self.kid}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{_encoded(self.key.sign(signed.encode(), PKCS1v15(), SHA256()))}"

    def claims(self, token: str) -> dict[str, Any]:
        """Return what one of our own tokens says; raise BadTokenError."""
        parted = part(token)
        parted.verify(self.key.public_key())
        return parted.claims


def decoded(text: str) -> bytes:
    """Return the bytes of base64url, padded or not; raise ValueError."""
    return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
