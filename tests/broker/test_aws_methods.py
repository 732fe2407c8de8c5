"""Every way to be somebody in AWS, as the broker's own exchange goes it: where it begins, and the roles."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.broker.aws_climbs import IDENTITY, Signs, by_role, exchange_through, order, refused, unavailable
from tests.clouds import issuer
from tests.clouds.aws.model import Federation
from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.clouds.issuer import TestIssuer
from tests.clouds.scene import ACCOUNT, EXTERNAL_ID, OTHER_ACCOUNT, REGION, Scene, set_scene
from vreg_shared.auth_method import IdentityTokenNeed
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.providers.aws import AwsUsableFor
from vreg_shared.providers.aws.auth_methods import Container, Instance, WebIdentity
from vreg_shared.providers.aws.hosts import EcrHost
from vreg_shared.secret import Secret
from vreg_token_broker.answers import NoAnswerError
from vreg_token_broker.exchange import Exchange, IdentityTokenError, Issued, Unavailable
from vreg_token_broker.exchanges.aws.client import AwsClient, Route
from vreg_token_broker.exchanges.aws.machine import Machine
from vreg_token_broker.exchanges.aws.rungs import AwsKeys, Budget

AUDIENCE = "sts.amazonaws.com"
SUBJECT = f"vreg:identity:{IDENTITY}"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
SERVICES = ("pods.eks.amazonaws.com", "ec2.amazonaws.com")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@asynccontextmanager
async def serving(body: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve this body to whoever comes, in clear unless there is a context."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    async with server:
        yield f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/creds"


class NoTokens:
    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        raise IdentityTokenError(Unavailable("issuer_not_ready", f"{identity_id} {need.audience}"))


async def reads(world: Clouds, outcome: object, repository: str, account: str = ACCOUNT) -> int:
    """Return the status that a credential gets for the tags of a repository."""
    assert isinstance(outcome, Issued), outcome
    host = world.aws.host(account, REGION)
    async with world.http_client() as client:
        answer = await client.get(
            f"https://{host}/v2/{repository}/manifests/1",
            auth=(outcome.credential.username, outcome.credential.secret.reveal()),
        )
    return answer.status_code


class TestWebIdentity:
    @pytest.fixture
    def own(self, world: Clouds) -> TestIssuer:
        made = TestIssuer()
        world.sites.serve(issuer.HOST, made.documents())
        return made

    @pytest.fixture
    def method(self, world: Clouds, own: TestIssuer) -> WebIdentity:
        world.aws.add_oidc_provider(ACCOUNT, own.url, audiences=(AUDIENCE,))
        trust = Federation(own.url, AUDIENCE, SUBJECT)
        role = world.aws.add_role(ACCOUNT, "keyless", federations=(trust,), allow=may_pull())
        return WebIdentity(role_arn=role)

    async def test_a_signed_token_becomes_a_registry_credential(
        self, world: Clouds, own: TestIssuer, method: WebIdentity, tmp_path: Path
    ) -> None:
        signs = Signs(own)
        exchange = exchange_through(world, tmp_path, identity_tokens=signs)

        outcome = await exchange.lease_for(order(method, HOST))

        assert isinstance(outcome, Issued), outcome
        assert outcome.principal == f"arn:aws:sts::{ACCOUNT}:assumed-role/keyless/vreg-{IDENTITY}"
        assert len(outcome.request_ids) == 2
        assert signs.asked == [IdentityTokenNeed(AUDIENCE)]
        (entry,) = world.log.entries(service="sts")
        assert (entry.operation, entry.has_authorization) == ("AssumeRoleWithWebIdentity", False)

    async def test_a_file_and_another_audience_are_asked_for_by_name(
        self, world: Clouds, own: TestIssuer, method: WebIdentity, tmp_path: Path
    ) -> None:
        signs = Signs(own)
        world.aws.add_oidc_provider(ACCOUNT, own.url, audiences=("another",))
        of_file = method.model_copy(update={"audience": "another", "token_file": "irsa"})

        outcome = await exchange_through(world, tmp_path, identity_tokens=signs).lease_for(
            order(of_file, HOST)
        )

        assert signs.asked == [IdentityTokenNeed("another", "irsa")]
        assert refused(outcome).reason == "permission_denied", "the role's trust names the usual audience"

    async def test_a_token_that_ended_on_the_way_is_made_once_more(
        self, world: Clouds, own: TestIssuer, method: WebIdentity, tmp_path: Path
    ) -> None:
        signs = Signs(own, {"exp": 1})
        exchange = exchange_through(world, tmp_path, identity_tokens=signs)

        assert isinstance(await exchange.lease_for(order(method, HOST)), Issued)
        assert len(signs.asked) == 2

        always = Signs(own, {"exp": 1}, {"exp": 1}, {"exp": 1})
        exchange = exchange_through(world, tmp_path, identity_tokens=always)
        outcome = refused(await exchange.lease_for(order(method, HOST)))
        assert (outcome.reason, len(always.asked)) == ("credential_expired", 2)

    @pytest.mark.parametrize(
        ("changes", "reason", "word"),
        [
            ({"sub": "somebody-else"}, "permission_denied", "trust policy"),
            ({"aud": "somebody-else"}, "audience_refused", "client-id"),
            ({"iss": "https://stranger.example.test"}, "federation_config", "OIDC provider"),
        ],
    )
    async def test_trust_that_does_not_fit_is_told_with_what_to_correct(  # noqa: PLR0913, PLR0917 - columns
        self,
        world: Clouds,
        own: TestIssuer,
        method: WebIdentity,
        tmp_path: Path,
        changes: dict[str, object],
        reason: str,
        word: str,
    ) -> None:
        exchange = exchange_through(world, tmp_path, identity_tokens=Signs(own, changes))

        outcome = refused(await exchange.lease_for(order(method, HOST)))

        assert outcome.reason == reason
        assert word in outcome.remedy + outcome.detail
        assert world.log.count(service="sts") == 1

    async def test_an_issuer_that_aws_cannot_reach_is_tried_again_later(
        self, world: Clouds, own: TestIssuer, method: WebIdentity, tmp_path: Path
    ) -> None:
        world.sites.withdraw(issuer.HOST)
        exchange = exchange_through(world, tmp_path, identity_tokens=Signs(own))

        assert unavailable(await exchange.lease_for(order(method, HOST))).reason == "issuer_unreachable"
        world.sites.serve(issuer.HOST, own.documents())
        assert isinstance(await exchange.lease_for(order(method, HOST)), Issued)

    async def test_a_rejected_claim_wants_a_person(
        self, world: Clouds, own: TestIssuer, method: WebIdentity, tmp_path: Path
    ) -> None:
        world.aws.reject_claims_of(own.url)
        exchange = exchange_through(world, tmp_path, identity_tokens=Signs(own))

        assert refused(await exchange.lease_for(order(method, HOST))).reason == "federation_config"

    async def test_without_a_token_nobody_is_asked(
        self, world: Clouds, method: WebIdentity, tmp_path: Path
    ) -> None:
        exchange = exchange_through(world, tmp_path, identity_tokens=NoTokens())

        assert unavailable(await exchange.lease_for(order(method, HOST))).reason == "issuer_not_ready"
        assert world.gateway.connects() == 0

    async def test_a_chain_may_begin_with_a_token(
        self, world: Clouds, own: TestIssuer, method: WebIdentity, tmp_path: Path
    ) -> None:
        there = world.aws.add_role(
            OTHER_ACCOUNT,
            "there",
            trusts=(method.role_arn,),
            external_id=EXTERNAL_ID,
            allow=may_pull(),
        )
        world.aws.set_policy(method.role_arn, may_assume(there))
        chained = method.model_copy(update={"further_role_arns": (there,)})
        exchange = exchange_through(world, tmp_path, identity_tokens=Signs(own))

        outcome = await exchange.lease_for(order(chained, world.aws.host(OTHER_ACCOUNT, REGION)))

        assert isinstance(outcome, Issued), outcome
        assert outcome.principal.startswith(f"arn:aws:sts::{OTHER_ACCOUNT}:assumed-role/there/")
        operations = [entry.operation for entry in world.log.entries(service="sts")]
        assert operations == ["AssumeRoleWithWebIdentity", "AssumeRole"]


class TestChains:
    @pytest.fixture
    def scene(self, world: Clouds) -> Scene:
        return set_scene(world)

    @pytest.fixture
    def there(self, world: Clouds, scene: Scene) -> str:
        role = world.aws.add_role(
            OTHER_ACCOUNT, "there", trusts=(scene.role_arn,), external_id=EXTERNAL_ID, allow=may_pull()
        )
        world.aws.set_policy(scene.role_arn, may_assume(role))
        return role

    async def test_each_role_is_assumed_with_the_session_before_it_and_the_external_id(
        self, world: Clouds, scene: Scene, there: str, tmp_path: Path
    ) -> None:
        last = world.aws.add_role(
            OTHER_ACCOUNT, "last", trusts=(there,), external_id=EXTERNAL_ID, allow=may_pull()
        )
        world.aws.set_policy(there, may_assume(last))
        method = by_role(scene, further_role_arns=(there, last))

        outcome = await exchange_through(world, tmp_path).lease_for(
            order(method, world.aws.host(OTHER_ACCOUNT, REGION))
        )

        assert isinstance(outcome, Issued), outcome
        assert outcome.principal == f"arn:aws:sts::{OTHER_ACCOUNT}:assumed-role/last/vreg-{IDENTITY}"
        assert len(set(outcome.request_ids)) == 4
        asked = [entry.subject for entry in world.log.entries(operation="AssumeRole")]
        assert asked == [scene.role_arn, there, last]

    async def test_a_link_that_does_not_hold_is_named(
        self, world: Clouds, scene: Scene, there: str, tmp_path: Path
    ) -> None:
        method = by_role(scene, further_role_arns=(there,))
        world.aws.set_policy(scene.role_arn, ())

        outcome = refused(await exchange_through(world, tmp_path).lease_for(order(method, HOST)))

        assert outcome.reason == "permission_denied"
        assert there in outcome.detail
        assert "the role before it in the chain" in outcome.remedy

    async def test_aws_itself_ends_a_chain_within_the_hour(
        self, world: Clouds, scene: Scene, there: str, tmp_path: Path
    ) -> None:
        world.aws.add_role(
            ACCOUNT,
            "vreg-pull",
            trusts=(scene.key.arn,),
            external_id=EXTERNAL_ID,
            allow=may_assume(there),
            max_session_seconds=43200,
        )
        method = by_role(scene, further_role_arns=(there,), duration_seconds=3601)

        outcome = refused(await exchange_through(world, tmp_path).lease_for(order(method, HOST)))

        assert outcome.reason == "settings_invalid"
        assert "role chaining" in outcome.detail

    async def test_a_link_of_another_partition_is_refused_before_anybody_is_asked(
        self, world: Clouds, scene: Scene, tmp_path: Path
    ) -> None:
        method = by_role(scene, further_role_arns=(f"arn:aws-cn:iam::{OTHER_ACCOUNT}:role/there",))

        outcome = refused(await exchange_through(world, tmp_path).lease_for(order(method, HOST)))

        assert outcome.reason == "partition_mismatch"
        assert world.gateway.connects() == 0


class TestSessionPolicies:
    @pytest.fixture
    def scene(self, world: Clouds) -> Scene:
        for name in ("team/a", "team/b"):
            world.ecr(ACCOUNT, REGION, name).push(make_image(name), "1")
        return set_scene(world)

    async def test_a_limited_token_reads_what_the_identity_names_and_nothing_else_the_role_may(
        self, world: Clouds, scene: Scene, tmp_path: Path
    ) -> None:
        usable_for = AwsUsableFor(accounts=(ACCOUNT,))
        exchange = exchange_through(world, tmp_path)

        wide = await exchange.lease_for(order(by_role(scene), HOST, usable_for=usable_for))
        narrow = await exchange.lease_for(
            order(by_role(scene, repositories=("team/a*",)), HOST, usable_for=usable_for)
        )

        assert [await reads(world, wide, name) for name in ("team/a", "team/b")] == [200, 200]
        assert [await reads(world, narrow, name) for name in ("team/a", "team/b")] == [200, 403]

    async def test_the_session_before_the_last_one_is_not_limited(
        self, world: Clouds, scene: Scene, tmp_path: Path
    ) -> None:
        last = world.aws.add_role(ACCOUNT, "last", trusts=(scene.role_arn,), allow=may_pull())
        world.aws.set_policy(scene.role_arn, may_assume(last))
        method = by_role(scene, further_role_arns=(last,), repositories=("team/a",))

        outcome = await exchange_through(world, tmp_path).lease_for(
            order(method, HOST, usable_for=AwsUsableFor(accounts=(ACCOUNT,)))
        )

        assert [await reads(world, outcome, name) for name in ("team/a", "team/b")] == [200, 403]

    async def test_a_policy_that_does_not_fit_once_packed_wants_fewer_patterns(
        self, world: Clouds, scene: Scene, tmp_path: Path
    ) -> None:
        world.aws.set_packed_policy_limit(100)
        asked = order(
            by_role(scene, repositories=("team/a",)), HOST, usable_for=AwsUsableFor(accounts=(ACCOUNT,))
        )

        outcome = refused(await exchange_through(world, tmp_path).lease_for(asked))

        assert outcome.reason == "settings_invalid"
        assert "fewer patterns" in outcome.remedy

    async def test_a_limit_that_cannot_be_written_is_never_left_out(
        self, world: Clouds, scene: Scene, tmp_path: Path
    ) -> None:
        asked = order(by_role(scene, repositories=("team/a",)), HOST)

        assert refused(await exchange_through(world, tmp_path).lease_for(asked)).is_final
        assert world.gateway.connects() == 0


class TestContainer:
    @pytest.fixture
    def role(self, world: Clouds) -> str:
        return world.aws.add_role(ACCOUNT, "pod", trusts=SERVICES, allow=may_pull())

    def address(self, world: Clouds) -> str:
        return f"{world.local['aws-container']}/v1/credentials"

    async def test_the_pods_own_role_pulls(self, world: Clouds, role: str, tmp_path: Path) -> None:
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.address(world),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": world.aws.associate_pod(role),
        }

        outcome = await exchange_through(world, tmp_path, environment=environment).lease_for(
            order(Container(), HOST)
        )

        assert isinstance(outcome, Issued), outcome
        assert outcome.principal == ACCOUNT
        assert world.log.count(service="sts") == 0

    async def test_the_token_file_wins_is_read_anew_and_may_end_with_a_newline(
        self, world: Clouds, role: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.address(world),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "an old one",
        }
        exchange = exchange_through(world, tmp_path, environment=environment)
        first = world.aws.associate_pod(role)
        file.write_text(first + "\n")
        assert isinstance(await exchange.lease_for(order(Container(), HOST)), Issued)
        world.aws.dissociate_pod(first)
        file.write_text(world.aws.associate_pod(role) + "\r\n")
        assert isinstance(await exchange.lease_for(order(Container(), HOST)), Issued)
        file.unlink()
        assert refused(await exchange.lease_for(order(Container(), HOST))).reason == "no_ambient_identity"

    @pytest.mark.parametrize(
        "environment",
        [
            {},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/v1/credentials"},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.169.254/v1/credentials"},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost.evil.example/"},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1@evil.example/"},
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "file:///etc/passwd"},
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@evil.example/"},
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ".evil.example/"},
        ],
    )
    async def test_credentials_in_clear_are_asked_of_this_machine_alone(
        self, world: Clouds, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        exchange = exchange_through(world, tmp_path, environment=environment)

        outcome = refused(await exchange.lease_for(order(Container(), HOST)))

        assert outcome.reason == "no_ambient_identity"
        assert "Pod Identity" in outcome.remedy

    async def test_a_pod_without_a_role_wants_a_person(
        self, world: Clouds, role: str, tmp_path: Path
    ) -> None:
        token = world.aws.associate_pod(role)
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.address(world),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
        world.aws.dissociate_pod(token)
        exchange = exchange_through(world, tmp_path, environment=environment)

        outcome = refused(await exchange.lease_for(order(Container(), HOST)))

        assert outcome.reason == "no_ambient_identity"
        assert token not in repr(outcome)

    async def test_credentials_that_ended_are_asked_for_once_more(
        self, world: Clouds, role: str, tmp_path: Path
    ) -> None:
        world.aws.set_machine_session_life(-10.0)
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.address(world),
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": world.aws.associate_pod(role),
        }
        exchange = exchange_through(world, tmp_path, environment=environment)

        assert refused(await exchange.lease_for(order(Container(), HOST))).reason == "credential_expired"
        assert world.log.count(service="aws-container") == 2

    async def test_an_answer_without_end_or_sense_is_given_up(self, world: Clouds, tmp_path: Path) -> None:
        bodies = [b"x" * 100_000, b"[]", b"{}", b'{"AccessKeyId": "A", "SecretAccessKey": "", "Token": "t"}']
        for body in bodies:
            async with serving(body) as origin:
                environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": origin}
                exchange = exchange_through(world, tmp_path, environment=environment)
                outcome = unavailable(await exchange.lease_for(order(Container(), HOST)))
                assert outcome.reason == "unexpected_answer"

    async def test_an_https_address_is_believed_by_the_brokers_authorities_alone(
        self, tmp_path: Path
    ) -> None:
        authority, bundle = trustme.CA(), tmp_path / "trust.pem"
        authority.cert_pem.write_to_path(str(bundle))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        body = b'{"AccessKeyId": "A", "SecretAccessKey": "s", "Token": "t", "RoleArn": "arn:r"}'
        async with serving(body, context) as origin:
            environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": origin}
            budget = Budget.begin(SystemClock())
            session = await Machine(environment, str(bundle)).container(budget)
            with pytest.raises(NoAnswerError) as caught:
                await Machine(environment).container(budget)
        assert (session.keys.access_key_id, session.principal) == ("A", "arn:r")
        assert caught.value.outcome.reason == "tls_failed"


class TestInstance:
    @pytest.fixture
    def exchange(self, world: Clouds, tmp_path: Path) -> Exchange:
        environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": world.local["aws-instance"]}
        return exchange_through(world, tmp_path, environment=environment)

    @pytest.fixture
    def role(self, world: Clouds) -> str:
        arn = world.aws.add_role(ACCOUNT, "instance", trusts=SERVICES, allow=may_pull())
        world.aws.set_instance_role(arn)
        return arn

    async def test_the_instances_own_role_pulls(self, world: Clouds, role: str, exchange: Exchange) -> None:
        outcome = await exchange.lease_for(order(Instance(), HOST))

        assert isinstance(outcome, Issued), outcome
        assert outcome.principal == role.rpartition("/")[2]
        assert world.log.count(operation="InstanceMetadataV1") == 0

    @pytest.mark.parametrize("status", [403, 404, 405])
    async def test_version_one_is_never_fallen_back_to(
        self, world: Clouds, role: str, exchange: Exchange, status: int
    ) -> None:
        assert role
        world.aws.set_instance_put(status=status)

        outcome = refused(await exchange.lease_for(order(Instance(), HOST)))

        assert outcome.reason == "no_ambient_identity"
        assert "modify-instance-metadata-options" in outcome.remedy
        assert world.log.count(operation="InstanceMetadataV1") == 0

    async def test_an_answer_lost_on_the_way_tells_of_the_hop_limit(
        self, world: Clouds, role: str, exchange: Exchange
    ) -> None:
        assert role
        world.aws.set_instance_put(is_too_far=True)

        outcome = unavailable(await exchange.lease_for(order(Instance(), HOST)))

        assert outcome.reason == "timeout"
        assert "--http-put-response-hop-limit 2" in outcome.detail

    async def test_a_machine_that_is_asked_too_often_says_when_to_come_back(
        self, world: Clouds, exchange: Exchange
    ) -> None:
        world.faults.add(Fault(Harm.THROTTLE, service="aws-instance", retry_after=7))

        outcome = unavailable(await exchange.lease_for(order(Instance(), HOST)))

        assert (outcome.reason, outcome.retry_after) == ("throttled", 7.0)

    async def test_an_instance_without_a_role_or_trust_wants_a_person(
        self, world: Clouds, exchange: Exchange
    ) -> None:
        outcome = refused(await exchange.lease_for(order(Instance(), HOST)))
        assert (outcome.reason, "instance profile" in outcome.remedy) == ("no_ambient_identity", True)

        world.aws.set_instance_role(world.aws.add_role(ACCOUNT, "untrusting", allow=may_pull()))
        outcome = refused(await exchange.lease_for(order(Instance(), HOST)))
        assert (outcome.reason, "ec2.amazonaws.com" in outcome.remedy) == ("permission_denied", True)

    @pytest.mark.parametrize(
        "changes",
        [
            {"AWS_EC2_METADATA_DISABLED": "true"},
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "169.254.169.254"},
        ],
    )
    async def test_a_service_that_is_switched_off_or_misnamed_is_not_asked(
        self, world: Clouds, tmp_path: Path, changes: dict[str, str]
    ) -> None:
        environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": world.local["aws-instance"]} | changes
        exchange = exchange_through(world, tmp_path, environment=environment)

        assert refused(await exchange.lease_for(order(Instance(), HOST))).reason == "no_ambient_identity"
        assert world.log.count(service="aws-instance") == 0


async def test_a_call_whose_time_is_up_is_not_made(world: Clouds) -> None:
    client, clock = AwsClient(Route(EgressPolicy())), SystemClock()
    budget = Budget.begin(clock, 0.0)

    with pytest.raises(NoAnswerError) as caught:
        client.call("sts:AssumeRole", EcrHost.parse(HOST), AwsKeys("A", Secret("s")), {}, budget)

    assert caught.value.outcome.reason == "timeout"
    assert world.gateway.connects() == 0
