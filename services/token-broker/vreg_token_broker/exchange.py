"""What an exchange is asked, and the three things it may answer."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed, UsableFor
from vreg_shared.clock import Clock
from vreg_shared.egress import EgressPolicy
from vreg_shared.errors import VregError
from vreg_shared.lease import RegistryCredential
from vreg_shared.provider import RegistryKind
from vreg_shared.refusals import Refusal, RefusalRule, judge
from vreg_shared.secret import MASK, Secret


@dataclass(frozen=True, slots=True)
class ExchangeOrder:
    """Everything one climb needs. `method` holds opened secrets; `host` is any host of the lease scope.

    `usable_for` is for exchanges that ask for no more than that; None where nobody said.
    """

    identity_id: str
    external_id: str
    method: AuthMethod
    kind: RegistryKind
    host: str
    usable_for: UsableFor | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """The cloud gave a credential. `not_after` None: it ends only when a person revokes it.

    `principal` is who the cloud says we were, and `request_ids` are the cloud's own names for our calls.
    """

    credential: RegistryCredential
    issued_at: datetime
    not_after: datetime | None
    principal: str = ""
    request_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The cloud, or our own check, said no: a person must act, and `remedy` says how.

    `reason` is a stable code. `detail` holds the provider's own words: for audit, health and logs alone.
    `is_final`: asking again is pointless until the identity's record changes, for nobody was asked. `step`
    is the call that was answered so, as the provider's tables name it.
    """

    reason: str
    detail: str = ""
    remedy: str = ""
    request_ids: tuple[str, ...] = ()
    is_final: bool = False
    step: str = ""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nobody said yes or no: try again, after `retry_after` seconds if they were named."""

    reason: str
    detail: str = ""
    retry_after: float | None = None
    request_ids: tuple[str, ...] = ()
    step: str = ""


Outcome = Issued | Refused | Unavailable
_DETAIL_LIMIT: Final = 1000
_READ_LIMIT: Final = 4096
# Clouds quote what they were sent: signed tokens, PEM, and anything long enough to be a key or a signature.
_SECRET_TEXT: Final = re.compile(
    r"ya29\.[\w.-]+|ey[\w-]+\.[\w-]+\.[\w-]*|-----BEGIN[^-]+-----[^-]*(?:-----END[^-]+-----)?"
    r"|(?<![\w/+=.-])[\w/+=%-]{64,}"
)


def scrubbed(text: str) -> str:
    """Return a cloud's words with all that may be a secret in them masked."""
    return _SECRET_TEXT.sub(MASK, text)


def outcome_of(rules: Iterable[RefusalRule], refusal: Refusal, now: datetime) -> Refused | Unavailable:
    """Return what a cloud's error answer comes to, by the provider's table; `now` is when it came."""
    judgement = judge(rules, refusal, now)
    words = f"{refusal.step}: {refusal.code}: {refusal.message}"[:_READ_LIMIT]
    detail = scrubbed(words)[:_DETAIL_LIMIT]  # in this order: half a secret is not known for one
    ids = (refusal.request_id,) if refusal.request_id else ()
    if judgement.is_refused:
        return Refused(judgement.reason, detail, judgement.remedy, ids, step=refusal.step)
    return Unavailable(judgement.reason, detail, refusal.retry_after, ids, refusal.step)


class Exchange(Protocol):
    """Climbs from an auth method to a credential that the registry accepts; keeps nothing, never retries."""

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Climb once, within deadlines of its own; raise nothing for what a cloud or a network can do."""
        ...


class IdentityTokenError(VregError):
    """There is no identity token to climb from; `outcome` says why."""

    def __init__(self, outcome: Refused | Unavailable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class IdentityTokens(Protocol):
    """Rung 1 of the ladder: tokens signed by vreg's own issuer, or kept fresh in a file by the platform."""

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        """Return a token for one exchange; raise IdentityTokenError."""
        ...


class NoIdentityTokens:
    """For a world without issuer and token files."""

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        """Raise IdentityTokenError, always."""
        remedy = "Set VREG_ISSUER_URL, or let the identity name a token file that is configured."
        raise IdentityTokenError(Refused("issuer_not_configured", f"{identity_id}: {need.audience}", remedy))


@dataclass(frozen=True, slots=True)
class ExchangeWorld:
    """What exchange modules are built from; `trust_file` holds all authorities, for SDKs that take a path.

    `environment` is what the platform told this process of its identity; only ambient methods read it, and
    it holds nothing but what those need that the operator permits.
    """

    clock: Clock
    egress: EgressPolicy
    trust_file: str | None = None
    threads: int = 16
    identity_tokens: IdentityTokens = field(default_factory=NoIdentityTokens)
    environment: Mapping[str, str] = field(default_factory=dict)
