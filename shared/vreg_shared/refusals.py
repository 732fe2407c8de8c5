"""What a cloud's IAM says when it gives no token, and what that means: a table each provider declares.

Pure. The same rows decide in the broker, are the remedies that people read, and fill the provider's page.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

CLOCK_SKEW_SECONDS: Final = 240
"""The clouds tolerate five minutes; a little less leaves room for the answer's way."""
_TOO_MANY_REQUESTS: Final = 429
_REQUEST_TIMEOUT: Final = 408
_SERVER_ERROR: Final = 500
REMEDY_CLOCK: Final = "Set the clock of the machine the token-broker runs on; NTP keeps it right."
REMEDY_UNKNOWN: Final = (
    "Look up the provider's words; a firewall or proxy that answers in the cloud's place does this too."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of IAM. `step` is the cloud's own word for the call, `date` the answer's own Date."""

    step: str
    code: str
    message: str
    status: int
    request_id: str = ""
    date: datetime | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRule:
    """One row: it holds when every condition given holds. Text comparisons ignore case.

    `is_refused` says that a person must act, and `remedy` how; otherwise trying again may help. `cause` is
    what somebody did wrong, in plain words, for the provider's page; a row without one is not shown there.
    With `may_be_skew`, a clock that is wrong by minutes is the likelier cause.
    """

    reason: str
    remedy: str = ""
    cause: str = ""
    is_refused: bool = True
    may_be_skew: bool = False
    steps: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    contains: tuple[str, ...] = ()

    def applies(self, refusal: Refusal) -> bool:
        """Whether this row speaks of a refusal."""
        text = refusal.message.lower()
        return (
            (not self.steps or refusal.step in self.steps)
            and (not self.codes or refusal.code in self.codes)
            and (not self.statuses or refusal.status in self.statuses)
            and (not self.contains or any(part.lower() in text for part in self.contains))
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a refusal means: whether a person must act, a stable reason, and what to do."""

    is_refused: bool
    reason: str
    remedy: str = ""


_CLOCK: Final = Judgement(is_refused=True, reason="clock_skew", remedy=REMEDY_CLOCK)


def judge(rules: Iterable[RefusalRule], refusal: Refusal, now: datetime) -> Judgement:
    """Return what an error answer means; `now` is our time when it came.

    What no row knows is *unavailable* when the cloud is throttling or unwell, and otherwise *refused*:
    asking again would not change it.
    """
    for rule in rules:
        if rule.applies(refusal):
            if rule.may_be_skew and _is_skewed(refusal, now):
                return _CLOCK
            return Judgement(rule.is_refused, rule.reason, rule.remedy)
    if refusal.status == _TOO_MANY_REQUESTS:
        return Judgement(is_refused=False, reason="throttled")
    if refusal.status == _REQUEST_TIMEOUT:
        return Judgement(is_refused=False, reason="timeout")
    if refusal.status >= _SERVER_ERROR:
        return Judgement(is_refused=False, reason="upstream_error")
    return Judgement(is_refused=True, reason="unexpected_answer", remedy=REMEDY_UNKNOWN)


def _is_skewed(refusal: Refusal, now: datetime) -> bool:
    """Whether the cloud's clock and ours differ by more than it permits."""
    return refusal.date is not None and abs((refusal.date - now).total_seconds()) > CLOCK_SKEW_SECONDS
