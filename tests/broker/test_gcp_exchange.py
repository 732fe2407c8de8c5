"""Every way to prove ourselves to Google, through the egress gateway to emulated services."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.gcp.control import MadeServiceKey, provider_name
from tests.clouds.gcp.scene import BROKER, MIDDLE, PROJECT_NUMBER, PULLER, Scene, set_scene
from tests.clouds.gcp.tokens import IAM, READ_ONLY
from tests.clouds.issuer import HOST, TestIssuer
from tests.clouds.scene import BROKER_ACCOUNT
from tests.contract.machine import container_on_aws, instance_on_aws
from tests.support.wait import eventually
from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.provider import Presentation
from vreg_shared.providers.gcp.auth_methods import (
    AwsAccessKeyFederation,
    AwsFederation,
    Impersonation,
    Metadata,
    ServiceAccountKey,
    WorkloadIdentityFederation,
)
from vreg_shared.secret import Secret
from vreg_shared.settings import EgressSettings
from vreg_token_broker.exchange import (
    Exchange,
    ExchangeOrder,
    ExchangeWorld,
    IdentityTokenError,
    Issued,
    Outcome,
    Refused,
    Unavailable,
)
from vreg_token_broker.exchanges import find_exchanges

IDENTITY = "01JDEXAMPLEEXAMPLEEXAMPLE0"
SUBJECT = f"vreg:{IDENTITY}"
AWS_ACCOUNT = "210987654321"
POOL = {"project_number": PROJECT_NUMBER, "pool": "vreg", "provider": "vreg"}


class Issuer:
    """vreg's own issuer, as far as an exchange sees it; `changes` are claims that are not as usual."""

    def __init__(self, issuer: TestIssuer) -> None:
        self.issuer = issuer
        self.changes: dict[str, object] = {}
        self.needs: list[IdentityTokenNeed] = []
        self.trouble: Refused | Unavailable | None = None

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        self.needs.append(need)
        if self.trouble is not None:
            raise IdentityTokenError(self.trouble)
        now = int(time.time())
        claims = {"sub": f"vreg:{identity_id}", "aud": need.audience, "iat": now, "exp": now + 300}
        return Secret(self.issuer.token(**claims | self.changes))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
def issuer(world: Clouds) -> Issuer:
    issuer = TestIssuer()
    world.sites.serve(HOST, issuer.documents())
    return Issuer(issuer)


@pytest.fixture
def exchange(world: Clouds, issuer: Issuer) -> Exchange:
    return exchange_through(world, issuer)


def exchange_through(
    world: Clouds, issuer: Issuer | None = None, environment: Mapping[str, str] | None = None
) -> Exchange:
    """Return the broker's own Google exchange, set up as an operator would behind this gateway."""
    settings = EgressSettings(https_proxy=world.gateway_url, ca_bundle=world.ca_bundle, no_proxy="127.0.0.1")
    given: dict[str, Any] = {"identity_tokens": issuer} if issuer is not None else {}
    exchange_world = ExchangeWorld(
        SystemClock(), EgressPolicy.from_settings(settings), environment=environment or {}, **given
    )
    return find_exchanges(catalogue(), exchange_world)["gcp"]


def on_machine(world: Clouds) -> Mapping[str, str]:
    return {"GCE_METADATA_HOST": world.local["gcp-metadata"].removeprefix("http://")}


def by_key(key: MadeServiceKey) -> ServiceAccountKey:
    return ServiceAccountKey(
        client_email=key.client_email,
        private_key_id=key.private_key_id,
        private_key=Secret(key.private_key),
    )


def by_impersonation(key: MadeServiceKey, *chain: str, seconds: int = 3600) -> Impersonation:
    return Impersonation(
        client_email=key.client_email,
        private_key_id=key.private_key_id,
        private_key=Secret(key.private_key),
        impersonate=chain,
        lifetime_seconds=seconds,
    )


def by_federation(**changes: object) -> WorkloadIdentityFederation:
    return WorkloadIdentityFederation.model_validate(POOL | changes)


