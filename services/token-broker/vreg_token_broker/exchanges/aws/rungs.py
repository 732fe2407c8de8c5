"""What the climb to an ECR token passes from rung to rung, and the time it may take."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from vreg_shared.clock import Clock
from vreg_shared.secret import Secret
from vreg_token_broker.answers import NoAnswerError
from vreg_token_broker.exchange import Unavailable

BUDGET_SECONDS: Final = 24.0
"""For all steps of one climb: the last may begin just before its end, and flights wait for 30 seconds."""
_LEAST_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """The time that all steps of one climb share."""

    clock: Clock
    ends: float

    @classmethod
    def begin(cls, clock: Clock, seconds: float = BUDGET_SECONDS) -> Self:
        """Return a budget that begins now."""
        return cls(clock, clock.monotonic() + seconds)

    def left(self, step: str) -> float:
        """Return the seconds a step may take; raise NoAnswerError when it would be too few."""
        seconds = self.ends - self.clock.monotonic()
        if seconds < _LEAST_SECONDS:
            raise NoAnswerError(Unavailable("timeout", f"{step}: the steps before it took too long"))
        return seconds


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What a request is signed with."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class RoleRequest:
    """What is asked of STS for a role. `policy` limits the session to less than the role may."""

    role_arn: str
    session_name: str
    external_id: str
    duration_seconds: int
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Keys, whom AWS takes their bearer for, and AWS's own names for the calls that led to them."""

    keys: AwsKeys
    principal: str
    request_ids: tuple[str, ...] = ()

    def after(self, before: "Session") -> "Session":
        """Return this session, with the calls of the one it was got with before its own."""
        return replace(self, request_ids=(*before.request_ids, *self.request_ids))


@dataclass(frozen=True, slots=True)
class AuthorizationToken:
    """What ECR gives, as it came: base64 of `user:password`; `date` is the answer's own."""

    token: Secret
    expires_at: datetime | None
    date: datetime | None
    request_id: str
