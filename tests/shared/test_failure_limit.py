"""How long somebody waits who keeps failing to prove who he is."""

import pytest

from vreg_shared.failure_limit import FailureLimit, source_of


def failures(limit: FailureLimit, key: str, times: int, now: float) -> None:
    for _ in range(times):
        assert limit.failed([key], now) == 0.0


def test_the_first_failures_cost_nothing_and_each_further_one_twice_as_much() -> None:
    limit = FailureLimit(free=3, first=1.0, longest=5.0)
    failures(limit, "a", 3, 0.0)
    waits, now = [], 0.0
    for _ in range(5):
        wait = limit.failed(["a"], now)
        waits.append(wait)
        now += wait
        assert limit.failed(["a"], now) == 0.0
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_whoever_is_told_to_wait_does_not_wait_longer_for_asking() -> None:
    limit = FailureLimit(free=1, first=8.0)
    failures(limit, "a", 1, 0.0)
    assert [limit.failed(["a"], now) for now in (1.0, 2.0, 3.0)] == [7.0, 6.0, 5.0]


def test_one_key_is_not_another_and_the_longest_wait_of_several_counts() -> None:
    limit = FailureLimit(free=1, first=8.0)
    failures(limit, "address", 1, 0.0)
    failures(limit, "id", 1, 2.0)
    assert limit.failed(["other"], 2.0) == 0.0
    assert limit.failed(["address", "id"], 3.0) == 7.0


def test_what_was_proved_or_quiet_for_long_begins_anew() -> None:
    limit = FailureLimit(free=1, first=8.0, longest=10.0)
    failures(limit, "a", 1, 0.0)
    limit.proved("a")
    failures(limit, "a", 1, 0.0)
    failures(limit, "a", 1, 18.1)
    assert limit.failed(["a"], 18.1) == 8.0


def test_it_remembers_no_more_than_it_may() -> None:
    limit = FailureLimit(free=1, first=100.0, remembered=2)
    for key in ("a", "b", "c"):
        failures(limit, key, 1, 0.0)
    assert limit.failed(["c"], 0.0) == 100.0
    assert limit.failed(["a"], 0.0) == 0.0


def test_a_failure_repeated_for_years_is_still_a_number() -> None:
    limit = FailureLimit(free=0, first=1.0, longest=2.0)
    for step in range(2000):
        limit.failed(["a"], step * 2.0)
    assert limit.failed(["a"], 3999.0) == 1.0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("/run/vreg.sock", "/run/vreg.sock"),
    ],
)
def test_an_address_counts_for_itself_and_one_of_version_six_for_its_network(
    address: str, source: str
) -> None:
    assert source_of(address) == source
