from hypothesis import given
from hypothesis import strategies as st

from vreg_cli.delays import RestartDelays


@given(st.integers(0, 2000))
def test_patience_never_ends_and_never_exceeds_half_a_minute(failures: int) -> None:
    delays = RestartDelays()
    for _ in range(failures):
        assert 0 <= delays.after(ran_for=0) <= 30


def test_the_first_wait_is_short_and_later_ones_may_be_longer() -> None:
    assert all(RestartDelays().after(0) <= 0.5 for _ in range(100))
    assert max(RestartDelays(failures=6).after(0) for _ in range(200)) > 5


def test_a_process_that_ran_well_is_started_again_soon() -> None:
    delays = RestartDelays(failures=10)

    assert delays.after(ran_for=61) <= 0.5
    assert delays.failures == 1
