"""How a worker is at the moment, read when somebody asks: leases, breakers, bus, connections."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Protocol

from vreg_proxy.breaker import Breaker
from vreg_proxy.config_cache import Snapshot
from vreg_proxy.measures import Measures
from vreg_proxy.readiness import BusState, CacheState
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.lease import Lease
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.metrics import Labels, Merge, Meter
from vreg_shared.provider import RegistryKind, Verdict

_ONE: Labels = ()


class Leases(Protocol):
    """Where leases are."""

    def get(self, scope: str) -> Lease | None:
        """Return the newest lease of a scope, even when it has ended."""
        ...


class DoorCounts(Protocol):
    """Who counts connections."""

    @property
    def connections(self) -> int:
        """How many there are."""
        ...

    @property
    def turned_away(self) -> int:
        """How many were refused because there were too many."""
        ...


class ConfigurationAge(Protocol):
    """Where the configuration is."""

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        ...

    def age_seconds(self) -> float:
        """Return for how long nobody confirmed it."""
        ...


class CountedBreaker(Breaker):
    """A breaker by which every answer of an upstream is counted."""

    def __init__(self, clock: Clock, measures: Measures) -> None:
        super().__init__(clock)
        self._measures = measures

    def heard(self, upstream_id: str, verdict: Verdict | None) -> None:
        """Take in an answer; None stands for the thing asked for."""
        self._measures.heard(upstream_id, verdict)
        super().heard(upstream_id, verdict)

    @property
    def paused(self) -> Collection[str]:
        """The upstreams that did not answer, until they do again."""
        return self._open.keys()


def add_process_gauges(
    meter: Meter, door: DoorCounts, bus: BusState, cache: CacheState, obstacle: Callable[[], str | None]
) -> None:
    """Add what concerns this process as a whole."""

    def is_so(claim: Callable[[], bool]) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {_ONE: float(claim())}

    meter.gauge("vreg_proxy_connections", "Connections of clients.", lambda: {_ONE: door.connections})
    meter.count(
        "vreg_proxy_connections_refused_total",
        "Connections refused because there were too many.",
        lambda: {_ONE: door.turned_away},
    )
    for name, meaning, claim in (
        ("vreg_proxy_ready", "1 when every worker is ready.", lambda: obstacle() is None),
        ("vreg_proxy_bus_up", "1 when every worker is connected to the bus.", lambda: bus.connected),
        ("vreg_proxy_cache_writable", "1 when the cache keeps what passes.", lambda: cache.problem is None),
    ):
        meter.gauge(name, meaning, is_so(claim), merge=Merge.LEAST)


def add_upstream_gauges(meter: Meter, configuration: ConfigurationAge, breaker: CountedBreaker) -> None:
    """Add how old the configuration is, and which of its upstreams are left in peace."""

    def paused() -> Mapping[Labels, float]:
        held = breaker.paused
        return {(each,): float(each in held) for each in configuration.snapshot().upstreams}

    meter.gauge(
        "vreg_proxy_configuration_age_seconds",
        "Time since the bus last confirmed the configuration.",
        lambda: {_ONE: configuration.age_seconds()},
        merge=Merge.MOST,
    )
    meter.gauge(
        "vreg_proxy_upstream_paused",
        "1 while an upstream is left in peace because it did not answer.",
        paused,
        labels=("upstream",),
        merge=Merge.MOST,
    )


def add_lease_gauge(
    meter: Meter, configuration: ConfigurationAge, leases: Leases, kinds: Catalogue, clock: Clock
) -> None:
    """Add the time that each upstream's lease still lasts; none for a lease without an end."""
    known = {kind.name: kind for kind in kinds.kinds()}

    def seconds_left() -> Mapping[Labels, float]:
        now = clock.now()
        upstreams = configuration.snapshot().upstreams.values()
        left = ((each.id, _seconds_left(each, leases, known, now)) for each in upstreams)
        return {(identifier,): seconds for identifier, seconds in left if seconds is not None}

    meter.gauge(
        "vreg_proxy_lease_seconds_left",
        "Time until the lease of an upstream ends, 0 when there is none; nothing for one without an end.",
        seconds_left,
        labels=("upstream",),
        merge=Merge.LEAST,
    )


def _seconds_left(
    upstream: UpstreamRecord, leases: Leases, kinds: Mapping[str, RegistryKind], now: datetime
) -> float | None:
    if upstream.identity_id is None or upstream.kind not in kinds or not upstream.enabled:
        return None
    lease = leases.get(kinds[upstream.kind].lease_scope(upstream.identity_id, upstream.host))
    if lease is None:
        return 0.0
    return None if lease.not_after is None else max(0.0, (lease.not_after - now).total_seconds())
