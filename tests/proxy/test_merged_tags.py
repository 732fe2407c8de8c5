"""Tags of several upstreams as one list: whole, sorted and paged, or an honest error."""

import json

import pytest

from tests.proxy.proxy_world import Answer, ProxyWorld
from tests.proxy.test_pulls import MANIFEST
from tests.support.fake_registry import FakeRegistry, error_reply
from tests.support.fake_server import DROP, Reply
from vreg_shared.messages.registry import MembershipRecord

PATH = "/v2/main/team/app/tags/list"


def tagged(*tags: str) -> FakeRegistry:
    registry = FakeRegistry()
    for tag in tags:
        registry.add_manifest("team/app", tag, MANIFEST)
    return registry


def tags(answer: Answer) -> list[str]:
    listed: list[str] = json.loads(answer.body)["tags"]
    return listed


async def test_a_list_is_of_all_upstreams_that_a_pull_may_reach(world: ProxyWorld) -> None:
    await world.upstream("a", tagged("v1", "v3"))
    await world.upstream("empty", FakeRegistry())
    await world.upstream("b", tagged("v2", "v3", "latest"))
    not_allowed = await world.upstream("c", tagged("secret"))
    world.registry("main", "a", "empty", "b", MembershipRecord(upstream_id="c", deny=("team/*",)))
    answer = await world.get(PATH, world.access())
    assert tags(answer) == ["latest", "v1", "v2", "v3"]
    assert not not_allowed.seen


async def test_pages_run_through_the_merged_list_once(world: ProxyWorld) -> None:
    await world.upstream("a", tagged(*(f"t{number:02}" for number in range(0, 20, 2))))
    await world.upstream("b", tagged(*(f"t{number:02}" for number in range(1, 20, 3))))
    world.registry("main", "a", "b")
    token = world.access()
    seen, query = list[str](), "n=4"
    while query:
        page = await world.get(PATH, token, query=query)
        seen += tags(page)
        query = page.headers.get("link", "").partition("?")[2].partition(">")[0]
    assert seen == tags(await world.get(PATH, token))
    assert seen == sorted(set(seen))
    assert len(seen) == 14


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (error_reply(503, "UNAVAILABLE"), 503),
        (error_reply(429, "TOOMANYREQUESTS"), 429),
        (error_reply(403, "DENIED"), 403),
        (DROP, 503),
        (Reply(200, (), b"garbage"), 503),
    ],
    ids=["503", "429", "403", "reset", "garbage"],
)
@pytest.mark.parametrize("order", [("a", "b", "c"), ("b", "a", "c"), ("b", "c", "a")])
async def test_a_list_is_never_silently_shorter(
    world: ProxyWorld, reply: Reply, status: int, order: tuple[str, ...]
) -> None:
    await world.upstream("a", FakeRegistry(override=lambda _: reply))
    servers = {"b": await world.upstream("b", tagged("v1")), "c": await world.upstream("c", tagged("v2"))}
    world.registry("main", *order)
    assert (await world.get(PATH, world.access())).status == status
    after = order[order.index("a") + 1 :]
    assert not any(servers[name].seen for name in after)


async def test_a_part_of_the_list_may_be_stale_and_the_whole_says_so(world: ProxyWorld) -> None:
    first = tagged("v1")
    await world.upstream("a", first)
    await world.upstream("b", tagged("v2"))
    world.registry("main", "a", "b")
    token = world.access()
    await world.get(PATH, token)
    world.clock.advance(30)
    first.override = lambda _: DROP
    answer = await world.get(PATH, token)
    assert (tags(answer), answer.headers["age"]) == (["v1", "v2"], "30")
    assert answer.headers["warning"].startswith("110 ")


async def test_an_upstream_that_no_longer_has_the_repository_leaves_the_list(world: ProxyWorld) -> None:
    first = tagged("v1")
    await world.upstream("a", first)
    await world.upstream("b", tagged("v2"))
    world.registry("main", "a", "b")
    token = world.access()
    assert tags(await world.get(PATH, token)) == ["v1", "v2"]
    world.clock.advance(30)
    first.override = lambda _: error_reply(404, "NAME_UNKNOWN")
    assert tags(await world.get(PATH, token)) == ["v2"]
    world.clock.advance(30)
    first.override = lambda _: DROP
    assert (await world.get(PATH, token)).status == 503


async def test_hidden_is_left_out_where_the_membership_says_so(world: ProxyWorld) -> None:
    await world.upstream("a", FakeRegistry(override=lambda _: error_reply(403, "DENIED")))
    await world.upstream("b", tagged("v2"))
    hidden = MembershipRecord.model_validate({"upstream_id": "a", "on_hidden": "continue"})
    world.registry("main", hidden, "b")
    assert tags(await world.get(PATH, world.access())) == ["v2"]


async def test_too_many_tags_of_all_together_are_an_error(
    world: ProxyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.tags.MAX_TAGS", 3)
    await world.upstream("a", tagged("v1", "v2"))
    await world.upstream("b", tagged("v3", "v4"))
    world.registry("main", "a", "b")
    answer = await world.get(PATH, world.access())
    assert (answer.status, answer.reason()) == (503, "too_many_tags")
