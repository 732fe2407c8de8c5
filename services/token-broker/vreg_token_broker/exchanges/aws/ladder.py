"""The climb: a session, and with it a token of ECR or of ECR Public; what ended on the way is tried twice."""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Final, Protocol

from vreg_shared.clock import Clock
from vreg_shared.lease import RegistryCredential
from vreg_shared.provider import InvalidHostError, Presentation
from vreg_shared.providers.aws.auth_methods import RoleChain
from vreg_shared.providers.aws.hosts import Place, is_ecr_public_host, place_of
from vreg_shared.providers.aws.refusals import EXPIRED, REFUSALS
from vreg_shared.secret import Secret
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError
from vreg_token_broker.exchange import (
    ExchangeOrder,
    IdentityTokenError,
    Issued,
    Outcome,
    Refused,
    Unavailable,
    outcome_of,
)
from vreg_token_broker.exchanges.aws.rungs import (
    AuthorizationToken,
    AwsKeys,
    Budget,
    Session,
)

NOMINAL_LIFE: Final = timedelta(hours=12)
UNKNOWN_LIFE: Final = timedelta(seconds=60)
"""For an answer without an end: OAuth's default, since a guess too long is a pull that fails."""
_PUBLIC_USER: Final = "AWS"
"""Whom the token is for, should it ever be shown to the realm, which takes Basic."""


class Opens(Protocol):
    """The rungs below the token."""

    async def open(self, order: ExchangeOrder, place: Place, budget: Budget) -> Session:
        """Return the keys that ask for it; raise CloudRefusedError, NoAnswerError or IdentityTokenError."""
        ...


class Ecr(Protocol):
    """The calls that give a token. Both raise CloudRefusedError or NoAnswerError."""

    async def authorization_token(self, place: Place, keys: AwsKeys, budget: Budget) -> AuthorizationToken:
        """Ask a region's ECR."""
        ...

    async def public_authorization_token(
        self, place: Place, keys: AwsKeys, budget: Budget
    ) -> AuthorizationToken:
        """Ask ECR Public."""
        ...


class AwsExchange:
    """Climbs within a budget of its own; a token is good for every registry the principal may read there."""

    def __init__(self, sessions: Opens, ecr: Ecr, clock: Clock) -> None:
        self._sessions = sessions
        self._ecr = ecr
        self._clock = clock

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Return a credential for the host's region, or for ECR Public, or why not."""
        try:
            place = place_of(order.host)
        except InvalidHostError as error:
            return Refused("host_invalid", str(error), "Use the registry's own host name.", is_final=True)
        refused = _mismatch(order, place)
        if refused is not None:
            return refused
        try:
            return await self._climb(order, place, Budget.begin(self._clock))
        except CloudRefusedError as error:
            return outcome_of(REFUSALS, error.refusal, self._clock.now())
        except (NoAnswerError, IdentityTokenError) as error:
            return error.outcome

    async def _climb(self, order: ExchangeOrder, place: Place, budget: Budget) -> Outcome:
        try:
            return await self._climb_once(order, place, budget)
        except CloudRefusedError as error:
            if error.refusal.code not in EXPIRED or not isinstance(order.method, RoleChain):
                raise
        # A session or a signed token that ended on the way: what it was got with is as good as it was.
        return await self._climb_once(order, place, budget)

    async def _climb_once(self, order: ExchangeOrder, place: Place, budget: Budget) -> Outcome:
        session = await self._sessions.open(order, place, budget)
        if is_ecr_public_host(order.host):
            token = await self._ecr.public_authorization_token(place, session.keys, budget)
        else:
            token = await self._ecr.authorization_token(place, session.keys, budget)
        return self._issued(order.kind.presentation, token, session)

    def _issued(self, presentation: Presentation, token: AuthorizationToken, session: Session) -> Outcome:
        ids = tuple(each for each in (*session.request_ids, token.request_id) if each)
        credential = credential_of(token, presentation)
        if credential is None:
            return Unavailable("unexpected_answer", "the authorization token is not what a registry takes")
        issued_at, not_after = lifetime(token, self._clock.now())
        if not_after <= issued_at:
            return Unavailable(
                "clock_skew", f"the token had ended at {not_after.isoformat()} when it came", request_ids=ids
            )
        return Issued(credential, issued_at, not_after, session.principal, ids)


def credential_of(token: AuthorizationToken, presentation: Presentation) -> RegistryCredential | None:
    """Return what the registry accepts, or None when that is not what came.

    ECR takes Basic, made of the user and the password within. ECR Public refuses Basic; it takes the token
    as it came, as a Bearer.
    """
    whole = token.token.reveal()
    if presentation is Presentation.BEARER:
        is_header = bool(whole) and whole.isascii() and whole.isprintable()
        return RegistryCredential(_PUBLIC_USER, token.token, presentation) if is_header else None
    try:
        username, _, password = base64.b64decode(whole, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return RegistryCredential(username, Secret(password), presentation) if username and password else None


def lifetime(token: AuthorizationToken, now: datetime) -> tuple[datetime, datetime]:
    """Return (issued_at, not_after): the shorter of what AWS's clock and ours say, at most nominal."""
    issued_at = now if token.date is None else max(now, token.date)
    not_after = token.expires_at if token.expires_at is not None else issued_at + UNKNOWN_LIFE
    return issued_at, min(not_after, issued_at + NOMINAL_LIFE)


def _mismatch(order: ExchangeOrder, place: Place) -> Refused | None:
    """Return why roles of the chain cannot know this registry; None if they can."""
    roles = order.method.role_arns if isinstance(order.method, RoleChain) else ()
    foreign = [
        partition for partition in (arn.split(":")[1] for arn in roles) if partition != place.partition.name
    ]
    if not foreign:
        return None
    return Refused(
        "partition_mismatch",
        f"role of {foreign}, registry of {place.partition.name}",
        "Use a role of the registry's own partition.",
        is_final=True,
    )
