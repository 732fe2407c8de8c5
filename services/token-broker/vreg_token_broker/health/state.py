"""What an upstream's signs come to. Pure: the same signs at the same time give the same finding.

One reset is no outage and one success no recovery: contact turns bad after some failures in a row and good
after some successes. What IAM refuses needs no repetition: it is a person's word.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from vreg_shared.explanations import remedy_of
from vreg_shared.messages.health import HealthState
from vreg_shared.provider import Answer
from vreg_token_broker.exchange import Refused, Unavailable

FAILURES: Final = 3
"""In a row, before an upstream is called unreachable."""
REFUSALS: Final = 2
"""In a row, before its credential is called rejected: a fresh one was tried in between."""
SUCCESSES: Final = 2
"""In a row, before it is called well again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong with a registry, in the terms of a walk."""

    answer: Answer
    reason: str
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """How speaking to a registry goes. `failure` is the last one, kept until it is well again."""

    failures: int = 0
    successes: int = 0
    failure: Failure | None = None
    is_bad: bool = False
    checked_at: datetime | None = None
    ok_at: datetime | None = None

    def after_success(self, now: datetime, count: int = 1) -> "Contact":
        """Return what it is after some successes."""
        successes = min(self.successes + count, SUCCESSES)
        seen = replace(self, failures=0, successes=successes, checked_at=now, ok_at=now)
        if self.is_bad and successes < SUCCESSES:
            return seen
        return replace(seen, is_bad=False, failure=None)

    def after_failure(self, failure: Failure, now: datetime, count: int = 1) -> "Contact":
        """Return what it is after some failures."""
        failures = self.failures + count
        needed = FAILURES if failure.answer is Answer.UNAVAILABLE else REFUSALS
        is_bad = self.is_bad or failures >= needed
        return replace(self, failures=failures, successes=0, failure=failure, is_bad=is_bad, checked_at=now)


@dataclass(frozen=True, slots=True)
class Token:
    """How the lease stands. `failure` is why the last refresh failed, None when it did not."""

    not_after: datetime | None = None
    is_usable: bool = False
    failure: Refused | Unavailable | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A state and its reason. `breaks_at` is when pulls will fail if nothing changes."""

    state: HealthState
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    breaks_at: datetime | None = None


def finding(  # noqa: PLR0911 - a table, in the order of what weighs most
    contact: Contact, token: Token | None, *, is_enabled: bool
) -> Finding:
    """Return the finding; `token` is None for an upstream without identity."""
    if not is_enabled:
        return Finding(HealthState.UNKNOWN, "disabled")
    if token is not None and isinstance(token.failure, Refused):
        return _of_refusal(token, token.failure)
    if contact.is_bad and contact.failure is not None:
        return _of_contact(contact.failure)
    if token is not None and isinstance(token.failure, Unavailable):
        return _of_away(token, token.failure)
    if contact.failure is not None and contact.failure.reason == "throttled":
        return _told(HealthState.DEGRADED, contact.failure)
    if contact.ok_at is None and (token is None or not token.is_usable):
        return Finding(HealthState.UNKNOWN, "not_checked_yet")
    return Finding(HealthState.HEALTHY)


def _of_refusal(token: Token, refused: Refused) -> Finding:
    remedy = refused.remedy or remedy_of(refused.reason)
    breaks_at = token.not_after if token.is_usable else None
    return Finding(HealthState.AUTH_FAILED, refused.reason, refused.detail, remedy, breaks_at)


def _of_away(token: Token, away: Unavailable) -> Finding:
    state = HealthState.DEGRADED if token.is_usable else HealthState.UNREACHABLE
    breaks_at = token.not_after if token.is_usable else None
    return Finding(state, away.reason, away.detail, remedy_of(away.reason), breaks_at)


def _of_contact(failure: Failure) -> Finding:
    match failure.answer:
        case Answer.REFUSED | Answer.HIDDEN:
            return _told(HealthState.AUTH_FAILED, failure)
        case Answer.ABSENT:
            return _told(HealthState.DEGRADED, failure)
        case _:
            is_slowed = failure.reason == "throttled"
            return _told(HealthState.DEGRADED if is_slowed else HealthState.UNREACHABLE, failure)


def _told(state: HealthState, failure: Failure) -> Finding:
    return Finding(state, failure.reason, failure.detail, failure.remedy or remedy_of(failure.reason))
