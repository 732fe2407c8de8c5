import asyncio

from tests.support.api_world import ASSUME_ROLE, ECR_HOST, Api
from vreg_api.store.database import Database
from vreg_shared.secret import Secret


async def test_of_many_changes_to_one_version_one_wins(any_api: Api) -> None:
    created = await any_api.create("virtual_registries", {"slug": "team"})
    answers = await asyncio.gather(
        *(any_api.change("virtual_registries", created, {"description": str(index)}) for index in range(12))
    )
    assert sorted(each.status_code for each in answers) == [200] + [412] * 11
    read = (await any_api.call("GET", f"/virtual_registries/{created['id']}")).json()
    assert read["version"] == 2


async def test_of_many_of_one_name_one_is_made(any_api: Api) -> None:
    answers = await asyncio.gather(
        *(any_api.call("POST", "/virtual_registries", json={"slug": "team"}) for _ in range(12))
    )
    assert sorted(each.status_code for each in answers) == [201] + [409] * 11
    assert {each.json()["code"] for each in answers if each.status_code == 409} <= {"name_taken", "conflict"}
    assert len((await any_api.call("GET", "/virtual_registries")).json()["items"]) == 1


async def test_what_is_deleted_while_it_is_taken_into_use_is_one_or_the_other(any_api: Api) -> None:
    for index in range(6):
        identity = await any_api.create("identities", {**ASSUME_ROLE, "name": f"i{index}"})
        body = {"name": f"u{index}", "kind": "ecr", "host": ECR_HOST, "identity_id": identity["id"]}
        made, deleted = await asyncio.gather(
            any_api.call("POST", "/upstreams", json=body),
            any_api.call("DELETE", f"/identities/{identity['id']}"),
        )
        assert (made.status_code, deleted.status_code) in {(201, 409), (422, 204), (409, 204)}
        there = await any_api.call("GET", f"/identities/{identity['id']}")
        assert there.status_code == (200 if made.status_code == 201 else 404)


async def test_two_admins_cannot_both_be_the_last_to_go(any_api: Api) -> None:
    second = await any_api.create("access_tokens", {"name": "second", "role": "admin"})
    first_id = any_api.admin_token.split("_")[1]
    answers = await asyncio.gather(
        any_api.call("DELETE", f"/access_tokens/{first_id}"),
        any_api.call("DELETE", f"/access_tokens/{second['id']}"),
    )
    # The loser was refused, or had no token any more when it asked.
    assert min(each.status_code for each in answers) == 204
    assert {each.status_code for each in answers} <= {204, 401, 409}
    assert len([each for each in answers if each.status_code == 204]) == 1


async def test_writers_of_two_processes_wait_for_each_other(any_api: Api, database_url: str) -> None:
    other = Database(Secret(database_url))
    registry = await any_api.create("virtual_registries", {"slug": "team"})
    try:
        async with other.write() as tx:
            await any_api.world.virtual_registries.store.find(tx, registry["id"], lock=True)
            change = asyncio.create_task(any_api.change("virtual_registries", registry, {"description": "x"}))
            done, _ = await asyncio.wait({change}, timeout=0.3)
            assert not done
        assert (await change).status_code == 200
    finally:
        await other.close()
