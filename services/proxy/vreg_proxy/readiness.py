"""Whether this process may get traffic, and how fresh what it serves by is."""

import asyncio
from typing import Final, Protocol

from vreg_proxy.config_cache import ConfigCache, Snapshot
from vreg_proxy.distribution.replies import Reply, json_reply
from vreg_shared.clock import Clock

LOOK_SECONDS: Final = 1.0


class BusState(Protocol):
    """Whether the bus is there."""

    @property
    def connected(self) -> bool:
        """Whether it is there now, as far as we know."""
        ...


class FollowsState(Protocol):
    """Whether the configuration has come over the bus."""

    @property
    def is_synced(self) -> bool:
        """Whether a whole snapshot of the bus has been handed on since the start."""
        ...


class CacheState(Protocol):
    """Whether the cache keeps what passes."""

    @property
    def problem(self) -> str | None:
        """Why nothing is kept at the moment; pulls go on."""
        ...


class Freshness:
    """The configuration, and for how long nobody confirmed it. `max_stale_seconds` None means for ever."""

    def __init__(
        self,
        config: ConfigCache,
        bus: BusState,
        follower: FollowsState,
        max_stale_seconds: float | None,
        clock: Clock,
    ) -> None:
        self._config = config
        self._bus = bus
        self._follower = follower
        self._max_stale_seconds = max_stale_seconds
        self._clock = clock
        self._confirmed_at = clock.monotonic()

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        return self._config.snapshot()

    def is_too_old(self) -> bool:
        """Whether nobody confirmed it for longer than the operator allows."""
        return self._max_stale_seconds is not None and self.age_seconds() > self._max_stale_seconds

    async def watch(self) -> None:
        """Look for ever whether the bus is there, so that a quiet hour is not an old configuration."""
        while True:
            self.age_seconds()
            await asyncio.sleep(LOOK_SECONDS)

    def age_seconds(self) -> float:
        """Return for how long nobody confirmed the configuration; 0 while the bus is there."""
        now = self._clock.monotonic()
        if self._bus.connected and self._follower.is_synced:
            self._confirmed_at = now
        return now - self._confirmed_at


class Readiness:
    """`/livez` and `/readyz`. A proxy that serves is ready, with or without a bus."""

    def __init__(self, freshness: Freshness, bus: BusState, cache: CacheState) -> None:
        self._freshness = freshness
        self._bus = bus
        self._cache = cache

    def answer(self, path: str) -> Reply | None:
        """Answer a health path; None for any other path."""
        if path == "/livez":
            return json_reply(200, {"status": "alive"})
        if path != "/readyz":
            return None
        snapshot = self._freshness.snapshot()
        state = {
            "status": "ready",
            "bus": "up" if self._bus.connected else "down",
            "cache": self._cache.problem or "ok",
            "configuration_age_seconds": round(self._freshness.age_seconds(), 1),
            "registries": len(snapshot.registries),
            "upstreams": len(snapshot.upstreams),
        }
        return json_reply(200, state)
