"""Short tokens for clients: compact JWS (RFC 7515, 8037), one algorithm, one key, one type, one audience.

Nothing in a token's header chooses how it is verified: `kid`, `jwk`, `jku` and `x5c` are not looked at.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from vreg_shared.errors import VregError
from vreg_shared.secret import Secret
from vreg_shared.signing import SignatureInvalidError, SigningKey

LIFE_SECONDS: Final = 300
LEEWAY_SECONDS: Final = 60
MAX_TOKEN_BYTES: Final = 16 * 1024
ALGORITHM: Final = "EdDSA"
TYPE: Final = "vreg-pull+jwt"
ISSUER: Final = "vreg-proxy"
_CATALOG: Final = {"type": "registry", "name": "catalog", "actions": ["*"]}


class InvalidClientTokenError(VregError):
    """The bearer token is not one of ours, or no longer good."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says: who pulls (None for nobody in particular) and from which repositories.

    `catalog` says that it may also list repositories, `expires_at` is in seconds since 1970. Rights are
    looked up again on every request: a token only narrows.
    """

    access_id: str | None
    repositories: frozenset[str]
    expires_at: int
    catalog: bool = False

    def is_live(self, now: datetime) -> bool:
        """Whether the token has not ended, allowing for the clocks of other proxies."""
        return now.timestamp() < self.expires_at + LEEWAY_SECONDS


class TokenMint:
    """Makes and reads the tokens of the proxies that share a signing key."""

    def __init__(self, key: SigningKey, audience: str) -> None:
        self._key = key
        self._verifying = key.verifying
        self._audience = audience

    def issue(
        self, access_id: str | None, repositories: frozenset[str], now: datetime, *, catalog: bool = False
    ) -> Secret:
        """Return a token good for LIFE_SECONDS."""
        issued_at = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": self._audience,
            "sub": access_id or "",
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + LIFE_SECONDS,
            "access": [
                *({"type": "repository", "name": name, "actions": ["pull"]} for name in sorted(repositories)),
                *([_CATALOG] if catalog else []),
            ],
        }
        signed = f"{_encode({'alg': ALGORITHM, 'typ': TYPE})}.{_encode(claims)}"
        return Secret(f"{signed}.{_text(self._key.sign(signed.encode('ascii')))}")

    def read(self, token: Secret, now: datetime) -> Grant:
        """Return what a token says; raise InvalidClientTokenError unless we made it and it is good now."""
        text = token.reveal()
        if len(text) > MAX_TOKEN_BYTES or not text.isascii():
            raise InvalidClientTokenError("not a token")
        signed, _, signature = text.rpartition(".")
        header, _, claims = signed.partition(".")
        try:
            self._verifying.verify(_bytes(signature), signed.encode("ascii"))
            return self._grant(_decode(header), _decode(claims), now)
        except (
            SignatureInvalidError,
            binascii.Error,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ) as error:
            raise InvalidClientTokenError("not a token of this registry") from error

    def _grant(self, header: Mapping[str, Any], claims: Mapping[str, Any], now: datetime) -> Grant:
        if header.get("alg") != ALGORITHM or header.get("typ") != TYPE or "crit" in header:
            raise InvalidClientTokenError("a token of another kind")
        if claims["iss"] != ISSUER or claims["aud"] != self._audience:
            raise InvalidClientTokenError("a token for somebody else")
        not_before, expires_at, subject = claims["nbf"], claims["exp"], claims["sub"]
        if type(not_before) is not int or type(expires_at) is not int or not isinstance(subject, str):
            raise InvalidClientTokenError("a token without times")
        granted = claims["access"]
        grant = Grant(subject or None, _repositories(granted), expires_at, catalog=_CATALOG in granted)
        if not grant.is_live(now) or now.timestamp() < not_before - LEEWAY_SECONDS:
            raise InvalidClientTokenError("the token has ended or has not begun")
        return grant


def _repositories(access: list[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(
        str(entry["name"]) for entry in access if entry["type"] == "repository" and "pull" in entry["actions"]
    )


def _encode(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _decode(text: str) -> Mapping[str, Any]:
    value = json.loads(_bytes(text))
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    """Read base64url without padding, in its one spelling."""
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(raw) != text:
        raise ValueError("not the one spelling of these bytes")
    return raw
