"""Numbers as Prometheus reads them, of one process and of several."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parsed

from vreg_shared.metrics import Merge, Meter, Samples, exposition, without_gauges


def numbers(processes: Sequence[Sequence[Samples]]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every number by its name and labels, read by Prometheus's own client."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parsed(exposition(processes))
        for sample in family.samples
    }


def process(requests: int, seconds: Sequence[float], age: float) -> tuple[Samples, ...]:
    meter = Meter()
    counter = meter.counter("x_requests_total", "Requests.", ("route",))
    histogram = meter.histogram("x_seconds", "Time.", (0.1, 1.0), ("route",))
    meter.gauge("x_age_seconds", "Age.", lambda: {(): age}, merge=Merge.MOST)
    meter.gauge("x_up", "Up.", lambda: {(): 1.0 - age}, merge=Merge.LEAST)
    meter.count("x_refused_total", "Refused.", lambda: {(): 2})
    for _ in range(requests):
        counter.add(("blob",))
    for each in seconds:
        histogram.observe(("blob",), each)
    return meter.samples()


def test_several_processes_are_told_as_one() -> None:
    found = numbers([process(2, [0.05, 5.0], age=0.0), process(3, [0.1, 0.5], age=1.0)])
    blob = (("route", "blob"),)
    assert found["x_requests_total", blob] == 5
    assert found["x_refused_total", ()] == 4
    assert found["x_age_seconds", ()] == 1
    assert found["x_up", ()] == 0
    buckets = [found["x_seconds_bucket", (("le", bound), *blob)] for bound in ("0.1", "1", "+Inf")]
    assert buckets == [2, 3, 4]
    assert found["x_seconds_count", blob] == 4
    assert found["x_seconds_sum", blob] == pytest.approx(5.65)


def test_what_an_ended_process_counted_stays() -> None:
    ended = without_gauges(process(7, [], age=9.0))
    found = numbers([ended, process(1, [], age=0.0)])
    assert found["x_requests_total", (("route", "blob"),)] == 8
    assert found["x_age_seconds", ()] == 0


def test_samples_survive_a_file() -> None:
    samples = process(1, [0.3], age=0.5)
    assert tuple(Samples.model_validate_json(each.model_dump_json()) for each in samples) == samples


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_and_any_number_is_read_as_it_was_written(label: str, number: float) -> None:
    label = label.replace("\r", "")
    meter = Meter()
    meter.gauge("x_value", 'A "meaning"\nof \\ two lines.', lambda: {(label,): number}, labels=("what",))
    assert numbers([meter.samples()]) == {("x_value", (("what", label),)): number}
