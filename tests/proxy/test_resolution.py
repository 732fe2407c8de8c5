"""The walk is decided purely: every answer, every policy."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vreg_proxy.resolution import Candidate, Obstacle, Step, candidates, step_after
from vreg_proxy.staleness import may_be_served, stale_case
from vreg_shared.catalogue import catalogue
from vreg_shared.membership import is_allowed
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import STALE_CASES, StaleCase, UpstreamRecord
from vreg_shared.oci.reference import RepositoryName
from vreg_shared.provider import Answer, Verdict

VERDICTS = {
    "network": Verdict(Answer.UNAVAILABLE, "timeout"),
    "server_error": Verdict(Answer.UNAVAILABLE, "upstream_error"),
    "throttled": Verdict(Answer.UNAVAILABLE, "throttled"),
    "auth": Verdict(Answer.REFUSED, "credential_rejected"),
    "deleted": Verdict(Answer.ABSENT, "manifest_unknown"),
}


@pytest.mark.parametrize(
    ("answer", "on_hidden", "has_stale"), list(itertools.product(Answer, ("stop", "continue"), (True, False)))
)
def test_every_answer_has_one_step(answer: Answer, on_hidden: str, *, has_stale: bool) -> None:
    step = step_after(answer, on_hidden=on_hidden, has_stale=has_stale)
    leads_on = answer is Answer.ABSENT or (answer is Answer.HIDDEN and on_hidden == "continue")
    assert (step is Step.SERVE) == (answer is Answer.FOUND)
    assert (step is Step.SERVE_STALE) == (has_stale and answer is not Answer.FOUND)
    assert (step is Step.NEXT) == (leads_on and not has_stale)


@pytest.mark.parametrize(("asked", "chosen"), list(itertools.product(STALE_CASES, STALE_CASES)))
def test_a_policy_speaks_of_one_case_each(asked: StaleCase, chosen: StaleCase) -> None:
    case = stale_case(VERDICTS[asked], "stop")
    assert case == asked
    assert may_be_served(upstream("a", stale_for=[chosen]), asked, age=1e9) == (asked == chosen)


@pytest.mark.parametrize(
    ("verdict", "on_hidden", "case"),
    [
        (Verdict(Answer.UNAVAILABLE, "upstream_auth_unavailable"), "stop", "network"),
        (Verdict(Answer.HIDDEN, "permission_denied"), "stop", "auth"),
        (Verdict(Answer.HIDDEN, "permission_denied"), "continue", "deleted"),
        (Verdict(Answer.UNAVAILABLE, "digest_mismatch"), "stop", "server_error"),
        (Verdict(Answer.UNAVAILABLE, "a reason from the future"), "stop", "server_error"),
        (Verdict(Answer.FOUND, "ok"), "stop", None),
    ],
)
def test_a_verdict_is_one_case(verdict: Verdict, on_hidden: str, case: StaleCase | None) -> None:
    assert stale_case(verdict, on_hidden) == case


@pytest.mark.parametrize(("longest", "expected"), [(None, True), (60, True), (59, False), (0, False)])
def test_a_copy_is_too_old_when_nobody_confirmed_it_for_long(longest: int | None, *, expected: bool) -> None:
    assert may_be_served(upstream("a", max_stale_seconds=longest), "network", age=60.0) is expected


@pytest.mark.parametrize(
    ("policy", "cases"),
    [
        ("never", ()),
        ("on_unavailable", ("network", "server_error", "throttled")),
        ("always", ("network", "server_error", "throttled", "auth")),
    ],
)
def test_the_record_of_an_older_api_is_read_as_it_was_meant(policy: str, cases: tuple[str, ...]) -> None:
    assert upstream("a", stale_policy=policy).stale_for == cases


def test_a_policy_nobody_knows_is_no_leave_to_serve_old_copies() -> None:
    with pytest.raises(ValidationError):
        upstream("a", stale_policy="sometimes")


def upstream(identifier: str, kind: str = "oci", **fields: object) -> UpstreamRecord:
    return UpstreamRecord.model_validate(
        {"id": identifier, "name": identifier, "kind": kind, "host": "registry.example.com", **fields}
    )


def asked(repository: str, *upstreams: UpstreamRecord) -> tuple[Candidate | Obstacle, ...]:
    registry = RegistryRecord(
        id="r", slug="main", memberships=tuple(MembershipRecord(upstream_id=each.id) for each in upstreams)
    )
    known = {each.id: each for each in upstreams if each.name != "unheard"}
    return candidates(registry, known, catalogue(), RepositoryName.parse(repository))


def test_candidates_keep_the_order_of_memberships() -> None:
    found = asked("app", upstream("b"), upstream("a"), upstream("c"))
    assert [each.upstream.id for each in found if isinstance(each, Candidate)] == ["b", "a", "c"]


def test_a_disabled_upstream_is_left_out() -> None:
    assert asked("app", upstream("a", enabled=False)) == ()


def test_what_we_do_not_know_is_an_obstacle_and_no_gap() -> None:
    first, second = asked("app", upstream("a", name="unheard"), upstream("b", kind="from-the-future"))
    assert isinstance(first, Obstacle)
    assert isinstance(second, Obstacle)
    assert first.verdict.answer is second.verdict.answer is Answer.UNAVAILABLE


def test_docker_hub_gets_its_library() -> None:
    (found,) = asked("debian", upstream("hub", host="registry-1.docker.io"))
    assert isinstance(found, Candidate)
    assert found.repository.value == "library/debian"


def test_a_name_too_long_for_its_prefix_is_nowhere() -> None:
    assert asked("a" * 250, upstream("a", repository_prefix="mirror")) == ()


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ((), (), True),
        (("team/*",), (), True),
        (("other/*",), (), False),
        (("team/app",), (), True),
        (("*",), ("team/*",), False),
        ((), ("team/secret",), True),
        (("TEAM/*",), (), False),
        (("team/ap?",), (), True),
    ],
)
def test_patterns(allow: tuple[str, ...], deny: tuple[str, ...], *, expected: bool) -> None:
    membership = MembershipRecord(upstream_id="a", allow=allow, deny=deny)
    assert is_allowed(membership, RepositoryName.parse("team/app")) is expected


@given(st.lists(st.text(max_size=20), max_size=3).map(tuple))
def test_what_is_denied_is_never_allowed(patterns: tuple[str, ...]) -> None:
    membership = MembershipRecord(upstream_id="a", allow=patterns, deny=("*",))
    assert not is_allowed(membership, RepositoryName.parse("team/app"))
