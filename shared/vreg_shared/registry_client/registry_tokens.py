"""Rung 4 of the ladder: short tokens from an upstream's realm, one request for each at a time."""

import base64
import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from vreg_shared.clock import Clock
from vreg_shared.lease import Generation, Lease
from vreg_shared.provider import Answer, RegistryKind, Verdict, basic_authorization, classify
from vreg_shared.registry_client.challenges import TokenOffer
from vreg_shared.registry_client.single_flight import SingleFlight
from vreg_shared.registry_client.transport import (
    RequestFailedError,
    Transport,
    read_body,
    read_error_body,
    unavailable,
)
from vreg_shared.secret import Secret

MAX_TOKEN_BYTES: Final = 64 * 1024
MAX_TOKENS: Final = 4096
DEFAULT_SECONDS: Final = 60.0
"""What the distribution specification says of an answer without `expires_in`."""
LONGEST_SECONDS: Final = 3600.0
"""However long a token lives, we look again: its owner may have revoked the right."""
MARGIN_PART: Final = 0.1
MARGIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class RegistryToken:
    """A bearer for some scopes; times are monotonic, and `usable_until` leaves a margin."""

    secret: Secret
    asked_at: float
    usable_until: float


@dataclass(frozen=True, slots=True)
class _Key:
    generation: Generation | None
    scopes: tuple[str, ...]


class RegistryTokens:
    """Keeps tokens by lease generation and scopes, so a new lease never meets an old token."""

    def __init__(self, kind: RegistryKind, transport: Transport, clock: Clock) -> None:
        self._kind = kind
        self._transport = transport
        self._clock = clock
        self._kept: OrderedDict[_Key, RegistryToken] = OrderedDict()
        self._fetches: SingleFlight[_Key, RegistryToken] = SingleFlight()

    async def token(
        self, offer: TokenOffer, scopes: tuple[str, ...], lease: Lease | None, not_before: float = -math.inf
    ) -> RegistryToken:
        """Return a usable token, asked for at `not_before` (monotonic) or later.

        Raises RequestFailedError with the verdict on the realm's answer.
        """
        key = _Key(lease.generation if lease is not None else None, scopes)
        kept = self._kept.get(key)
        if kept is not None and kept.asked_at >= not_before and self._clock.monotonic() < kept.usable_until:
            self._kept.move_to_end(key)
            return kept
        return await self._fetches.run(key, lambda: self._fetch(key, offer, lease))

    async def _fetch(self, key: _Key, offer: TokenOffer, lease: Lease | None) -> RegistryToken:
        headers = {"Accept": "application/json"}
        if lease is not None:
            credential = lease.credential
            headers["Authorization"] = basic_authorization(credential.username, credential.secret).reveal()
        began = self._clock.monotonic()
        response = await self._transport.send("GET", offer.url(key.scopes), headers)
        if response.status != HTTPStatus.OK:
            body = await read_error_body(response)
            raise RequestFailedError(_judged(self._kind, response.status, response.headers, body, lease))
        token = parse_token(await read_body(response, MAX_TOKEN_BYTES), began, self._clock.now())
        self._kept[key] = token
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_TOKENS:
            self._kept.popitem(last=False)
        return token


def _judged(
    kind: RegistryKind,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    lease: Lease | None,
) -> Verdict:
    """Judge a realm's refusal. It never says that a repository is absent."""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Verdict(Answer.REFUSED, "realm_rejected", detail="the token endpoint redirects")
    verdict = classify(kind, status, {name.lower(): value for name, value in headers.items()}, body)
    if status in {400, 401} and lease is not None and verdict.answer is not Answer.HIDDEN:
        return Verdict(Answer.REFUSED, "credential_rejected", refreshable=True, detail=verdict.detail)
    if status in {400, 401}:
        return Verdict(Answer.HIDDEN, "authentication_required", detail=verdict.detail)
    if verdict.answer is Answer.ABSENT:
        return Verdict(Answer.UNAVAILABLE, "token_endpoint_unknown", detail=verdict.detail)
    return verdict


def parse_token(body: bytes, began: float, now: datetime) -> RegistryToken:
    """Read a token endpoint's answer; raise RequestFailedError (`bad_token_answer`).

    `began` is the monotonic time of the request: a token's life is counted from there.
    """
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
        expires_in = answer.get("expires_in")
    except (ValueError, AttributeError, RecursionError) as error:
        raise unavailable("bad_token_answer") from error
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
        raise unavailable("bad_token_answer", "the answer holds no token")
    life = _seconds(expires_in) or _jwt_seconds(token, now) or DEFAULT_SECONDS
    life = min(life, LONGEST_SECONDS)
    return RegistryToken(Secret(token), began, began + life - min(life * MARGIN_PART, MARGIN_SECONDS))


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        return None
    return float(value)


def _jwt_seconds(token: str, now: datetime) -> float | None:
    """Return how long a JWT has left by its `exp`, unverified: ACR's tokens say it nowhere else."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = _seconds(claims.get("exp"))
    except (ValueError, AttributeError, RecursionError):
        return None
    return _seconds(ends - now.timestamp()) if ends is not None else None
