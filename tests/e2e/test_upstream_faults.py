"""Upstreams that lie, break off, dawdle or refuse: clients get the right bytes or an honest error."""

import asyncio

import aiohttp
import pytest

from tests.clients.puller import Puller, PullFailedError
from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.e2e.cache_files import is_committed_rightly
from tests.e2e.scene import ACCOUNTS, HOME_ACCOUNT, PLACES, Scene
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PLACE = PLACES[0]
REPOSITORY = f"demo/{PLACE.repository}"


def storage_path(stage: Scene, digest: str) -> str:
    """Return where the emulated storage keeps a blob."""
    return stage.clouds.aws.blob_path(PLACE.account, PLACE.region, PLACE.repository, digest)


@pytest.mark.parametrize("harm", [Harm.RESET, Harm.TRUNCATE])
async def test_a_body_that_breaks_off_is_resumed_and_nobody_notices(stage: Scene, harm: Harm) -> None:
    image = make_image(f"breaks-{harm}", 6_000_000)
    (layer,) = image.layers
    stage.push_to_ecr(PLACE, image, f"breaks-{harm}")
    path = storage_path(stage, layer)
    for after in (1_000_000, 1_500_000, 700_000):
        stage.clouds.faults.add(Fault(harm, service="s3", path=path, after_bytes=after))
    async with stage.puller() as puller:
        pulled = await puller.pull(REPOSITORY, f"breaks-{harm}")
    assert pulled.digest == image.digest
    resumed = stage.clouds.log.entries(service="s3", path=path)
    assert len(resumed) == 4
    assert all(entry.range for entry in resumed[1:])


async def test_corrupt_bytes_never_arrive_complete_and_are_never_kept(stage: Scene) -> None:
    image = make_image("corrupt", 3_000_000)
    (layer,) = image.layers
    stage.push_to_ecr(PLACE, image, "corrupt")
    stage.clouds.faults.add(
        Fault(Harm.CORRUPT, service="s3", path=storage_path(stage, layer), after_bytes=1_234_567)
    )
    async with stage.puller() as puller:
        try:
            size = await puller.blob(REPOSITORY, layer)
        except aiohttp.ClientError:
            pass  # the body ended short, as it should
        else:
            assert size == len(image.blobs[layer]), "complete, so fetched again and right"
        stage.clouds.faults.clear()
        assert await puller.blob(REPOSITORY, layer) == len(image.blobs[layer])
    await is_committed_rightly(stage, layer)


async def test_an_upstream_that_fails_is_unavailable_and_comes_back(stage: Scene) -> None:
    image = make_image("fails", 1000)
    stage.push_to_ecr(PLACE, image, "fails")
    stage.clouds.faults.add(Fault(Harm.FAIL, host=PLACE.host, times=None, status=500))
    async with stage.puller() as puller:
        assert await puller.status(f"{REPOSITORY}/manifests/fails") in {502, 503}
        stage.clouds.faults.clear()

        async def is_back() -> bool:
            return await puller.status(f"{REPOSITORY}/manifests/fails") == 200

        await eventually(is_back, deadline=20)


async def test_a_slow_upstream_delays_its_own_blob_and_nothing_else(stage: Scene) -> None:
    slow, quick = make_image("slow", 300_000), make_image("quick", 300_000)
    (layer,) = slow.layers
    stage.push_to_ecr(PLACE, slow, "slow")
    stage.push_to_ecr(PLACE, quick, "quick")
    stage.clouds.faults.add(
        Fault(
            Harm.DRIP,
            service="s3",
            path=storage_path(stage, layer),
            after_bytes=50_000,
            bytes_per_second=50_000,
        )
    )
    async with stage.puller() as puller:
        waiting = asyncio.create_task(puller.pull(REPOSITORY, "slow"))
        assert (await puller.pull(REPOSITORY, "quick")).digest == quick.digest
        assert not waiting.done()
        assert (await waiting).digest == slow.digest


