"""What the cache did, as Prometheus is told it: one count of the folder, whichever worker is asked. Pure."""

from collections.abc import Iterable
from typing import Final

from vreg_proxy.cache.statistics import CacheStatistics
from vreg_shared.metrics import Family, Kind, Labels, Samples

_SERVED: Final = ("registry", "upstream", "hit")


def cache_samples(told: CacheStatistics) -> tuple[Samples, ...]:
    """Return the cache's numbers, some seconds old."""
    return (
        _counter(
            "vreg_proxy_cache_answers_total",
            "Complete answers, by where they came from.",
            ((_of(each.registry_id, each.upstream_id, each.hit.value), each.answers) for each in told.served),
            _SERVED,
        ),
        _counter(
            "vreg_proxy_cache_answered_bytes_total",
            "Bytes of complete answers, by where they came from.",
            ((_of(each.registry_id, each.upstream_id, each.hit.value), each.bytes) for each in told.served),
            _SERVED,
        ),
        _counter(
            "vreg_proxy_cache_fetched_bytes_total",
            "Bytes of manifests and blobs that an upstream sent.",
            ((_of(each.upstream_id), each.bytes) for each in told.fetched),
            ("upstream",),
        ),
        _counter(
            "vreg_proxy_cache_evicted_total",
            "Entries that made room or were unused for too long.",
            [((), told.evicted_entries)],
        ),
        _counter(
            "vreg_proxy_cache_evicted_bytes_total",
            "Bytes that made room or were unused for too long.",
            [((), told.evicted_bytes)],
        ),
        _counter(
            "vreg_proxy_cache_quarantined_total",
            "Entries that had gone bad on disk.",
            [((), told.quarantined)],
        ),
        _gauge("vreg_proxy_cache_entries", "Entries on disk.", [((), told.entries)]),
        _gauge("vreg_proxy_cache_bytes", "Bytes on disk.", [((), told.bytes)]),
        _gauge(
            "vreg_proxy_cache_upstream_bytes",
            "Bytes on disk by right of an upstream; what several have a right to counts for each.",
            ((_of(each.upstream_id), each.bytes) for each in told.held),
            ("upstream",),
        ),
    )


def _of(*labels: str) -> Labels:
    return labels


def _counter(name: str, meaning: str, values: Iterable[tuple[Labels, float]], labels: Labels = ()) -> Samples:
    return _samples(Family(name=name, meaning=meaning, kind=Kind.COUNTER, labels=labels), values)


def _gauge(name: str, meaning: str, values: Iterable[tuple[Labels, float]], labels: Labels = ()) -> Samples:
    return _samples(Family(name=name, meaning=meaning, kind=Kind.GAUGE, labels=labels), values)


def _samples(family: Family, values: Iterable[tuple[Labels, float]]) -> Samples:
    return Samples(family=family, values=tuple((labels, (value,)) for labels, value in values))
