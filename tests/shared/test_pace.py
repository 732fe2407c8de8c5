"""No second sees more starts of a quota than the cloud permits, and no start waits longer than it must."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.pace import Pace, Paces

arrivals = st.lists(st.floats(0, 10, allow_nan=False), max_size=120).map(sorted)


def starts(moments: list[float], pace: Pace) -> list[float]:
    """Return when those who come at these moments start, one after the other."""
    paces, now, found = Paces(), 0.0, []
    for moment in moments:
        now = max(now, moment)
        now += paces.delay(pace, now)
        paces.started(pace, now)
        found.append(now)
    return found


@given(arrivals, st.integers(1, 20))
def test_no_second_sees_more_than_the_quota(moments: list[float], rate: int) -> None:
    started = starts(moments, Pace("q", rate))
    assert all(before <= after for before, after in pairwise(started))
    for number, start in enumerate(started):
        within = [other for other in started[number:] if other < start + 1.0 - 1e-9]
        assert len(within) <= rate


@given(arrivals)
def test_whoever_comes_when_there_is_room_does_not_wait(moments: list[float]) -> None:
    assert starts(moments, Pace("q", 200)) == moments


def test_quotas_do_not_wait_for_each_other() -> None:
    paces = Paces()
    paces.started(Pace("a", 1), 5.0)
    assert paces.delay(Pace("a", 1), 5.25) == 0.75
    assert paces.delay(Pace("b", 1), 5.25) == 0
    assert paces.delay(Pace("a", 1), 6.5) == 0
