"""What the health of its upstreams means for a virtual registry. Pure."""

from collections.abc import Iterable
from typing import Final

from vreg_shared.messages.health import HealthState

_FAILING: Final = frozenset({HealthState.AUTH_FAILED, HealthState.UNREACHABLE})


def rolled_up(states: Iterable[HealthState]) -> HealthState:
    """Return one state: of all when they agree, *degraded* as soon as one is not well beside others that are.

    Two ways of failing together are *unreachable*; a registry without upstreams is *unknown*.
    """
    known = set(states)
    if not known:
        return HealthState.UNKNOWN
    if len(known) == 1:
        return next(iter(known))
    if known <= _FAILING:
        return HealthState.UNREACHABLE
    if known == {HealthState.HEALTHY, HealthState.UNKNOWN}:
        return HealthState.HEALTHY
    return HealthState.DEGRADED
