"""The api asks all proxies what an upstream last said of its rate limit: `vreg.proxy.rate_limits`.

Every worker process of every proxy answers for itself: each speaks to upstreams on its own.
"""

from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from vreg_shared.rate_limit import RateLimit

SUBJECT: Final = "vreg.proxy.rate_limits"
DEADLINE_SECONDS: Final = 2.0
QUIET_SECONDS: Final = 0.3
"""Nobody knows how many will answer: this long after the last one, no other is waited for."""


class RateLimitRequest(BaseModel):
    """Names the upstream."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    upstream_id: str


class ObservedRateLimit(BaseModel):
    """What an upstream said, and when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rate_limit: RateLimit
    observed_at: AwareDatetime


class RateLimitReply(BaseModel):
    """`observed` None: this process has heard nothing from the upstream yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    observed: ObservedRateLimit | None = None
