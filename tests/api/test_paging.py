from tests.support.api_world import Api


async def test_pages_follow_each_other_and_miss_nothing(any_api: Api) -> None:
    made = [(await any_api.create("virtual_registries", {"slug": f"r{index}"}))["id"] for index in range(7)]
    seen: list[str] = []
    cursor, page = "", {}
    for expected in (3, 3, 1):
        page = (await any_api.call("GET", f"/virtual_registries?limit=3{cursor}")).json()
        assert len(page["items"]) == expected
        seen += [each["id"] for each in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == made == sorted(made)


async def test_a_page_stays_what_it_is_while_others_change_the_list(any_api: Api) -> None:
    made = [(await any_api.create("virtual_registries", {"slug": f"r{index}"}))["id"] for index in range(4)]
    first = (await any_api.call("GET", "/virtual_registries?limit=2")).json()
    await any_api.call("DELETE", f"/virtual_registries/{made[0]}")
    await any_api.call("DELETE", f"/virtual_registries/{made[1]}")
    last = (await any_api.create("virtual_registries", {"slug": "last"}))["id"]
    rest = (await any_api.call("GET", f"/virtual_registries?cursor={first['next_cursor']}")).json()
    assert [each["id"] for each in rest["items"]] == [made[2], made[3], last]


async def test_a_full_last_page_says_that_it_is_the_last(api: Api) -> None:
    for index in range(2):
        await api.create("virtual_registries", {"slug": f"r{index}"})
    assert (await api.call("GET", "/virtual_registries?limit=2")).json()["next_cursor"] is None


async def test_a_list_is_searched_by_name_whatever_the_case(any_api: Api) -> None:
    for name in ("Production ECR", "production_hub", "staging", "100%"):
        body = {"name": name, "kind": "oci", "host": "harbor.example.com"}
        await any_api.create("upstreams", body)

    async def found(name: str) -> list[str]:
        return [
            each["name"] for each in (await any_api.call("GET", f"/upstreams?name={name}")).json()["items"]
        ]

    assert await found("PRODUCTION") == ["Production ECR", "production_hub"]
    assert await found("n_h") == ["production_hub"]
    assert await found("%25") == ["100%"]
    assert await found("nothing") == []
