"""When an upstream's own earlier copy may stand in for what it does not confirm now."""

from dataclasses import dataclass
from typing import Final, Protocol

from vreg_shared.messages.upstream import StaleCase, UpstreamRecord
from vreg_shared.provider import Answer, Verdict

_NETWORK: Final = frozenset(
    {
        "upstream_auth_unavailable",  # IAM cannot be asked: an outage, and nobody has said no
        "timeout",
        "connection_refused",
        "connection_failed",
        "dns_failed",
        "tls_failed",
        "proxy_unreachable",
        "proxy_refused",
        "egress_refused",
        "body_truncated",
    }
)


@dataclass(frozen=True, slots=True)
class Staleness:
    """Why a copy was served that nobody confirmed, and for how many seconds nobody had."""

    case: StaleCase
    age: float


class CountsStale(Protocol):
    """Who is told of every stale answer that was found; what is repeated from memory is not told again."""

    def stale_served(self, upstream_id: str, case: StaleCase) -> None:
        """Count one; called on the pull path, so it neither waits nor raises."""
        ...


class NotCounted:
    """Counts nothing."""

    def stale_served(self, upstream_id: str, case: StaleCase) -> None:
        """Do nothing."""


def stale_case(verdict: Verdict, on_hidden: str) -> StaleCase | None:
    """Return which case a verdict is. *Hidden* is what its membership takes it for."""
    match verdict.answer:
        case Answer.FOUND:
            return None
        case Answer.ABSENT:
            return "deleted"
        case Answer.HIDDEN:
            return "deleted" if on_hidden == "continue" else "auth"
        case Answer.REFUSED:
            return "auth"
        case Answer.UNAVAILABLE:
            return _unavailable(verdict.reason)


def may_be_served(upstream: UpstreamRecord, case: StaleCase, age: float) -> bool:
    """Whether the upstream's policy lets a copy that went unconfirmed for `age` seconds be served."""
    longest = upstream.max_stale_seconds
    return case in upstream.stale_for and (longest is None or age <= longest)


def _unavailable(reason: str) -> StaleCase:
    """Return the case of a failure: who is not silent has answered, if only nonsense."""
    if reason == "throttled":
        return "throttled"
    return "network" if reason in _NETWORK else "server_error"
