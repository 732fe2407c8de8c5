from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_token_broker import schedule


@given(st.text(max_size=60), st.floats(0.5, 24 * 3600.0))
def test_a_refresh_leaves_almost_half_the_life_to_mend_a_failure(scope: str, life: float) -> None:
    share = schedule.refresh_after(scope, timedelta(seconds=life)) / timedelta(seconds=life)
    assert 0.44 <= share <= 0.56


def test_a_scope_always_gets_the_same_share_and_others_get_others() -> None:
    life = timedelta(hours=12)
    shares = {schedule.refresh_after(f"identity-{number}/aws/eu-west-1", life) for number in range(1000)}
    assert len(shares) == 1000
    assert schedule.refresh_after("a", life) == schedule.refresh_after("a", life)
    assert max(shares) - min(shares) > timedelta(hours=1)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_unavailable_waits_grow_to_a_cap(failures: int, chance: float) -> None:
    delay = schedule.unavailable_delay(failures, chance)
    assert 0 <= delay <= schedule.UNAVAILABLE_CAP_SECONDS
    assert delay <= schedule.UNAVAILABLE_BASE_SECONDS * 2 ** min(failures - 1, 60)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_refused_waits_are_a_minute_to_five(failures: int, chance: float) -> None:
    assert 54 <= schedule.refused_delay(failures, chance) <= 300


@pytest.mark.parametrize(("asked", "least"), [(None, 0.0), (30.0, 30.0), (1e9, 300.0)])
def test_a_time_the_cloud_named_is_kept_within_reason(asked: float | None, least: float) -> None:
    assert schedule.unavailable_delay(1, 0.0, asked) == least


@given(st.lists(st.floats(0, 0.999), min_size=200, max_size=200))
def test_no_minute_sees_more_than_ten_failures(chances: list[float]) -> None:
    failed_at: list[float] = []
    now = 0.0
    for number, chance in enumerate(chances, 1):
        failed_at.append(now)
        now = schedule.calm(failed_at, now + schedule.unavailable_delay(number, chance))
    for first, eleventh in zip(failed_at, failed_at[10:], strict=False):
        assert eleventh - first >= 60 - 1e-6


def test_forced_exchanges_grow_apart_and_are_forgiven_after_a_calm_minute() -> None:
    gaps = [0.0]
    for _ in range(7):
        gaps.append(schedule.forced_gap(gaps[-1], gaps[-1]))
    assert gaps[1:] == [3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0]
    assert schedule.forced_gap(60.0, 61.0) == 3.0