def by_machine(source: str, **changes: object) -> AwsFederation:
    return AwsFederation.model_validate(POOL | {"source": source} | changes)


def trust(world: Clouds, issuer: Issuer, **options: Any) -> str:  # noqa: ANN401 - the control's own
    """Let the pool trust the issuer; return the principal as a member."""
    name = world.gcp.add_oidc_provider(*POOL.values(), issuer=issuer.issuer.url, **options)
    return f"principal:{name.rpartition('/providers/')[0]}/subject/{SUBJECT}"


def order(method: AuthMethod, host: str = "europe-west3-docker.pkg.dev") -> ExchangeOrder:
    return ExchangeOrder(IDENTITY, "an-external-id", method, catalogue().kind("gar"), host)


def issued(outcome: Outcome) -> Issued:
    assert isinstance(outcome, Issued), outcome
    return outcome


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused), outcome
    return outcome


def unavailable(outcome: Outcome) -> Unavailable:
    assert isinstance(outcome, Unavailable), outcome
    return outcome


async def pull(world: Clouds, scene: Scene, outcome: Outcome) -> int:
    async with world.http_client() as client:
        url = f"https://{scene.host}/v2/{scene.path}/manifests/1.0"
        secret = issued(outcome).credential.secret.reveal()
        return (await client.get(url, headers={"Authorization": f"Bearer {secret}"})).status_code


