from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.messages.health import HealthState
from vreg_shared.provider import Answer
from vreg_token_broker.exchange import Refused, Unavailable
from vreg_token_broker.health.probing import first_look, next_look
from vreg_token_broker.health.state import FAILURES, REFUSALS, SUCCESSES, Contact, Failure, Token, finding

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(hours=6)
REFUSED = Failure(Answer.REFUSED, "credential_rejected")
AWAY = Failure(Answer.UNAVAILABLE, "timeout")
GOOD_TOKEN = Token(not_after=SOON, is_usable=True)


def after(*signs: Failure | None) -> Contact:
    contact = Contact()
    for sign in signs:
        contact = contact.after_success(NOW) if sign is None else contact.after_failure(sign, NOW)
    return contact


def state(contact: Contact, token: Token | None = None) -> HealthState:
    return finding(contact, token, is_enabled=True).state


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ((), HealthState.UNKNOWN),
        ((None,), HealthState.HEALTHY),
        ((None, AWAY), HealthState.HEALTHY),
        ((None, *[AWAY] * (FAILURES - 1)), HealthState.HEALTHY),
        ((None, *[AWAY] * FAILURES), HealthState.UNREACHABLE),
        ((*[AWAY] * FAILURES, None), HealthState.UNREACHABLE),
        ((*[AWAY] * FAILURES, *[None] * SUCCESSES), HealthState.HEALTHY),
        ((*[AWAY] * FAILURES, None, AWAY, None), HealthState.UNREACHABLE),
        ((None, REFUSED), HealthState.HEALTHY),
        ((None, *[REFUSED] * REFUSALS), HealthState.AUTH_FAILED),
        ((None, *[Failure(Answer.HIDDEN, "permission_denied")] * REFUSALS), HealthState.AUTH_FAILED),
        ((None, *[Failure(Answer.ABSENT, "repository_unknown")] * REFUSALS), HealthState.DEGRADED),
        ((None, Failure(Answer.UNAVAILABLE, "throttled")), HealthState.DEGRADED),
        ((None, *[Failure(Answer.UNAVAILABLE, "throttled")] * FAILURES), HealthState.DEGRADED),
    ],
)
def test_contact_turns_bad_and_good_again_only_after_some_signs_in_a_row(
    signs: tuple[Failure | None, ...], expected: HealthState
) -> None:
    assert state(after(*signs)) is expected


def test_what_iam_refuses_is_said_at_once_and_when_pulls_will_break() -> None:
    refused = Refused("permission_denied", "AccessDenied", "Correct the trust policy.")
    found = finding(after(None, None), Token(SOON, is_usable=True, failure=refused), is_enabled=True)
    assert (found.state, found.reason) == (HealthState.AUTH_FAILED, "permission_denied")
    assert (found.remedy, found.breaks_at) == ("Correct the trust policy.", SOON)


def test_iam_being_away_degrades_while_the_lease_lasts_and_then_breaks() -> None:
    away = Unavailable("timeout")
    before = finding(after(None), Token(SOON, is_usable=True, failure=away), is_enabled=True)
    assert (before.state, before.breaks_at) == (HealthState.DEGRADED, SOON)
    ended = finding(after(None), Token(NOW, is_usable=False, failure=away), is_enabled=True)
    assert (ended.state, ended.breaks_at) == (HealthState.UNREACHABLE, None)


def test_a_lease_alone_is_a_sign_of_health_until_somebody_has_pulled() -> None:
    assert state(Contact(), GOOD_TOKEN) is HealthState.HEALTHY
    assert state(Contact(), Token()) is HealthState.UNKNOWN


def test_a_disabled_upstream_has_no_health() -> None:
    found = finding(after(*[AWAY] * FAILURES), GOOD_TOKEN, is_enabled=False)
    assert (found.state, found.reason) == (HealthState.UNKNOWN, "disabled")


SIGNS = st.lists(st.sampled_from([None, AWAY, REFUSED]), max_size=40)


@given(SIGNS)
def test_enough_successes_end_whatever_was_before(signs: list[Failure | None]) -> None:
    assert state(after(*signs, *[None] * SUCCESSES)) is HealthState.HEALTHY


@given(SIGNS)
def test_enough_failures_show_whatever_was_before(signs: list[Failure | None]) -> None:
    assert state(after(*signs, *[AWAY] * FAILURES)) is HealthState.UNREACHABLE


@given(SIGNS)
def test_no_single_sign_turns_health_over(signs: list[Failure | None]) -> None:
    before = after(*signs, None, None)
    assert state(before.after_failure(AWAY, NOW)) is HealthState.HEALTHY


@given(st.text(min_size=1), st.integers(30, 3600))
def test_looks_are_spread_and_come_sooner_while_something_is_wrong(upstream_id: str, seconds: int) -> None:
    interval = timedelta(seconds=seconds)
    well, ill = next_look(upstream_id, after(None), interval), next_look(upstream_id, after(AWAY), interval)
    assert interval * 0.8 <= well <= interval * 1.2
    assert ill <= timedelta(seconds=18)
    assert timedelta() <= first_look(upstream_id, interval) <= min(interval, timedelta(seconds=60))
