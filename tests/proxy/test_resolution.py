"""The walk is decided purely: every answer, every policy."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_proxy.resolution import Candidate, Obstacle, Step, candidates, is_allowed, step_after
from vreg_shared.catalogue import catalogue
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.reference import RepositoryName
from vreg_shared.provider import Answer

POLICIES = ("never", "on_unavailable", "always")


@pytest.mark.parametrize(
    ("answer", "on_hidden", "policy", "has_copy"),
    list(itertools.product(Answer, ("stop", "continue"), POLICIES, (True, False))),
)
def test_every_answer_has_one_step(answer: Answer, on_hidden: str, policy: str, *, has_copy: bool) -> None:
    step = step_after(answer, on_hidden=on_hidden, stale_policy=policy, has_copy=has_copy)  # type: ignore[arg-type]
    leads_on = answer is Answer.ABSENT or (answer is Answer.HIDDEN and on_hidden == "continue")
    assert (step is Step.NEXT) == leads_on
    assert (step is Step.SERVE) == (answer is Answer.FOUND)
    may_be_stale = has_copy and (
        (answer is Answer.UNAVAILABLE and policy != "never")
        or (answer is Answer.REFUSED and policy == "always")
    )
    assert (step is Step.SERVE_STALE) == may_be_stale


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
