"""What an exchange is asked, and the three things it may answer."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from vreg_shared.clock import Clock
from vreg_shared.egress import EgressPolicy
from vreg_shared.lease import RegistryCredential
from vreg_shared.provider import AuthMethod, RegistryKind


@dataclass(frozen=True, slots=True)
class ExchangeOrder:
    """Everything one climb needs. `method` holds opened secrets; `host` is any host of the lease scope."""

    identity_id: str
    external_id: str
    method: AuthMethod
    kind: RegistryKind
    host: str


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
    `is_final`: asking again is pointless until the identity's record changes, for nobody was asked.
    """

    reason: str
    detail: str = ""
    remedy: str = ""
    request_ids: tuple[str, ...] = ()
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nobody said yes or no: try again, after `retry_after` seconds if they were named."""

    reason: str
    detail: str = ""
    retry_after: float | None = None
    request_ids: tuple[str, ...] = ()


Outcome = Issued | Refused | Unavailable


class Exchange(Protocol):
    """Climbs from an auth method to a credential that the registry accepts; keeps nothing, never retries."""

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Climb once, within deadlines of its own; raise nothing for what a cloud or a network can do."""
        ...


@dataclass(frozen=True, slots=True)
class ExchangeWorld:
    """What exchange modules are built from; `trust_file` holds all authorities, for SDKs that take a path."""

    clock: Clock
    egress: EgressPolicy
    trust_file: str | None = None
    threads: int = field(default=16)
