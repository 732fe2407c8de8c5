"""No second sees more starts of a quota than the cloud permits, and no start waits longer than it must."""

from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.pace import Pace, Paces

arrivals = st.lists(st.floats(0, 10, allow_nan=False), max_size=120).map(sorted)


@given(arrivals, st.integers(1, 20))
def test_no_second_sees_more_than_the_quota(moments: list[float], rate: int) -> None:
    paces, pace = Paces(), Pace("q", rate)
    starts = [now + paces.delay(pace, now) for now in moments]
    for number, start in enumerate(starts):
        within = [other for other in starts[number:] if other < start + 1.0 - 1e-9]
        assert len(within) <= rate


@given(arrivals)
def test_whoever_comes_when_there_is_room_does_not_wait(moments: list[float]) -> None:
    paces, pace = Paces(), Pace("q", 200)
    assert all(paces.delay(pace, now) == 0 for now in moments)


def test_quotas_do_not_wait_for_each_other_and_some_clouds_do_not_count() -> None:
    paces = Paces()
    assert paces.delay(Pace("a", 1), 5.0) == 0
    assert paces.delay(Pace("a", 1), 5.0) == 1.0
    assert paces.delay(Pace("b", 1), 5.0) == 0
    assert paces.delay(None, 5.0) == 0
