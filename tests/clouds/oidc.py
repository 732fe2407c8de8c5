"""What the clouds do with an identity token: find its issuer's keys over HTTPS, and check it against them."""

import base64
import json
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

_DISCOVERY = "/.well-known/openid-configuration"
_SKEW_SECONDS = 300


class Flaw(StrEnum):
    """Why an identity token is not accepted; each cloud has its own words for it."""

    MALFORMED = "malformed"
    ISSUER_UNREACHABLE = "issuer_unreachable"
    """Its discovery document or its keys cannot be fetched over HTTPS from the issuer that it names."""
    ISSUER_MISMATCH = "issuer_mismatch"
    """The discovery document is another issuer's."""
    KEY_UNKNOWN = "key_unknown"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    NOT_YET = "not_yet"


class FlawedTokenError(Exception):
    """The token is not accepted."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was verified says; `raw` holds all of it."""

    issuer: str
    subject: str
    audience: str
    expires_at: int
    raw: dict[str, Any]


class Fetches(Protocol):
    """HTTPS as the clouds speak it: through the same gateway, trusting the test authority alone."""

    async def get_json(self, url: str) -> Any:  # noqa: ANN401 -- whatever the issuer serves
        """Return the document; raise OSError when there is none to be had."""
        ...


class TokenVerifier:
    """Verifies RS256 tokens, fetching discovery and keys each time unless `cache_seconds` is set."""

    def __init__(self, fetch: Fetches) -> None:
        self._fetch = fetch
        self.cache_seconds = 0.0
        self._cached: dict[str, tuple[float, list[dict[str, str]]]] = {}

    async def verify(self, token: str, now: float) -> Claims:
        """Return what a token says; raise FlawedTokenError. Whom it is meant for is the caller's business."""
        header, raw, signed, signature = _parted(token)
        if header.get("alg") != "RS256" or not isinstance(header.get("kid"), str):
            raise FlawedTokenError(Flaw.MALFORMED)
        claims = _claims(raw)
        keys = await self._keys(claims.issuer)
        key = next((each for each in keys if each.get("kid") == header["kid"]), None)
        if key is None:
            raise FlawedTokenError(Flaw.KEY_UNKNOWN)
        try:
            _public(key).verify(signature, signed, PKCS1v15(), SHA256())
        except InvalidSignature:
            raise FlawedTokenError(Flaw.SIGNATURE) from None
        if now >= claims.expires_at:
            raise FlawedTokenError(Flaw.EXPIRED)
        if any(raw.get(name, 0) > now + _SKEW_SECONDS for name in ("iat", "nbf")):
            raise FlawedTokenError(Flaw.NOT_YET)
        return claims

    async def _keys(self, issuer: str) -> list[dict[str, str]]:
        at, keys = self._cached.get(issuer, (float("-inf"), []))
        if time.monotonic() - at < self.cache_seconds:
            return keys
        if not issuer.startswith("https://") or ":" in issuer.removeprefix("https://"):
            raise FlawedTokenError(Flaw.ISSUER_UNREACHABLE)
        try:
            found = await self._fetch.get_json(issuer + _DISCOVERY)
            if found.get("issuer") != issuer:
                raise FlawedTokenError(Flaw.ISSUER_MISMATCH)
            keys = list((await self._fetch.get_json(found["jwks_uri"]))["keys"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise FlawedTokenError(Flaw.ISSUER_UNREACHABLE) from None
        self._cached[issuer] = (time.monotonic(), keys)
        return keys


def _parted(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    try:
        head, body, signature = token.split(".")
        return (
            json.loads(_decoded(head)),
            json.loads(_decoded(body)),
            f"{head}.{body}".encode(),
            _decoded(signature),
        )
    except (ValueError, TypeError):
        raise FlawedTokenError(Flaw.MALFORMED) from None


def _claims(raw: dict[str, Any]) -> Claims:
    """Read the claims that every cloud needs; numbers must be whole, as AWS wants them."""
    try:
        issuer, subject, audience = raw["iss"], raw["sub"], raw["aud"]
        expires_at, issued_at = raw["exp"], raw["iat"]
    except KeyError:
        raise FlawedTokenError(Flaw.MALFORMED) from None
    texts, numbers = (issuer, subject, audience), (expires_at, issued_at)
    if not all(isinstance(each, str) for each in texts) or not all(type(each) is int for each in numbers):
        raise FlawedTokenError(Flaw.MALFORMED)
    return Claims(issuer, subject, audience, expires_at, raw)


def _public(key: dict[str, str]) -> Any:  # noqa: ANN401 -- an RSA public key
    return RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
