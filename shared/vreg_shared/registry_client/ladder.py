"""Sending a request with the credential presented as its registry wants it.

BASIC and BEARER go with the first request. REALM asks `/v2/` once which token endpoint there is. With a
credential at hand nothing is ever asked anonymously: a registry may call *absent* what it only hides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from yarl import URL

from vreg_shared.clock import Clock
from vreg_shared.lease import Lease, RegistryCredential
from vreg_shared.oci.challenge import parse_challenges
from vreg_shared.provider import (
    Answer,
    Presentation,
    Verdict,
    basic_authorization,
    bearer_authorization,
)
from vreg_shared.registry_client.challenges import (
    BasicAsked,
    RealmRejectedError,
    TokenOffer,
    may_be_shown_to,
    readable_scopes,
    wanted,
)
from vreg_shared.registry_client.redirects import Arrival, follow
from vreg_shared.registry_client.registry_tokens import RegistryTokens
from vreg_shared.registry_client.single_flight import SingleFlight
from vreg_shared.registry_client.target import Target
from vreg_shared.registry_client.transport import (
    RequestFailedError,
    Transport,
    discard,
    read_error_body,
    unavailable,
)
from vreg_shared.secret import Secret

_NOT_VOUCHED_FOR: Final = (
    "the lease does not name the token endpoint's host; its identity must be usable for it"
)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the registry. `repository` is what a registry token must be good for.

    `telling` are statuses that answer it, beside success, whatever the kind's table makes of them.
    """

    method: str
    url: URL
    repository: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    telling: frozenset[int] = frozenset()


class Ladder:
    """Takes the last rung for each request; keeps what the registry asks for and its tokens."""

    def __init__(self, target: Target, transport: Transport, clock: Clock) -> None:
        self._target = target
        self._transport = transport
        self._clock = clock
        self._tokens = RegistryTokens(target.kind, transport, clock)
        self._learning: SingleFlight[str, None] = SingleFlight()
        self._asked: TokenOffer | BasicAsked | None = None
        self._is_learnt = False

    async def send(self, request: Request, lease: Lease | None) -> Arrival:
        """Return the answer, whatever its status; raise RequestFailedError when the ladder breaks."""
        if lease is not None and not lease.covers(self._target.host):
            raise RequestFailedError(Verdict(Answer.REFUSED, "lease_not_for_host"))
        if lease is not None and request.repository and not lease.reaches(request.repository):
            raise RequestFailedError(Verdict(Answer.REFUSED, "lease_not_for_repository"))
        if lease is not None and lease.credential.presentation is not Presentation.REALM:
            return await self._follow(request, _at_once(lease.credential))
        if lease is not None and not self._is_learnt:
            await self._learning.run("", self._learn)
        return await self._climb(request, lease)

    async def _climb(self, request: Request, lease: Lease | None) -> Arrival:
        began = self._clock.monotonic()
        known = self._asked
        arrival = await self._follow(request, await self._presented(known, request, lease))
        asked = self._asked_anew(arrival, known)
        if asked is None:
            return arrival
        self._remember(asked)
        await discard(arrival.response)
        arrival = await self._follow(request, await self._presented(asked, request, lease, began))
        if isinstance(asked, TokenOffer) and not arrival.redirected:
            await _accept_or_explain(arrival, lease)
        return arrival

    def _asked_anew(
        self, arrival: Arrival, known: TokenOffer | BasicAsked | None
    ) -> TokenOffer | BasicAsked | None:
        """Return what to present on a second try; None when the answer is not about what was presented.

        Some registries call a token stale without a challenge: then the realm is the one known before.
        """
        if arrival.redirected:
            return None
        status = arrival.response.status
        asked = _asked_by(arrival, self._target) if status == HTTPStatus.UNAUTHORIZED else None
        if isinstance(known, TokenOffer):
            return asked or (known if status in self._target.kind.stale_token_statuses else None)
        return None if isinstance(asked, BasicAsked) else asked

    async def _presented(
        self, asked: TokenOffer | BasicAsked | None, request: Request, lease: Lease | None, *not_before: float
    ) -> Secret | None:
        """Return the header for what is asked: a registry token, or Basic, or nothing when anonymous."""
        if isinstance(asked, TokenOffer):
            if lease is not None and not may_be_shown_to(asked.realm, lease, self._target):
                raise RequestFailedError(Verdict(Answer.REFUSED, "realm_rejected", detail=_NOT_VOUCHED_FOR))
            scopes = readable_scopes(request.repository, asked.scopes)
            token = await self._tokens.token(asked, scopes, lease, *not_before)
            return bearer_authorization(token.secret)
        return _basic(lease.credential) if lease is not None else None

    async def _learn(self) -> None:
        """Ask `/v2/` without a credential what it wants. Only its own 401 teaches anything."""
        arrival = await self._follow(Request("GET", self._target.origin.with_path("/v2/")), None)
        status = arrival.response.status
        if status == HTTPStatus.UNAUTHORIZED and not arrival.redirected:
            self._asked = _asked_by(arrival, self._target)
        await discard(arrival.response)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise unavailable("throttled", "/v2/ answered 429")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise unavailable("upstream_error", f"/v2/ answered {status}")
        self._is_learnt = True

    def _remember(self, asked: TokenOffer | BasicAsked) -> None:
        """Keep the endpoint, not the scopes: those belong to one repository."""
        self._asked = TokenOffer(asked.realm, asked.service) if isinstance(asked, TokenOffer) else asked

    async def _follow(self, request: Request, authorization: Secret | None) -> Arrival:
        return await follow(self._transport, request.method, request.url, request.headers, authorization)


def _at_once(credential: RegistryCredential) -> Secret:
    if credential.presentation is Presentation.BEARER:
        return bearer_authorization(credential.secret)
    return _basic(credential)


def _basic(credential: RegistryCredential) -> Secret:
    return basic_authorization(credential.username, credential.secret)


def _asked_by(arrival: Arrival, target: Target) -> TokenOffer | BasicAsked | None:
    headers = arrival.response.headers.getall("WWW-Authenticate", [])
    try:
        return wanted(parse_challenges(headers), target)
    except RealmRejectedError as error:
        arrival.response.close()
        raise RequestFailedError(Verdict(Answer.REFUSED, "realm_rejected", detail=str(error))) from error


async def _accept_or_explain(arrival: Arrival, lease: Lease | None) -> None:
    """Explain a 401 for a token just issued, although the realm took the credential.

    One that ends by itself may have been taken although it is worth nothing: then a fresh lease may help.
    Without a challenge there is nothing to explain by.
    """
    if arrival.response.status != HTTPStatus.UNAUTHORIZED:
        return
    challenges = parse_challenges(arrival.response.headers.getall("WWW-Authenticate", []))
    if not challenges:
        return
    errors = {challenge.parameters.get("error") for challenge in challenges}
    detail = (await read_error_body(arrival.response)).decode("utf-8", "replace")[:1000]
    if "invalid_token" in errors:
        ends = lease is not None and lease.not_after is not None
        raise RequestFailedError(
            Verdict(Answer.REFUSED, "registry_token_rejected", refreshable=ends, detail=detail)
        )
    raise RequestFailedError(Verdict(Answer.HIDDEN, "permission_denied", detail=detail))
