"""Rotation: whoever reads the issuer's keys now and then can always check what it signs."""

from datetime import UTC, datetime, timedelta
from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st

from vreg_cli.issuer_rotation import OVERLAP, rotated
from vreg_shared.issuer_keys import IssuerKey, IssuerKeys

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
_MADE = cycle([IssuerKey.generate(START).private for _ in range(3)])
"""Making keys is slow, and it does not matter here which they are."""

pauses = st.lists(st.timedeltas(timedelta(0), timedelta(days=4)), max_size=12)


def key(signs_from: datetime) -> IssuerKey:
    return IssuerKey(signs_from, next(_MADE))


def history(pauses: list[timedelta]) -> list[tuple[datetime, IssuerKeys]]:
    """Return which keys were published from when on, rotating after every pause."""
    now, keys = START, IssuerKeys((key(START),))
    told = [(now, keys)]
    for pause in pauses:
        now += pause
        keys = rotated(keys, now, OVERLAP, key).keys
        told.append((now, keys))
    return told


def published(told: list[tuple[datetime, IssuerKeys]], at: datetime) -> IssuerKeys:
    return [keys for since, keys in told if since <= at][-1]


@given(pauses, st.timedeltas(timedelta(0), timedelta(days=60)))
def test_a_key_that_signs_has_been_published_for_the_overlap_or_is_the_first(
    pauses: list[timedelta], after: timedelta
) -> None:
    told, now = history(pauses), START + after
    signing = published(told, now).signing(now)

    since = next(at for at, keys in told if signing in keys.keys)

    assert now - since >= OVERLAP or signing.signs_from == START


@given(pauses, st.timedeltas(timedelta(0), timedelta(days=60)), st.timedeltas(-OVERLAP, OVERLAP))
def test_keys_read_within_the_overlap_before_or_after_a_signature_can_check_it(
    pauses: list[timedelta], after: timedelta, read: timedelta
) -> None:
    told, now = history(pauses), START + after
    signing = published(told, now).signing(now)

    assert signing in published(told, max(now + read, START)).keys


@given(pauses)
def test_no_two_keys_begin_to_sign_at_once_and_few_are_kept(pauses: list[timedelta]) -> None:
    for _, keys in history(pauses):
        starts = [each.signs_from for each in keys.keys]
        assert starts == sorted(set(starts))
        assert len(starts) <= 3


def test_while_one_key_waits_no_other_is_added() -> None:
    first = rotated(IssuerKeys((key(START),)), START, OVERLAP, key)
    again = rotated(first.keys, START + timedelta(hours=23), OVERLAP, key)

    assert first.added is not None
    assert (again.added, again.dropped, again.keys) == (None, (), first.keys)


def test_a_clock_that_is_behind_finds_the_first_key() -> None:
    keys = rotated(IssuerKeys((key(START),)), START, OVERLAP, key).keys

    assert keys.signing(START - timedelta(days=1)) is keys.keys[0]
