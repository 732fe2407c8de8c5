"""A repository that would come from another upstream than so far: told, and kept out if so wished."""

import sqlite3

import pytest

from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.proxy.test_pulls import BY_DIGEST, BY_TAG, MANIFEST, OTHER, holding
from tests.support.fake_registry import FakeRegistry, error_reply
from vreg_proxy.sources import TOLD_AGAIN_SECONDS
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.secret import Secret

GONE = error_reply(404, "NAME_UNKNOWN")
OTHER_BY_DIGEST = f"/v2/main/team/app/manifests/{Digest.of(OTHER)}"


async def moved(world: ProxyWorld, **fields: object) -> Secret:
    """Let a repository be served by A, and then be found in B alone."""
    first = holding()
    await world.upstream("a", first, tag_validity_seconds=60)
    await world.upstream("b", holding(OTHER), tag_validity_seconds=60)
    world.registry("main", "a", "b", **fields)
    token = world.access()
    assert (await world.get(BY_TAG, token)).body == MANIFEST
    assert world.audit.told == []
    first.override = lambda _: GONE
    world.clock.advance(61)
    return token


@pytest.mark.parametrize(("policy", "outcome"), [("allow", "allowed"), ("block", "blocked")])
async def test_a_change_of_source_is_told_once_with_all_that_matters(
    world: ProxyWorld, policy: str, outcome: str
) -> None:
    token = await moved(world, on_source_change=policy)
    for _ in range(3):
        await world.get(BY_TAG, token)
    assert world.audit.told == [
        (
            "pull.source_changed",
            "registry.id-main",
            {
                "registry": {"id": "id-main", "slug": "main"},
                "repository": "team/app",
                "tag": "1",
                "from": {"id": "a", "name": "a"},
                "to": {"id": "b", "name": "b"},
                "outcome": outcome,
            },
        )
    ]


async def test_where_it_is_allowed_the_other_upstream_serves_from_then_on(world: ProxyWorld) -> None:
    token = await moved(world)
    assert (await world.get(BY_TAG, token)).body == OTHER
    world.clock.advance(TOLD_AGAIN_SECONDS + 1)
    assert (await world.get(BY_TAG, token)).body == OTHER
    assert len(world.audit.told) == 1


async def test_where_it_is_blocked_the_client_is_told_what_to_do(world: ProxyWorld) -> None:
    token = await moved(world, on_source_change="block")
    for _ in range(2):
        answer = await world.get(BY_TAG, token)
        assert (answer.status, answer.error_code(), answer.reason()) == (403, "DENIED", "source_changed")
        assert b"on_source_change" in answer.body
        assert OTHER not in answer.body
    world.clock.advance(TOLD_AGAIN_SECONDS + 1)
    await world.get(BY_TAG, token)
    assert [fact["outcome"] for _, _, fact in world.audit.told] == ["blocked", "blocked"]


async def test_an_operator_lets_a_repository_move_by_denying_it_where_it_was(world: ProxyWorld) -> None:
    token = await moved(world, on_source_change="block")
    assert (await world.get(BY_TAG, token)).status == 403
    first = MembershipRecord(upstream_id="a", deny=("team/app",))
    world.registry("main", first, "b", on_source_change="block")
    assert (await world.get(BY_TAG, token)).body == OTHER
    world.registry("main", "a", "b", on_source_change="block")
    assert (await world.get(BY_TAG, token)).body == OTHER
    assert [fact["outcome"] for _, _, fact in world.audit.told] == ["blocked", "allowed"]


async def test_an_upper_upstream_that_comes_to_have_the_repository_is_a_change_too(world: ProxyWorld) -> None:
    first = FakeRegistry()
    await world.upstream("a", first, tag_validity_seconds=60)
    await world.upstream("b", holding(OTHER), tag_validity_seconds=60)
    world.registry("main", "a", "b", on_source_change="block")
    token = world.access()
    assert (await world.get(BY_TAG, token)).body == OTHER
    first.add_manifest("team/app", "1", MANIFEST)
    world.clock.advance(61)
    assert (await world.get(BY_TAG, token)).reason() == "source_changed"


async def test_a_digest_is_the_same_wherever_it_comes_from(world: ProxyWorld) -> None:
    token = await moved(world, on_source_change="block")
    assert (await world.get(OTHER_BY_DIGEST, token)).body == OTHER
    assert (await world.get(BY_DIGEST, token)).body == MANIFEST
    assert world.audit.told == []


async def test_where_it_is_blocked_a_memory_that_cannot_be_read_lets_nothing_change(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    folder = tmp_path_factory.mktemp("proxy")
    async with proxy_world(folder) as world:
        await moved(world, on_source_change="block")
    async with proxy_world(folder) as world:
        await world.upstream("a", FakeRegistry(), tag_validity_seconds=0)
        await world.upstream("b", holding(OTHER), tag_validity_seconds=0)
        world.registry("main", "a", "b", on_source_change="block")
        with monkeypatch.context() as broken:
            broken.setattr("vreg_proxy.cache.index_file.IndexFile.first", locked)
            answer = await world.get(BY_TAG, world.access())
            assert (answer.status, answer.reason()) == (503, "cache_index_unreadable")
        world.clock.advance(60)
        assert (await world.get(BY_TAG, world.access())).reason() == "source_changed"


async def test_one_registry_is_nothing_to_another(world: ProxyWorld) -> None:
    token = await moved(world, on_source_change="block")
    world.registry("other", "b", on_source_change="block")
    assert (await world.get(BY_TAG.replace("main", "other"), token)).body == OTHER


async def test_the_source_is_remembered_over_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("proxy")
    for has_it in (True, False):
        async with proxy_world(folder) as world:
            await world.upstream("a", holding() if has_it else FakeRegistry(), tag_validity_seconds=0)
            await world.upstream("b", holding(OTHER))
            world.registry("main", "a", "b", on_source_change="block")
            assert (await world.get(BY_TAG, world.access())).status == (200 if has_it else 403)