class TestKey:
    async def test_a_key_becomes_a_token_that_reads_and_does_no_more(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        outcome = issued(await exchange.lease_for(order(by_key(world.gcp.add_key(PULLER)))))

        assert outcome.credential.presentation is Presentation.BEARER
        assert outcome.principal == PULLER
        assert outcome.not_after is not None
        life = outcome.not_after - outcome.issued_at
        assert timedelta(minutes=59) < life <= timedelta(hours=1)
        assert outcome.issued_at.utcoffset() == timedelta(0)
        assert await pull(world, scene, outcome) == 200
        assert [entry.subject for entry in world.log.entries(service="oauth2")] == [READ_ONLY]

    async def test_a_key_that_is_gone_disabled_or_foreign_wants_a_person(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        del scene
        key = world.gcp.add_key(PULLER)
        foreign = replace(key, private_key=world.gcp.add_key(BROKER).private_key)
        assert refused(await exchange.lease_for(order(by_key(foreign)))).reason == "bad_credentials"
        world.gcp.disable_key(PULLER, key.private_key_id)
        outcome = refused(await exchange.lease_for(order(by_key(key))))
        assert outcome.reason == "bad_credentials"
        assert outcome.detail == "oauth2:token: invalid_grant: Invalid JWT Signature."
        assert "new key" in outcome.remedy
        world.gcp.delete_service_account(PULLER)
        assert refused(await exchange.lease_for(order(by_key(key)))).reason == "bad_credentials"

    @pytest.mark.parametrize("offset", [4000.0, -4000.0])
    async def test_a_wrong_clock_is_told_apart_from_a_wrong_key(
        self, world: Clouds, scene: Scene, exchange: Exchange, offset: float
    ) -> None:
        del scene
        world.gcp.set_clock_offset(offset)
        outcome = refused(await exchange.lease_for(order(by_key(world.gcp.add_key(PULLER)))))
        assert outcome.reason == "clock_skew"

    async def test_a_short_life_is_believed_and_none_is_no_lease(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        del scene
        method = by_key(world.gcp.add_key(PULLER))
        world.gcp.set_token_life(300)
        outcome = issued(await exchange.lease_for(order(method)))
        assert outcome.not_after == outcome.issued_at + timedelta(seconds=299)
        world.gcp.set_token_life(0)
        assert unavailable(await exchange.lease_for(order(method))).reason == "unexpected_answer"


class TestFederation:
    async def test_a_token_of_our_own_issuer_becomes_the_pools_principal(
        self, world: Clouds, scene: Scene, exchange: Exchange, issuer: Issuer
    ) -> None:
        member = trust(world, issuer)
        outcome = issued(await exchange.lease_for(order(by_federation())))

        assert outcome.principal == member
        assert await pull(world, scene, outcome) == 403
        world.gcp.grant("a-project", "europe-west3", "team", member)
        assert await pull(world, scene, outcome) == 200
        (need,) = issuer.needs
        assert need.audience.startswith(f"https://iam.googleapis.com/projects/{PROJECT_NUMBER}/locations/")
        assert [entry.subject for entry in world.log.entries(service="sts-google")] == [READ_ONLY]

    async def test_a_service_account_is_acted_as_with_a_token_that_is_good_for_nothing_else(
        self, world: Clouds, scene: Scene, exchange: Exchange, issuer: Issuer
    ) -> None:
        method = by_federation(impersonate=[PULLER])
        member = trust(world, issuer)
        outcome = refused(await exchange.lease_for(order(method)))
        assert outcome.reason == "impersonation_denied"
        assert "roles/iam.workloadIdentityUser" in outcome.remedy
        world.gcp.let_act(member, PULLER)

        outcome_now = issued(await exchange.lease_for(order(method)))
        assert outcome_now.principal == PULLER
        assert await pull(world, scene, outcome_now) == 200
        assert {entry.subject for entry in world.log.entries(service="sts-google")} == {IAM}

    async def test_an_audience_and_a_token_file_are_asked_for_as_they_are_set(
        self, world: Clouds, exchange: Exchange, issuer: Issuer
    ) -> None:
        trust(world, issuer, audiences=("https://mine.example.com",))
        assert refused(await exchange.lease_for(order(by_federation()))).reason == "audience_refused"
        method = by_federation(audience="https://mine.example.com", token_file="projected")
        issued(await exchange.lease_for(order(method)))
        assert issuer.needs[-1] == IdentityTokenNeed("https://mine.example.com", "projected")

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda world, name, _: world.gcp.disable_provider(name), "federation_config"),
            (lambda world, name, _: world.gcp.set_condition(name, "somebody else"), "federation_config"),
            (lambda _, __, issuer: issuer.changes.update(iss="https://other.test"), "federation_config"),
            (lambda _, __, issuer: issuer.changes.update(exp=1_700_000_000), "credential_expired"),
            (lambda _, __, issuer: issuer.changes.update(sub="x" * 200), "federation_config"),
        ],
    )
    async def test_what_the_pool_does_not_accept_wants_a_person(
        self,
        world: Clouds,
        exchange: Exchange,
        issuer: Issuer,
        spoil: Callable[[Clouds, str, Issuer], object],
        reason: str,
    ) -> None:
        trust(world, issuer)
        spoil(world, provider_name(*POOL.values()), issuer)
        outcome = refused(await exchange.lease_for(order(by_federation())))
        assert outcome.reason == reason
        assert outcome.remedy

    async def test_a_pool_that_is_not_there_wants_a_person(self, exchange: Exchange) -> None:
        outcome = refused(await exchange.lease_for(order(by_federation(pool="nothing"))))
        assert outcome.reason == "federation_config"

    async def test_an_issuer_that_google_cannot_reach_may_be_reached_later(
        self, world: Clouds, exchange: Exchange, issuer: Issuer
    ) -> None:
        trust(world, issuer)
        world.sites.withdraw(HOST)
        assert unavailable(await exchange.lease_for(order(by_federation()))).reason == "issuer_unreachable"

    async def test_without_an_identity_token_google_is_not_asked(
        self, world: Clouds, exchange: Exchange, issuer: Issuer
    ) -> None:
        issuer.trouble = Refused("token_file_unreadable")
        assert await exchange.lease_for(order(by_federation())) == issuer.trouble
        assert world.gateway.connects() == 0