async def test_an_upstream_that_is_down_takes_nothing_that_is_cached_with_it(stage: Scene) -> None:
    cached, missing = make_image("cached", 1000), make_image("missing", 1000)
    stage.push_to_ecr(PLACE, cached, "cached")
    async with stage.puller() as puller:
        await puller.pull(REPOSITORY, "cached")
        stage.push_to_ecr(PLACE, missing, "missing")
        stage.clouds.faults.add(Fault(Harm.UNREACHABLE, host=PLACE.host, times=None))
        stage.clouds.gateway.cut(PLACE.host)
        assert (await puller.pull(REPOSITORY, cached.digest)).digest == cached.digest
        assert (await puller.pull(REPOSITORY, "cached")).digest == cached.digest
        assert await puller.status(f"{REPOSITORY}/manifests/missing") in {502, 503}
        stage.clouds.faults.clear()

        async def is_back() -> bool:
            return await puller.status(f"{REPOSITORY}/manifests/missing") == 200

        await eventually(is_back, deadline=20)


async def test_an_upstream_that_throttles_makes_us_say_so(stage: Scene) -> None:
    stage.push_to_ecr(PLACE, make_image("throttled", 1000), "throttled")
    stage.clouds.faults.add(Fault(Harm.THROTTLE, host=PLACE.host, times=None, retry_after=1))
    async with stage.puller() as puller:
        assert await puller.status(f"{REPOSITORY}/manifests/throttled") in {429, 503}
    stage.clouds.faults.clear()


async def test_a_revoked_access_token_is_refused_within_five_seconds(stage: Scene) -> None:
    token_id, token = await stage.admin.access_token("soon-revoked")
    async with Puller(stage.stack.proxy, token) as puller:

        async def answers(status: int) -> bool:
            return await puller.status("") == status

        await eventually(lambda: answers(200), deadline=20)
        answer = await stage.stack.call("GET", f"/access_tokens/{token_id}")
        etag = {"If-Match": answer.headers["ETag"]}
        assert (await stage.stack.call("DELETE", f"/access_tokens/{token_id}", headers=etag)).is_success
        await eventually(lambda: answers(401), deadline=5)


@pytest.mark.parametrize("narrowed", [{"role": "auditor"}, {"registry_ids": []}], ids=["role", "registries"])
async def test_a_narrowed_access_token_pulls_no_more_within_five_seconds(
    stage: Scene, narrowed: dict[str, object]
) -> None:
    stage.push_to_ecr(PLACE, make_image("narrowed", 1000), "narrowed")
    token_id, token = await stage.admin.access_token("soon-narrowed")
    async with Puller(stage.stack.proxy, token) as puller:

        async def is_served() -> bool:
            return await puller.status(f"{REPOSITORY}/manifests/narrowed") == 200

        async def is_refused() -> bool:
            return not await is_served()

        await eventually(is_served, deadline=20)
        path = f"/access_tokens/{token_id}"
        changed = await stage.stack.call("PATCH", path, headers={"If-Match": "*"}, json=narrowed)
        assert changed.is_success, changed.text
        await eventually(is_refused, deadline=5)


async def test_an_upstream_taken_out_of_a_registry_serves_nothing_there_within_five_seconds(
    stage: Scene,
) -> None:
    stage.push_to_ecr(PLACE, make_image("taken out", 1000), "taken-out")
    registry = await stage.admin.registry("taken-out", stage.upstream_ids)
    _, token = await stage.admin.access_token("taken-out")
    async with Puller(stage.stack.proxy, token) as puller:
        manifest = f"taken-out/{PLACE.repository}/manifests/taken-out"

        async def is_served() -> bool:
            return await puller.status(manifest) == 200

        async def is_absent() -> bool:
            return await puller.status(manifest) == 404

        await eventually(is_served, deadline=20)
        path = f"/virtual_registries/{registry}"
        changed = await stage.stack.call("PATCH", path, headers={"If-Match": "*"}, json={"memberships": []})
        assert changed.is_success, changed.text
        await eventually(is_absent, deadline=5)


async def test_an_unknown_registry_and_one_without_right_look_the_same(stage: Scene) -> None:
    other = await stage.admin.registry("other", stage.upstream_ids[:1])
    _, token = await stage.admin.access_token("other-only", registry_ids=[other])
    async with Puller(stage.stack.proxy, token) as puller:

        async def is_known() -> bool:
            return await puller.status("other/unknown/manifests/v1") != 401

        await eventually(is_known, deadline=20)
        with pytest.raises(PullFailedError) as foreign:
            await puller.manifest(f"demo/{PLACE.repository}", "fails")
        with pytest.raises(PullFailedError) as unknown:
            await puller.manifest(f"nope/{PLACE.repository}", "fails")
    assert str(foreign.value).partition(": ")[2] == str(unknown.value).partition(": ")[2]
    assert ": 404 " in str(unknown.value)


