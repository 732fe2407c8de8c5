"""Whether this process may get traffic, and how fresh what it serves by is."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from vreg_proxy.config_cache import ConfigCache, Snapshot
from vreg_proxy.distribution.replies import Reply, json_reply
from vreg_shared.clock import Clock

LOOK_SECONDS: Final = 1.0
MARK_SECONDS: Final = 5.0


class BusState(Protocol):
    """Whether the bus is there."""

    @property
    def connected(self) -> bool:
        """Whether it is there now, as far as we know."""
        ...


class FollowsState(Protocol):
    """Whether signed records of one kind are here."""

    @property
    def is_whole(self) -> bool:
        """Whether everything is here as it was at some time, from the disk or from the bus."""
        ...

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


class DoorState(Protocol):
    """Whether this process is about to end."""

    @property
    def is_closing(self) -> bool:
        """Whether it was told to."""
        ...


class WorkersState(Protocol):
    """What the other worker processes of this host say of themselves."""

    @property
    def problem(self) -> str | None:
        """Why this process cannot be heard by the others; it serves all the same."""
        ...

    def obstacle(self) -> str | None:
        """Return what one of them still waits for; None when all are ready."""
        ...


class Freshness:
    """The configuration, and for how long nobody confirmed it. `max_stale_seconds` None means for ever."""

    def __init__(  # noqa: PLR0913 - what confirms it, and where that is kept
        self,
        config: ConfigCache,
        bus: BusState,
        follower: FollowsState,
        max_stale_seconds: float | None,
        clock: Clock,
        *,
        mark: Path | None = None,
    ) -> None:
        """`mark` is a file whose time outlives the process: when the configuration was confirmed last."""
        self._config = config
        self._bus = bus
        self._follower = follower
        self._max_stale_seconds = max_stale_seconds
        self._clock = clock
        self._mark = mark
        self._confirmed_at = self._marked_at = clock.monotonic()
        with suppress(OSError):
            if mark is not None:
                self._confirmed_at -= max(0.0, clock.now().timestamp() - mark.stat().st_mtime)

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        return self._config.snapshot()

    @property
    def is_known(self) -> bool:
        """Whether there is a whole configuration to serve by, be it an old or an empty one."""
        return self._follower.is_whole

    def is_too_old(self) -> bool:
        """Whether nobody confirmed it for longer than the operator allows."""
        return self._max_stale_seconds is not None and self.age_seconds() > self._max_stale_seconds

    async def watch(self) -> None:
        """Look for ever whether the bus is there, so that a quiet hour is not an old configuration."""
        while True:
            if self.age_seconds() == 0.0:
                self._keep()
            await asyncio.sleep(LOOK_SECONDS)

    def _keep(self) -> None:
        now = self._clock.monotonic()
        if self._mark is None or now - self._marked_at < MARK_SECONDS:
            return
        self._marked_at, wall = now, self._clock.now().timestamp()
        with suppress(OSError):
            self._mark.touch(mode=0o600)
            os.utime(self._mark, (wall, wall))

    def age_seconds(self) -> float:
        """Return for how long nobody confirmed the configuration; 0 while the bus is there."""
        now = self._clock.monotonic()
        if self._bus.connected and self._follower.is_synced:
            self._confirmed_at = now
        return now - self._confirmed_at


class Readiness:
    """`/livez` and `/readyz`. A proxy that knows its configuration is ready, with or without a bus.

    `/readyz` speaks for all worker processes of this host, which share the listener.
    """

    def __init__(  # noqa: PLR0913 - readiness is a view of everything
        self,
        freshness: Freshness,
        leases: FollowsState,
        bus: BusState,
        cache: CacheState,
        *,
        door: DoorState,
        workers: WorkersState,
    ) -> None:
        self._freshness = freshness
        self._leases = leases
        self._bus = bus
        self._cache = cache
        self._door = door
        self._workers = workers

    @property
    def obstacle(self) -> str | None:
        """What this process still waits for, or that it is about to end; None when it is ready."""
        if self._door.is_closing:
            return "draining"
        if not self._freshness.is_known:
            return "waiting_for_configuration"
        return None if self._leases.is_whole else "waiting_for_leases"

    def answer(self, path: str) -> Reply | None:
        """Answer a health path; None for any other path."""
        if path == "/livez":
            return json_reply(200, {"status": "alive"})
        if path != "/readyz":
            return None
        obstacle = self.obstacle or self._workers.obstacle()
        state = {
            "status": obstacle or "ready",
            "bus": "up" if self._bus.connected else "down",
            "cache": self._cache.problem or "ok",
            "state": self._workers.problem or "ok",
            "configuration_age_seconds": round(self._freshness.age_seconds(), 1),
        }
        if obstacle is None:
            return json_reply(200, state)
        return json_reply(503, state, [(b"retry-after", b"1")])
