"""Numbers that a process counts of itself, and many processes' numbers told as one, as Prometheus reads them.

Counting is adding to a plain dictionary, because it happens on every request. Nothing here is for several
threads. The text: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import accumulate
from typing import Final

from pydantic import BaseModel, ConfigDict

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]
Read = Callable[[], Mapping[Labels, float]]
"""Gives a gauge's values as they are now."""


class Kind(Enum):
    """What Prometheus calls a type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """What the values of several processes are together."""

    SUM = "sum"
    LEAST = "least"
    MOST = "most"

    def of(self, one: float, other: float) -> float:
        """Return two values as one."""
        match self:
            case Merge.SUM:
                return one + other
            case Merge.LEAST:
                return min(one, other)
            case Merge.MOST:
                return max(one, other)


class Family(BaseModel):
    """What one metric is called and means. `bounds` are a histogram's, in rising order."""

    model_config = ConfigDict(frozen=True)

    name: str
    meaning: str
    kind: Kind
    labels: Labels = ()
    merge: Merge = Merge.SUM
    bounds: tuple[float, ...] = ()


class Samples(BaseModel):
    """One metric's values at one time: a number each, or a histogram's counts by bucket and its sum."""

    model_config = ConfigDict(frozen=True)

    family: Family
    values: tuple[tuple[Labels, tuple[float, ...]], ...]


class Counter:
    """Only rises."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count; `labels` are values in the family's order, from a set that cannot grow without end."""
        self._values[labels] = self._values.get(labels, 0) + amount

    def samples(self) -> Samples:
        """Return what was counted so far."""
        values = ((labels, (value,)) for labels, value in self._values.items())
        return Samples(family=self.family, values=tuple(values))


class Histogram:
    """Counts in buckets."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._bounds = family.bounds
        self._values: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Count one value."""
        counts = self._values.get(labels)
        if counts is None:
            counts = self._values[labels] = [0.0] * (len(self._bounds) + 2)
        counts[bisect_left(self._bounds, value)] += 1
        counts[-1] += value

    def samples(self) -> Samples:
        """Return what was counted so far."""
        values = ((labels, tuple(counts)) for labels, counts in self._values.items())
        return Samples(family=self.family, values=tuple(values))


class Reading:
    """Is read when asked for: a gauge, or what somebody else counts."""

    def __init__(self, family: Family, read: Read) -> None:
        self.family = family
        self._read = read

    def samples(self) -> Samples:
        """Return what it is now."""
        values = ((labels, (value,)) for labels, value in self._read().items())
        return Samples(family=self.family, values=tuple(values))


class Meter:
    """All metrics of one process."""

    def __init__(self) -> None:
        self._metrics: list[Counter | Histogram | Reading] = []

    def counter(self, name: str, meaning: str, labels: Labels = ()) -> Counter:
        """Return a new counter; its name ends in `_total`."""
        counter = Counter(Family(name=name, meaning=meaning, kind=Kind.COUNTER, labels=labels))
        self._metrics.append(counter)
        return counter

    def histogram(self, name: str, meaning: str, bounds: tuple[float, ...], labels: Labels = ()) -> Histogram:
        """Return a new histogram."""
        family = Family(name=name, meaning=meaning, kind=Kind.HISTOGRAM, labels=labels, bounds=bounds)
        histogram = Histogram(family)
        self._metrics.append(histogram)
        return histogram

    def gauge(
        self, name: str, meaning: str, read: Read, *, labels: Labels = (), merge: Merge = Merge.SUM
    ) -> None:
        """Add what goes up and down; `merge` says what several processes' values are together."""
        family = Family(name=name, meaning=meaning, kind=Kind.GAUGE, labels=labels, merge=merge)
        self._metrics.append(Reading(family, read))

    def count(self, name: str, meaning: str, read: Read, labels: Labels = ()) -> None:
        """Add what somebody else counts; its name ends in `_total`."""
        family = Family(name=name, meaning=meaning, kind=Kind.COUNTER, labels=labels)
        self._metrics.append(Reading(family, read))

    def samples(self) -> tuple[Samples, ...]:
        """Return every metric's values now."""
        return tuple(metric.samples() for metric in self._metrics)


def without_gauges(samples: Iterable[Samples]) -> tuple[Samples, ...]:
    """Return what remains true of a process that has ended: what it counted."""
    return tuple(each for each in samples if each.family.kind is not Kind.GAUGE)


def exposition(processes: Iterable[Sequence[Samples]]) -> str:
    """Return the numbers of several processes as one text, metrics and labels in a steady order."""
    merged: dict[str, tuple[Family, dict[Labels, tuple[float, ...]]]] = {}
    for samples in (each for process in processes for each in process):
        _, values = merged.setdefault(samples.family.name, (samples.family, {}))
        for labels, numbers in samples.values:
            known = values.get(labels)
            values[labels] = numbers if known is None else _together(samples.family, known, numbers)
    lines = (line for _, (family, values) in sorted(merged.items()) for line in _lines(family, values))
    return "".join(f"{line}\n" for line in lines)


def _together(family: Family, one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(family.merge.of(*pair) for pair in zip(one, other, strict=True))


def _lines(family: Family, values: Mapping[Labels, tuple[float, ...]]) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.meaning)}"
    yield f"# TYPE {family.name} {family.kind.value}"
    for labels, numbers in sorted(values.items()):
        pairs = [*zip(family.labels, labels, strict=True)]
        if family.kind is Kind.HISTOGRAM:
            yield from _buckets(family, pairs, numbers)
        else:
            yield _line(family.name, pairs, numbers[0])


def _buckets(family: Family, pairs: list[tuple[str, str]], numbers: Sequence[float]) -> Iterator[str]:
    *counts, total = numbers
    bounds = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
    for bound, count in zip(bounds, accumulate(counts), strict=True):
        yield _line(f"{family.name}_bucket", [*pairs, ("le", bound)], count)
    yield _line(f"{family.name}_sum", pairs, total)
    yield _line(f"{family.name}_count", pairs, sum(counts))


def _line(name: str, pairs: Iterable[tuple[str, str]], number: float) -> str:
    labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)
    return f"{name}{{{labels}}} {_number(number)}" if labels else f"{name} {_number(number)}"


def _number(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
