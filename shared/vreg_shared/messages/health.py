"""Health of upstreams: what the leading broker knows, and what proxies tell it of.

`vreg_health`, key `upstream.<id>`, is what it comes to. Proxies report what pulls met
(`vreg.broker.observed`), and are asked to look for themselves (`vreg.proxy.probe`).
"""

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from vreg_shared.messages.connection_test import StageReport
from vreg_shared.provider import Answer

BUCKET: Final = "vreg_health"
KEY_FILTER: Final = "upstream.*"
OBSERVED_SUBJECT: Final = "vreg.broker.observed"
OBSERVED_SECONDS: Final = 2.0
PROBE_SUBJECT: Final = "vreg.proxy.probe"
PROBE_SECONDS: Final = 45.0


class HealthState(StrEnum):
    """Whether an upstream can be used. It never decides what is served."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Pulls go on, and somebody should look before they do not."""
    AUTH_FAILED = "auth_failed"
    """IAM or the registry says no: a person must act."""
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class TokenLife(BaseModel):
    """The lease that an upstream is pulled from with. `failures` counts refreshes that failed in a row."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issued_at: AwareDatetime | None = None
    refresh_at: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    next_try_at: AwareDatetime | None = None
    failures: int = 0


class HealthRecord(BaseModel):
    """One upstream's health. `since` is when it came into this state with this reason.

    `breaks_at` is when pulls of what is not cached will fail if nothing changes; None while nothing is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    upstream_id: str
    state: HealthState
    since: AwareDatetime
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    checked_at: AwareDatetime | None = None
    ok_at: AwareDatetime | None = None
    failures: int = 0
    breaks_at: AwareDatetime | None = None
    token: TokenLife | None = None


class Observation(BaseModel):
    """What a proxy's requests to an upstream came to since its last report.

    `answer` is that of the last one that failed for a reason of the upstream's, None when none did.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    upstream_id: str
    successes: int = 0
    failures: int = 0
    answer: Answer | None = None
    reason: str = ""
    detail: str = ""
    remedy: str = ""


class ObservationReport(BaseModel):
    """One worker process's report."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    observations: tuple[Observation, ...]


class ProbeRequest(BaseModel):
    """Ask one proxy to pull an upstream's probe with the lease it holds; without a probe, `/v2/` alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    upstream_id: str


class ProbeReply(BaseModel):
    """What it saw; None when the proxy does not know the upstream yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reports: tuple[StageReport, ...] | None = None


def key_of(upstream_id: str) -> str:
    """Return the record's key."""
    return f"upstream.{upstream_id}"