class TestAws:
    async def test_an_access_key_proves_who_asks_by_way_of_aws(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        made = world.aws.add_user(AWS_ACCOUNT, "vreg")
        method = AwsAccessKeyFederation.model_validate(
            POOL
            | {
                "access_key_id": made.access_key_id,
                "secret_access_key": Secret(made.secret_access_key),
                "region": "eu-west-1",
            }
        )
        name = world.gcp.add_aws_provider(*POOL.values(), account=AWS_ACCOUNT)
        outcome = issued(await exchange.lease_for(order(method)))
        member = f"principal:{name.rpartition('/providers/')[0]}/subject/{made.arn}"
        world.gcp.grant("a-project", "europe-west3", "team", member)

        assert outcome.principal == made.access_key_id
        assert await pull(world, scene, outcome) == 200
        world.aws.delete_key(made.access_key_id)
        assert refused(await exchange.lease_for(order(method))).reason == "bad_credentials"

    @pytest.mark.parametrize(
        ("source", "machine"), [("container", container_on_aws), ("instance", instance_on_aws)]
    )
    async def test_the_role_of_the_machine_proves_it_too(
        self,
        world: Clouds,
        scene: Scene,
        issuer: Issuer,
        source: str,
        machine: Callable[[Clouds], dict[str, str]],
    ) -> None:
        name = world.gcp.add_aws_provider(*POOL.values(), account=BROKER_ACCOUNT)
        member = f"principalSet:{name.rpartition('/providers/')[0]}/attribute.aws_role/"
        world.gcp.let_act(f"{member}arn:aws:sts::{BROKER_ACCOUNT}:assumed-role/machine", PULLER)
        exchange = exchange_through(world, issuer, machine(world))
        outcome = await exchange.lease_for(order(by_machine(source, impersonate=[PULLER])))
        assert await pull(world, scene, outcome) == 200
        assert world.log.count(operation="InstanceMetadataV1") == 0

    async def test_a_machine_without_a_role_wants_a_person(self, world: Clouds) -> None:
        environment = container_on_aws(world) | instance_on_aws(world)
        world.aws.dissociate_pod(environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
        world.aws.set_instance_role(None)
        exchange = exchange_through(world, environment=environment)
        outcome = refused(await exchange.lease_for(order(by_machine("container"))))
        assert (outcome.reason, "Pod Identity" in outcome.remedy) == ("no_ambient_identity", True)
        outcome = refused(await exchange.lease_for(order(by_machine("instance"))))
        assert (outcome.reason, "instance profile" in outcome.remedy) == ("no_ambient_identity", True)
        world.aws.set_instance_put(status=403)
        outcome = refused(await exchange.lease_for(order(by_machine("instance"))))
        assert (outcome.reason, "--http-endpoint enabled" in outcome.remedy) == ("no_ambient_identity", True)

    @pytest.mark.parametrize(
        ("source", "environment"),
        [
            ("container", {}),
            ("container", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/creds"}),
            ("container", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "file:///etc"}),
            ("instance", {"AWS_EC2_METADATA_DISABLED": "true"}),
        ],
    )
    async def test_a_machine_that_is_told_of_no_role_asks_nobody(
        self, world: Clouds, source: str, environment: Mapping[str, str]
    ) -> None:
        exchange = exchange_through(world, environment=environment)
        outcome = refused(await exchange.lease_for(order(by_machine(source))))
        assert outcome.reason == "no_ambient_identity"
        assert outcome.remedy
        assert world.gateway.connects() == 0

    @pytest.mark.parametrize("source", ["container", "instance"])
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Fault(Harm.THROTTLE, retry_after=7), "throttled"),
            (Fault(Harm.FAIL, status=503), "upstream_error"),
        ],
    )
    async def test_a_machine_that_is_unwell_may_answer_later(
        self, world: Clouds, source: str, fault: Fault, reason: str
    ) -> None:
        world.faults.add(replace(fault, service=f"aws-{source}"))
        environment = container_on_aws(world) | instance_on_aws(world)
        outcome = await exchange_through(world, environment=environment).lease_for(order(by_machine(source)))
        assert unavailable(outcome).reason == reason
        assert unavailable(outcome).retry_after == fault.retry_after

    async def test_an_instance_that_is_silent_may_be_too_many_hops_away(self, world: Clouds) -> None:
        world.aws.set_instance_put(is_too_far=True)
        exchange = exchange_through(world, environment=instance_on_aws(world))
        outcome = unavailable(await exchange.lease_for(order(by_machine("instance"))))
        assert (outcome.reason, "hop-limit 2" in outcome.detail) == ("timeout", True)


