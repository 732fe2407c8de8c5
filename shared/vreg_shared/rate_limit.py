"""How much an upstream says it will still give, read from the headers of its answers.

Docker Hub: https://docs.docker.com/docker-hub/usage/pulls/. ACR says what is left of this second alone.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_LONGEST: Final = 64
_QUOTA: Final = re.compile(r"([0-9]{1,9})(?:\.[0-9]{1,9})?(?:\s*;\s*w=([0-9]{1,9}))?", re.ASCII)
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_LOW_PART: Final = 10


class RateLimitSource(StrEnum):
    """Whom an upstream counts for. Who it is stays with the upstream."""

    ADDRESS = "address"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What is left of a window of `window_seconds`; whatever the upstream did not say is None."""

    remaining: int
    limit: int | None = None
    window_seconds: int | None = None
    source: RateLimitSource | None = None

    @property
    def is_low(self) -> bool:
        """Whether less than a tenth is left. Of an unknown limit nobody can tell."""
        return self.limit is not None and self.remaining * _LOW_PART < self.limit


def read_rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return what an answer's headers say, or None when they say nothing that can be read; never raises.

    `headers` finds names in whatever case they were sent.
    """
    remaining, window = _quota(headers.get("ratelimit-remaining"))
    if remaining is not None:
        limit, whole_window = _quota(headers.get("ratelimit-limit"))
        source = _source(headers.get("docker-ratelimit-source"))
        return RateLimit(remaining, limit, window or whole_window or None, source)
    remaining, _ = _quota(headers.get("x-ms-ratelimit-remaining-calls-per-second"))
    return RateLimit(remaining, window_seconds=1) if remaining is not None else None


def _quota(value: str | None) -> tuple[int | None, int | None]:
    """Read `76;w=21600`; a fraction, as ACR sends it, is rounded down."""
    match = _QUOTA.fullmatch(_modest(value))
    if match is None:
        return None, None
    return int(match[1]), int(match[2]) if match[2] is not None else None


def _source(value: str | None) -> RateLimitSource | None:
    text = _modest(value)
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return RateLimitSource.ACCOUNT if _ACCOUNT.fullmatch(text) else None
    return RateLimitSource.ADDRESS


def _modest(value: str | None) -> str:
    """Return a header's text, empty when it is longer than any of these has to be."""
    return value.strip() if value is not None and len(value) <= _LONGEST else ""
