"""Google's token services and metadata server: asked by the real google-auth, and in plain HTTP."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth import aws, crypt, exceptions, jwt

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.gcp.control import MadeServiceKey
from tests.clouds.gcp.scene import BROKER, MIDDLE, PROJECT_NUMBER, PULLER, Scene, set_scene
from tests.clouds.gcp.sdk import Sdk, refused
from tests.clouds.gcp.tokens import CLOUD_PLATFORM, IAM, READ_ONLY, STORAGE_READ_ONLY
from tests.clouds.issuer import HOST, TestIssuer

SUBJECT = "vreg:42:7f3c"
ACCOUNT = "210987654321"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
def sdk(world: Clouds) -> Iterator[Sdk]:
    sdk = Sdk(world)
    yield sdk
    sdk.close()


@pytest.fixture
def key(world: Clouds, scene: Scene) -> MadeServiceKey:
    del scene
    return world.gcp.add_key(PULLER)


@pytest.fixture
def issuer(world: Clouds) -> TestIssuer:
    issuer = TestIssuer()
    world.sites.serve(HOST, issuer.documents())
    return issuer


@pytest.fixture
def provider(world: Clouds, issuer: TestIssuer) -> str:
    return world.gcp.add_oidc_provider(PROJECT_NUMBER, "vreg", "vreg", issuer=issuer.url)


def identity_token(issuer: TestIssuer, provider: str, **changes: object) -> str:
    now = int(time.time())
    claims = {"sub": SUBJECT, "aud": f"https:{provider}", "iat": now, "exp": now + 300}
    return issuer.token(**claims | changes)


async def ping(world: Clouds, scene: Scene, token: str) -> int:
    async with world.http_client() as client:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"https://{scene.host}/v2/{scene.path}/manifests/1.0"
        return (await client.get(url, headers=headers)).status_code


class TestKeys:
    async def test_a_key_becomes_a_token_that_reads_the_image(
        self, world: Clouds, scene: Scene, sdk: Sdk, key: MadeServiceKey
    ) -> None:
        credentials = sdk.by_key(key)
        token = sdk.token(credentials)

        assert token.startswith("ya29.")
        assert await ping(world, scene, token) == 200
        (entry,) = world.log.entries(service="oauth2")
        assert (entry.principal, entry.subject) == (f"serviceAccount:{PULLER}", READ_ONLY)

    def test_a_deleted_account_and_a_disabled_or_foreign_key_are_invalid_grants(
        self, world: Clouds, scene: Scene, sdk: Sdk, key: MadeServiceKey
    ) -> None:
        del scene
        foreign = replace(key, private_key=world.gcp.add_key(BROKER).private_key)
        assert "Invalid JWT Signature" in refused(sdk.token, sdk.by_key(foreign))
        world.gcp.disable_key(PULLER, key.private_key_id)
        assert "invalid_grant: Invalid JWT Signature." in refused(sdk.token, sdk.by_key(key))
        world.gcp.enable_key(PULLER, key.private_key_id)
        assert sdk.token(sdk.by_key(key))
        world.gcp.delete_service_account(PULLER)
        assert "account not found" in refused(sdk.token, sdk.by_key(key))

    @pytest.mark.parametrize("offset", [4000.0, -4000.0])
    def test_a_clock_that_is_wrong_is_told_so(
        self, world: Clouds, sdk: Sdk, key: MadeServiceKey, offset: float
    ) -> None:
        world.gcp.set_clock_offset(offset)
        assert "reasonable timeframe" in refused(sdk.token, sdk.by_key(key))

    def test_a_scope_that_google_does_not_know_is_refused(self, sdk: Sdk, key: MadeServiceKey) -> None:
        assert "invalid_scope" in refused(
            sdk.token, sdk.by_key(key, "https://www.googleapis.com/auth/nothing")
        )

    def test_the_sdk_repeats_what_is_unwell_and_not_what_is_refused(
        self, world: Clouds, sdk: Sdk, key: MadeServiceKey
    ) -> None:
        world.faults.add(Fault(Harm.FAIL, service="oauth2", status=503))
        assert sdk.token(sdk.by_key(key))
        assert world.log.count(service="oauth2") == 2

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": "https://oauth2.example.com/token"},
            {"exp": int(time.time()) + 7200},
            {"iat": "now"},
            {"iss": "nobody@nowhere.iam.gserviceaccount.com"},
        ],
    )
    async def test_an_assertion_is_looked_at_closely(
        self, world: Clouds, key: MadeServiceKey, claims: dict[str, object]
    ) -> None:
        assertion = signed(key, claims)
        async with world.http_client() as client:
            answer = await client.post(
                "https://oauth2.googleapis.com/token",
                data={
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": assertion,
                },
            )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


class TestFederation:
    async def test_an_identity_token_becomes_a_token_of_the_pools_principal(
        self, world: Clouds, scene: Scene, sdk: Sdk, issuer: TestIssuer, provider: str
    ) -> None:
        token = sdk.token(sdk.by_token(provider, identity_token(issuer, provider)))

        member = f"principal:{provider.rpartition('/providers/')[0]}/subject/{SUBJECT}"
        assert token.startswith("ya29.d.")
        assert await ping(world, scene, token) == 403
        world.gcp.grant("a-project", "europe-west3", "team", member)
        assert await ping(world, scene, token) == 200
        assert world.log.entries(service="sts-google")[0].principal == member

    async def test_the_pools_principal_may_act_as_a_service_account(
        self, world: Clouds, scene: Scene, sdk: Sdk, issuer: TestIssuer, provider: str
    ) -> None:
        credentials = sdk.by_token(provider, identity_token(issuer, provider), PULLER)
        assert "Unable to acquire impersonated" in refused(sdk.token, credentials)
        world.gcp.let_act(f"principalSet:{provider.rpartition('/providers/')[0]}/*", PULLER)

        assert await ping(world, scene, sdk.token(credentials)) == 200
        assert {entry.subject for entry in world.log.entries(service="sts-google")} == {IAM}

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"aud": "sts.amazonaws.com"}, "does not match the expected audience"),
            ({"exp": 1_700_000_000}, "stale"),
            ({"iat": int(time.time()) - 90_000}, "24 hours"),
            ({"iat": int(time.time()) + 1000}, "not yet valid"),
            ({"iss": "https://other.example.test"}, "issuer in ID Token"),
            ({"sub": "x" * 128}, "127 bytes"),
        ],
    )
    def test_a_token_that_is_not_meant_so_is_an_invalid_grant(
        self, sdk: Sdk, issuer: TestIssuer, provider: str, changes: dict[str, object], words: str
    ) -> None:
        text = refused(sdk.token, sdk.by_token(provider, identity_token(issuer, provider, **changes)))
        assert text.startswith("('Error code invalid_grant")
        assert words in text

    def test_a_provider_that_is_off_or_absent_is_an_invalid_target(
        self, world: Clouds, sdk: Sdk, issuer: TestIssuer, provider: str
    ) -> None:
        token = identity_token(issuer, provider)
        world.gcp.disable_provider(provider)
        assert "invalid_target" in refused(sdk.token, sdk.by_token(provider, token))
        world.gcp.enable_provider(provider)
        assert sdk.token(sdk.by_token(provider, token))
        assert "invalid_target" in refused(sdk.token, sdk.by_token(provider + "-x", token))
        by_id = provider.replace(PROJECT_NUMBER, "a-project")
        assert "invalid_request" in refused(sdk.token, sdk.by_token(by_id, token))

    def test_the_attribute_condition_decides(
        self, world: Clouds, sdk: Sdk, issuer: TestIssuer, provider: str
    ) -> None:
        world.gcp.set_condition(provider, "vreg:43:*")
        text = refused(sdk.token, sdk.by_token(provider, identity_token(issuer, provider)))
        assert "unauthorized_client" in text
        assert "attribute condition" in text

    def test_keys_are_fetched_from_the_issuer_unless_they_were_uploaded(
        self, world: Clouds, sdk: Sdk, issuer: TestIssuer, provider: str
    ) -> None:
        world.sites.withdraw(HOST)
        assert "connecting" in refused(sdk.token, sdk.by_token(provider, identity_token(issuer, provider)))
        jwks = next(text for path, text in issuer.documents().items() if path.endswith("jwks.json"))
        uploaded = world.gcp.add_oidc_provider(
            PROJECT_NUMBER, "vreg", "uploaded", issuer=issuer.url, keys=jwks
        )
        assert sdk.token(sdk.by_token(uploaded, identity_token(issuer, uploaded)))

    def test_a_key_of_another_issuer_does_not_sign(self, sdk: Sdk, issuer: TestIssuer, provider: str) -> None:
        stranger = TestIssuer(issuer.url)
        assert "no key" in refused(sdk.token, sdk.by_token(provider, identity_token(stranger, provider)))
        stranger.kid = issuer.kid
        text = refused(sdk.token, sdk.by_token(provider, identity_token(stranger, provider)))
        assert "signature" in text

    def test_allowed_audiences_take_the_place_of_the_providers_name(
        self, world: Clouds, sdk: Sdk, issuer: TestIssuer
    ) -> None:
        provider = world.gcp.add_oidc_provider(
            PROJECT_NUMBER, "vreg", "vreg", issuer=issuer.url, audiences=("https://mine",)
        )
        assert "expected audience" in refused(
            sdk.token, sdk.by_token(provider, identity_token(issuer, provider))
        )
        assert sdk.token(sdk.by_token(provider, identity_token(issuer, provider, aud="https://mine")))


class TestAws:
    async def test_aws_is_asked_whose_the_signature_is(self, world: Clouds, scene: Scene, sdk: Sdk) -> None:
        made = world.aws.add_user(ACCOUNT, "vreg")
        provider = world.gcp.add_aws_provider(PROJECT_NUMBER, "vreg", "vreg-aws", account=ACCOUNT)
        keys = aws.AwsSecurityCredentials(made.access_key_id, made.secret_access_key)
        token = sdk.token(sdk.by_aws(provider, keys, "eu-west-1"))

        member = f"principal:{provider.rpartition('/providers/')[0]}/subject/{made.arn}"
        world.gcp.grant("a-project", "europe-west3", "team", member)
        assert await ping(world, scene, token) == 200
        assert world.log.count(service="sts", operation="GetCallerIdentity", principal=made.arn) == 1

    def test_a_wrong_secret_or_account_or_pool_proves_nothing(self, world: Clouds, sdk: Sdk) -> None:
        made = world.aws.add_user(ACCOUNT, "vreg")
        provider = world.gcp.add_aws_provider(PROJECT_NUMBER, "vreg", "vreg-aws", account=ACCOUNT)
        other = world.gcp.add_aws_provider(PROJECT_NUMBER, "vreg", "vreg-two", account="999999999999")
        good = aws.AwsSecurityCredentials(made.access_key_id, made.secret_access_key)
        wrong = aws.AwsSecurityCredentials(made.access_key_id, "not the secret")

        assert "invalid AWS response" in refused(sdk.token, sdk.by_aws(provider, wrong, "eu-west-1"))
        assert "is not the provider's" in refused(sdk.token, sdk.by_aws(other, good, "eu-west-1"))


class TestImpersonation:
    def test_each_of_a_chain_must_be_permitted_to_the_one_before(
        self, world: Clouds, scene: Scene, sdk: Sdk
    ) -> None:
        del scene
        base = sdk.by_key(world.gcp.add_key(BROKER), CLOUD_PLATFORM)
        world.gcp.let_act(f"serviceAccount:{BROKER}", MIDDLE)
        assert "Unable to acquire" in refused(sdk.token, sdk.acting_as(base, PULLER, MIDDLE))
        world.gcp.let_act(f"serviceAccount:{MIDDLE}", PULLER)
        assert "Unable to acquire" in refused(sdk.token, sdk.acting_as(base, PULLER))
        credentials = sdk.acting_as(base, PULLER, MIDDLE)
        assert sdk.token(credentials)
        assert credentials.expiry is not None
        world.gcp.stop_acting(f"serviceAccount:{BROKER}", MIDDLE)
        assert "getAccessToken" in refused(sdk.token, sdk.acting_as(base, PULLER, MIDDLE))

    def test_longer_than_an_hour_needs_the_organisations_policy(
        self, world: Clouds, scene: Scene, sdk: Sdk
    ) -> None:
        del scene
        base = sdk.by_key(world.gcp.add_key(BROKER), CLOUD_PLATFORM)
        world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
        assert "cannot exceed" in refused(sdk.token, sdk.acting_as(base, PULLER, seconds=7200))
        world.gcp.set_longest_life(PULLER, 43200)
        assert sdk.token(sdk.acting_as(base, PULLER, seconds=7200))

    async def test_a_token_for_reading_does_not_make_tokens(self, world: Clouds, scene: Scene) -> None:
        del scene
        world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
        reading = world.gcp.issue_token(f"serviceAccount:{BROKER}", (READ_ONLY,))
        making = world.gcp.issue_token(f"serviceAccount:{BROKER}", (IAM,))

        assert (await generate(world, PULLER, reading)).status_code == 403
        answer = await generate(world, PULLER, making)
        assert answer.status_code == 200
        assert answer.json()["expireTime"].endswith("Z")
        assert "." not in answer.json()["expireTime"]
        assert (await generate(world, PULLER, "ya29.nothing")).status_code == 401
        assert (await generate(world, PULLER, making, delegates=[MIDDLE])).status_code == 400
        missing = await generate(world, "gone@a-project.iam.gserviceaccount.com", making)
        assert missing.json()["error"]["details"][0]["reason"] == "IAM_PERMISSION_DENIED"

    async def test_the_api_must_be_enabled(self, world: Clouds, scene: Scene) -> None:
        del scene
        world.gcp.disable_service("iamcredentials")
        answer = await generate(world, PULLER, world.gcp.issue_token(f"serviceAccount:{BROKER}", (IAM,)))
        assert (answer.status_code, "has not been used" in answer.text) == (403, True)


class TestMetadata:
    async def test_it_wants_the_magic_header_and_shows_it(self, world: Clouds, scene: Scene) -> None:
        del scene
        world.gcp.set_machine(PULLER)
        async with metadata(world) as client:
            plain = await client.get(
                "/computeMetadata/v1/project/project-id", headers={"Metadata-Flavor": ""}
            )
            probe = await client.get("/")
            email = await client.get("/computeMetadata/v1/instance/service-accounts/default/email")
            proxied = await client.get(
                "/computeMetadata/v1/project/project-id", headers={"X-Forwarded-For": "1.2.3.4"}
            )
        assert (plain.status_code, proxied.status_code) == (403, 403)
        assert probe.headers["metadata-flavor"] == email.headers["metadata-flavor"] == "Google"
        assert (email.text, email.headers["content-type"]) == (PULLER, "application/text")

    async def test_a_token_is_kept_and_its_life_runs_down(self, world: Clouds, scene: Scene) -> None:
        world.gcp.set_machine(PULLER)
        first = (await machine_token(world)).json()
        assert 3595 <= first["expires_in"] <= 3599
        assert await ping(world, scene, first["access_token"]) == 200
        world.gcp.set_clock_offset(1000)
        again = (await machine_token(world)).json()
        assert again["access_token"] == first["access_token"]
        assert again["expires_in"] < 2600
        world.gcp.set_clock_offset(3400)
        assert (await machine_token(world)).json()["access_token"] != first["access_token"]

    async def test_a_machine_without_account_has_no_token(self, world: Clouds) -> None:
        assert (await machine_token(world)).status_code == 404

    async def test_the_machines_own_scopes_are_the_most_there_is(self, world: Clouds, scene: Scene) -> None:
        world.gcp.set_machine(PULLER, (STORAGE_READ_ONLY,))
        token = (await machine_token(world, IAM)).json()["access_token"]
        assert await ping(world, scene, token) == 200
        world.gcp.let_act(f"serviceAccount:{PULLER}", BROKER)
        assert (await generate(world, BROKER, token)).status_code == 403

    async def test_it_may_be_refused_what_the_pod_is_annotated_with(
        self, world: Clouds, scene: Scene
    ) -> None:
        del scene
        world.gcp.set_machine(PULLER)
        world.gcp.refuse_machine(
            403, "IAM returned 403 Forbidden: Permission 'iam.serviceAccounts.getAccessToken'"
        )
        answer = await machine_token(world)
        assert (answer.status_code, "IAM returned" in answer.text) == (403, True)


async def test_what_is_throttled_or_unwell_says_so_in_googles_words(world: Clouds) -> None:
    world.faults.add(Fault(Harm.THROTTLE, service="iamcredentials", retry_after=7))
    world.faults.add(Fault(Harm.FAIL, service="sts-google", status=503))
    throttled = await generate(world, PULLER, "x")
    async with world.http_client() as client:
        unwell = await client.post("https://sts.googleapis.com/v1/token")
    assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "7")
    assert throttled.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert (unwell.status_code, unwell.json()["error"]["status"]) == (503, "UNAVAILABLE")


def test_a_bad_certificate_is_presented_on_command(world: Clouds, sdk: Sdk, key: MadeServiceKey) -> None:
    world.faults.add(Fault(Harm.UNTRUSTED, host="oauth2.googleapis.com"))
    with pytest.raises(exceptions.TransportError):
        sdk.token(sdk.by_key(key))


def metadata(world: Clouds) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=world.local["gcp-metadata"], trust_env=False, headers={"Metadata-Flavor": "Google"}
    )


async def machine_token(world: Clouds, scope: str = READ_ONLY) -> httpx.Response:
    async with metadata(world) as client:
        path = "/computeMetadata/v1/instance/service-accounts/default/token"
        return await client.get(path, params={"scopes": scope})


async def generate(world: Clouds, email: str, token: str, **changes: Any) -> httpx.Response:  # noqa: ANN401 -- JSON
    async with world.http_client() as client:
        return await client.post(
            f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken",
            headers={"Authorization": f"Bearer {token}"},
            json={"delegates": None, "scope": [READ_ONLY], "lifetime": "3600s"} | changes,
        )


def signed(key: MadeServiceKey, claims: dict[str, object]) -> str:
    now = int(time.time())
    usual = {
        "iss": key.client_email,
        "aud": "https://oauth2.googleapis.com/token",
        "scope": READ_ONLY,
        "iat": now,
        "exp": now + 3600,
    }
    signer = crypt.RSASigner.from_string(key.private_key, key.private_key_id)
    token: bytes = jwt.encode(signer, usual | claims)
    return token.decode()