async def test_a_role_that_may_not_be_assumed_is_an_honest_error_until_it_may(stage: Scene) -> None:
    role = f"arn:aws:iam::{HOME_ACCOUNT}:role/closed"
    user = stage.clouds.aws.add_user(HOME_ACCOUNT, "closed", allow=may_assume(role))
    stage.clouds.aws.add_role(
        HOME_ACCOUNT, "closed", trusts=(user.arn,), external_id="other", allow=may_pull()
    )
    repository = "role-test/app"
    stage.clouds.ecr(PLACE.account, PLACE.region, repository, readers=(role,)).push(
        make_image("role-test", 1000), "v1"
    )
    identity = await stage.admin.identity(
        "closed-role",
        {
            "method": "aws.assume_role",
            "access_key_id": user.access_key_id,
            "secret_access_key": user.secret_access_key,
            "role_arn": role,
        },
        {"partition": "aws", "accounts": list(ACCOUNTS)},
    )
    upstream = await stage.admin.upstream("closed", "ecr", PLACE.host, identity["id"])
    registry = await stage.admin.registry("closed", [upstream])
    _, token = await stage.admin.access_token("closed-puller", registry_ids=[registry])
    async with Puller(stage.stack.proxy, token) as puller:

        async def answers(*statuses: int) -> bool:
            return await puller.status(f"closed/{repository}/manifests/v1") in statuses

        await eventually(lambda: answers(403, 503), deadline=30)
        stage.clouds.aws.add_role(
            HOME_ACCOUNT, "closed", trusts=(user.arn,), external_id=identity["external_id"], allow=may_pull()
        )
        changed = await stage.stack.call("GET", f"/identities/{identity['id']}")
        await eventually(lambda: answers(200), deadline=90)
    assert changed.json()["external_id"] == identity["external_id"]


async def test_a_throttled_sts_delays_the_first_lease_and_no_more(stage: Scene) -> None:
    stage.clouds.faults.add(Fault(Harm.THROTTLE, service="sts", times=3))
    role = f"arn:aws:iam::{HOME_ACCOUNT}:role/throttled"
    user = stage.clouds.aws.add_user(HOME_ACCOUNT, "throttled", allow=may_assume(role))
    stage.clouds.aws.add_role(HOME_ACCOUNT, "throttled", trusts=(user.arn,), allow=may_pull())
    repository = "throttle-test/app"
    stage.clouds.ecr(PLACE.account, PLACE.region, repository, readers=(role,)).push(
        make_image("throttle-test", 1000), "v1"
    )
    identity = await stage.admin.identity(
        "throttled-role",
        {
            "method": "aws.assume_role",
            "access_key_id": user.access_key_id,
            "secret_access_key": user.secret_access_key,
            "role_arn": role,
        },
        {"partition": "aws", "accounts": list(ACCOUNTS)},
    )
    upstream = await stage.admin.upstream("throttled", "ecr", PLACE.host, identity["id"])
    registry = await stage.admin.registry("throttled", [upstream])
    _, token = await stage.admin.access_token("throttled-puller", registry_ids=[registry])
    async with Puller(stage.stack.proxy, token) as puller:

        async def is_served() -> bool:
            return await puller.status(f"throttled/{repository}/manifests/v1") == 200

        await eventually(is_served, deadline=60)
    assert not stage.clouds.faults.waiting(), "STS was asked less often than it throttled"


@pytest.mark.parametrize(
    "host",
    [
        "111111111111.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "evil-111111111111.dkr.ecr.eu-west-1.amazonaws.com",
        "11111111111.dkr.ecr.eu-west-1.amazonaws.com",
        "https://111111111111.dkr.ecr.eu-west-1.amazonaws.com",
    ],
)
async def test_a_lookalike_host_is_refused_when_it_is_entered(stage: Scene, host: str) -> None:
    identities = (await stage.stack.call("GET", "/identities")).json()["items"]
    aws = next(one["id"] for one in identities if one["name"] == "aws-key")
    answer = await stage.stack.call(
        "POST", "/upstreams", json={"name": "lookalike", "kind": "ecr", "host": host, "identity_id": aws}
    )
    assert answer.status_code == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