class TestImpersonation:
    async def test_a_key_acts_along_a_chain(self, world: Clouds, scene: Scene, exchange: Exchange) -> None:
        key = world.gcp.add_key(BROKER)
        world.gcp.let_act(f"serviceAccount:{BROKER}", MIDDLE)
        world.gcp.let_act(f"serviceAccount:{MIDDLE}", PULLER)
        outcome = issued(await exchange.lease_for(order(by_impersonation(key, MIDDLE, PULLER))))

        assert outcome.principal == PULLER
        assert await pull(world, scene, outcome) == 200
        assert world.log.count(service="iamcredentials") == 1
        direct = refused(await exchange.lease_for(order(by_impersonation(key, PULLER))))
        assert direct.reason == "impersonation_denied"

    async def test_a_longer_life_needs_the_organisations_policy(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        del scene
        method = by_impersonation(world.gcp.add_key(BROKER), PULLER, seconds=43200)
        world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
        assert refused(await exchange.lease_for(order(method))).reason == "settings_invalid"
        world.gcp.set_longest_life(PULLER, 43200)
        world.gcp.set_token_life(43200)
        outcome = issued(await exchange.lease_for(order(method)))
        assert outcome.not_after is not None
        assert outcome.not_after - outcome.issued_at > timedelta(hours=11)

    async def test_an_api_that_is_not_enabled_is_named(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        del scene
        world.gcp.disable_service("iamcredentials")
        method = by_impersonation(world.gcp.add_key(BROKER), PULLER)
        outcome = refused(await exchange.lease_for(order(method)))
        assert outcome.reason == "settings_invalid"
        assert "gcloud services enable" in outcome.remedy

    async def test_an_end_is_read_by_googles_own_clock(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        del scene
        world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
        world.gcp.set_clock_offset(200)
        method = by_impersonation(world.gcp.add_key(BROKER), PULLER)
        outcome = issued(await exchange.lease_for(order(method)))
        assert outcome.not_after is not None
        life = outcome.not_after - outcome.issued_at
        assert timedelta(minutes=59) < life <= timedelta(hours=1, seconds=2)


class TestMetadata:
    async def test_the_machines_own_account_is_used_and_nothing_leaves_through_the_proxy(
        self, world: Clouds, scene: Scene
    ) -> None:
        world.gcp.set_machine(PULLER)
        outcome = await exchange_through(world, environment=on_machine(world)).lease_for(order(Metadata()))
        assert issued(outcome).principal == PULLER
        assert world.gateway.connects() == 0
        assert await pull(world, scene, outcome) == 200

    async def test_it_may_act_as_another(self, world: Clouds, scene: Scene) -> None:
        world.gcp.set_machine(BROKER)
        world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
        exchange = exchange_through(world, environment=on_machine(world))
        outcome = await exchange.lease_for(order(Metadata(impersonate=(PULLER,))))
        assert issued(outcome).principal == PULLER
        assert await pull(world, scene, outcome) == 200

    async def test_a_machine_without_account_and_a_pod_without_right_want_a_person(
        self, world: Clouds
    ) -> None:
        exchange = exchange_through(world, environment=on_machine(world))
        assert refused(await exchange.lease_for(order(Metadata()))).reason == "no_ambient_identity"
        world.gcp.set_machine(PULLER)
        world.gcp.refuse_machine(403, "IAM returned 403: iam.serviceAccounts.getAccessToken is denied")
        outcome = refused(await exchange.lease_for(order(Metadata())))
        assert outcome.reason == "impersonation_denied"
        assert "workloadIdentityUser" in outcome.remedy

    async def test_whoever_else_answers_there_is_not_believed(self, world: Clouds) -> None:
        host = world.local["aws-instance"].removeprefix("http://")
        exchange = exchange_through(world, environment={"GCE_METADATA_HOST": host})
        assert unavailable(await exchange.lease_for(order(Metadata()))).reason == "unexpected_answer"

    @pytest.mark.parametrize("host", ["a/b", "user@host", "a?b", "http://host", "a b"])
    async def test_a_metadata_host_that_is_none_is_not_asked(self, world: Clouds, host: str) -> None:
        exchange = exchange_through(world, environment={"GCE_METADATA_HOST": host})
        assert refused(await exchange.lease_for(order(Metadata()))).reason == "no_ambient_identity"


class TestTrouble:
    @pytest.mark.parametrize("service", ["oauth2", "iamcredentials"])
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Fault(Harm.THROTTLE, retry_after=7), "throttled"),
            (Fault(Harm.FAIL, status=500), "upstream_error"),
            (Fault(Harm.FAIL, status=502), "upstream_error"),
            (Fault(Harm.FAIL, status=503), "upstream_error"),
            (Fault(Harm.DROP), "connection_failed"),
            (Fault(Harm.UNREACHABLE), "proxy_refused"),
            (Fault(Harm.UNTRUSTED), "tls_failed"),
            (Fault(Harm.OUTDATED), "tls_failed"),
        ],
    )
    async def test_what_may_pass_is_unavailable_and_asked_exactly_once(  # noqa: PLR0913, PLR0917 - two tables
        self, world: Clouds, scene: Scene, exchange: Exchange, service: str, fault: Fault, reason: str
    ) -> None:
        del scene
        host = f"{service}.googleapis.com"
        world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
        method = by_impersonation(world.gcp.add_key(BROKER), PULLER)
        world.faults.add(replace(fault, host=host))
        outcome = unavailable(await exchange.lease_for(order(method)))
        assert outcome.reason == reason
        assert outcome.retry_after == fault.retry_after
        assert world.faults.waiting() == ()
        assert world.log.count(host=host) <= 1
        issued(await exchange.lease_for(order(method)))

    async def test_a_silent_google_is_given_up_and_stalls_nobody(
        self, world: Clouds, scene: Scene, exchange: Exchange
    ) -> None:
        del scene
        method = by_key(world.gcp.add_key(PULLER))
        world.faults.add(Fault(Harm.LATENCY, service="oauth2", seconds=60.0))
        silent = asyncio.create_task(exchange.lease_for(order(method)))
        await eventually(lambda: not world.faults.waiting())
        issued(await exchange.lease_for(order(method)))
        assert not silent.done()
        assert unavailable(await silent).reason == "timeout"

    async def test_an_answer_that_breaks_off_or_is_spoilt_is_no_token(
        self, world: Clouds, scene: Scene
    ) -> None:
        del scene
        world.gcp.set_machine(PULLER)
        exchange = exchange_through(world, environment=on_machine(world))
        for harm in (Harm.TRUNCATE, Harm.RESET):
            world.faults.add(Fault(harm, service="gcp-metadata", path="*/token", after_bytes=10))
            unavailable(await exchange.lease_for(order(Metadata())))
        world.faults.add(Fault(Harm.CORRUPT, service="gcp-metadata", path="*/token", after_bytes=0))
        assert unavailable(await exchange.lease_for(order(Metadata()))).reason == "unexpected_answer"

    async def test_no_secret_stands_in_what_is_told(
        self, world: Clouds, scene: Scene, exchange: Exchange, issuer: Issuer
    ) -> None:
        del scene
        key = world.gcp.add_key(PULLER)
        issuer.changes["aud"] = "ya29." + "s" * 60
        trust(world, issuer)
        outcomes = [
            await exchange.lease_for(order(by_key(key))),
            await exchange.lease_for(order(by_key(replace(key, private_key_id="other")))),
            await exchange.lease_for(order(by_federation())),
        ]
        world.faults.add(Fault(Harm.UNREACHABLE))
        outcomes.append(await exchange.lease_for(order(by_key(key))))
        text = repr(outcomes)
        assert issued(outcomes[0]).credential.secret.reveal() not in text
        assert key.private_key.splitlines()[1] not in text
        assert "s" * 60 not in text
        assert "********" in refused(outcomes[2]).detail

    async def test_a_method_of_another_cloud_is_refused(self, exchange: Exchange) -> None:
        stranger = catalogue().providers[0].examples[0].method
        assert refused(await exchange.lease_for(order(stranger))).is_final
