"""The keys of vreg's own issuer: each signs from an instant on, until a younger one does.

<keys>/token-broker/issuer/20261124T185900Z.key   the private key that signs from that instant (UTC) on
<keys>/public/issuer.jwks.json                    the public halves, as whoever checks a token reads them

The folder alone decides which key signs, so that all who read it agree.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from vreg_shared.canonical import canonical_json
from vreg_shared.key_files import MissingKeyError
from vreg_shared.pem import InvalidKeyError, read_private, write_private

BITS: Final = 2048
"""What every cloud takes; a key may be longer."""
_EXPONENT: Final = 65537
_SUFFIX: Final = ".key"
_INSTANT: Final = "%Y%m%dT%H%M%SZ"
_EXAMPLE: Final = "20260131T120000Z.key"


@dataclass(frozen=True, slots=True, repr=False)
class IssuerKey:
    """An RSA key, and the instant (UTC, whole seconds) from which it signs."""

    signs_from: datetime
    private: RSAPrivateKey

    @classmethod
    def generate(cls, signs_from: datetime) -> Self:
        """Make a new key."""
        return cls(signs_from, generate_private_key(public_exponent=_EXPONENT, key_size=BITS))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a key and, from its name, when it begins to sign; raise InvalidKeyError or OSError."""
        try:
            signs_from = datetime.strptime(path.name, _INSTANT + _SUFFIX).replace(tzinfo=UTC)
        except ValueError as error:
            raise InvalidKeyError(f"not named after an instant, like {_EXAMPLE}") from error
        private = read_private(path.read_bytes(), RSAPrivateKey)
        if private.key_size < BITS:
            raise InvalidKeyError(f"of fewer than {BITS} bits")
        return cls(signs_from, private)

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.signs_from:{_INSTANT}}{_SUFFIX}"

    @property
    def kid(self) -> str:
        """What a token calls its key: the thumbprint of RFC 7638."""
        return _unpadded(sha256(canonical_json(self._numbers())).digest())

    def jwk(self) -> dict[str, str]:
        """Return the public half (RFC 7517)."""
        return {"use": "sig", "alg": "RS256", "kid": self.kid, **self._numbers()}

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PEM, for a file only its owner can read."""
        return write_private(self.private)

    def _numbers(self) -> dict[str, str]:
        numbers = self.private.public_key().public_numbers()
        return {"kty": "RSA", "n": _base64url_of(numbers.n), "e": _base64url_of(numbers.e)}


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """All keys of the issuer, the one that signs earliest first; there is at least one."""

    keys: tuple[IssuerKey, ...]

    def signing(self, now: datetime) -> IssuerKey:
        """Return the key that signs now: the youngest that has begun to, else the first there ever was."""
        return next((key for key in reversed(self.keys) if key.signs_from <= now), self.keys[0])

    def waiting(self, now: datetime) -> tuple[IssuerKey, ...]:
        """Return the keys that are published and have not begun to sign."""
        return tuple(key for key in self.keys[1:] if key.signs_from > now)

    def outlived(self, now: datetime, overlap: timedelta) -> tuple[IssuerKey, ...]:
        """Return the keys whose successor has signed for longer than `overlap`."""
        successors = zip(self.keys, self.keys[1:], strict=False)
        return tuple(key for key, successor in successors if successor.signs_from + overlap < now)

    def jwks(self) -> bytes:
        """Return the public halves as a JWK set."""
        return json.dumps({"keys": [key.jwk() for key in self.keys]}, indent=2).encode() + b"\n"


def read_issuer_keys(folder: Path) -> IssuerKeys:
    """Read every key there is now; raise MissingKeyError, also when there is none."""
    keys = tuple(_read(folder))
    if not keys:
        raise _missing(folder, "there is no key of the issuer")
    return IssuerKeys(keys)


def issuer_key_paths(folder: Path) -> list[Path]:
    """Return the files of keys, in the order in which the keys sign."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _read(folder: Path) -> Iterator[IssuerKey]:
    for path in issuer_key_paths(folder):
        try:
            yield IssuerKey.from_file(path)
        except FileNotFoundError:
            continue  # a rotation has just dropped it
        except OSError as error:
            raise _missing(path, error.strerror or str(error)) from error
        except InvalidKeyError as error:
            raise _missing(path, str(error)) from error


def _missing(path: Path, why: str) -> MissingKeyError:
    return MissingKeyError(
        f"key {path}: {why}; restore it from a backup, or let `vreg setup` make the issuer's first key"
    )


def _base64url_of(number: int) -> str:
    return _unpadded(number.to_bytes((number.bit_length() + 7) // 8))


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
