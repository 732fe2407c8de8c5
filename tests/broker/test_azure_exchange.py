"""The broker's Azure exchange through the egress gateway, to emulated Entra, machines and registries."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.clouds import issuer
from tests.clouds.azure.machine import APP_SERVICE, IMDS
from tests.clouds.azure_scene import AzureScene, MadeCertificate, make_certificate, set_azure_scene
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.provider import Presentation
from vreg_shared.providers.azure.auth_methods import (
    ClientCertificate,
    ClientSecret,
    ManagedIdentity,
    WorkloadIdentity,
)
from vreg_shared.providers.azure.registry import NOBODY
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
from vreg_token_broker.exchanges.azure.claims import claims_of, lifetime, principal_of

IDENTITY = "01JDEXAMPLEEXAMPLEEXAMPLE0"
SUBJECT = f"vreg:identity:{IDENTITY}"
AUDIENCE = "api://AzureADTokenExchange"
OWN = issuer.TestIssuer()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Tokens:
    """Identity tokens by an issuer of the test's own; `claims` change what they say."""

    def __init__(self) -> None:
        self.own = OWN
        self.claims: dict[str, object] = {}
        self.asked: list[IdentityTokenNeed] = []

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        assert identity_id == IDENTITY
        self.asked.append(need)
        now = int(datetime.now(UTC).timestamp())
        claims = {"sub": SUBJECT, "aud": need.audience, "iat": now, "exp": now + 300} | self.claims
        return Secret(self.own.token(**claims))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> AzureScene:
    return set_azure_scene(world)


@pytest.fixture
def tokens(world: Clouds) -> Tokens:
    made = Tokens()
    world.sites.serve(issuer.HOST, made.own.documents())
    return made


@pytest.fixture
def exchange(world: Clouds, tokens: Tokens) -> Exchange:
    return exchange_through(world, tokens)


def exchange_through(
    world: Clouds, tokens: Tokens | None = None, environment: Mapping[str, str] | None = None
) -> Exchange:
    """Return the broker's own Azure exchange, set up as an operator would behind this gateway."""
    settings = EgressSettings(https_proxy=world.gateway_url, ca_bundle=world.ca_bundle, no_proxy="127.0.0.1")
    policy = EgressPolicy.from_settings(settings)
    made = ExchangeWorld(
        SystemClock(), policy, identity_tokens=tokens or Tokens(), environment=environment or {}
    )
    return find_exchanges(catalogue(), made)["azure"]


def by_secret(scene: AzureScene, **changes: str) -> ClientSecret:
    known = {"tenant_id": scene.tenant, "client_id": scene.app.client_id, "client_secret": scene.secret}
    return ClientSecret.model_validate(known | changes)


def by_certificate(scene: AzureScene, made: MadeCertificate) -> ClientCertificate:
    return ClientCertificate(
        tenant_id=scene.tenant,
        client_id=scene.app.client_id,
        certificate=made.certificate,
        private_key=Secret(made.private_key),
    )


def by_federation(scene: AzureScene, **changes: str) -> WorkloadIdentity:
    known = {"tenant_id": scene.tenant, "client_id": scene.app.client_id}
    return WorkloadIdentity.model_validate(known | changes)


def order(method: AuthMethod, host: str) -> ExchangeOrder:
    return ExchangeOrder(IDENTITY, "an-external-id", method, catalogue().kind("acr"), host)


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused), outcome
    return outcome


def unavailable(outcome: Outcome) -> Unavailable:
    assert isinstance(outcome, Unavailable), outcome
    return outcome


def issued(outcome: Outcome) -> Issued:
    assert isinstance(outcome, Issued), outcome
    return outcome


async def test_a_secret_becomes_a_refresh_token_of_the_registry(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    outcome = issued(await exchange.lease_for(order(by_secret(scene), scene.host)))

    assert outcome.credential.username == NOBODY
    assert outcome.credential.presentation is Presentation.REALM
    claims = claims_of(outcome.credential.secret)
    assert (claims["grant_type"], claims["aud"]) == ("refresh_token", scene.host)
    assert outcome.principal == (
        f"application {scene.app.client_id}, object {scene.app.object_id}, tenant {scene.tenant}"
    )
    assert outcome.request_ids
    assert [entry.host for entry in world.log.entries()] == ["login.microsoftonline.com", scene.host]


async def test_its_life_is_what_is_left_of_it_and_not_what_the_back_dated_claims_say(
    scene: AzureScene, exchange: Exchange
) -> None:
    outcome = issued(await exchange.lease_for(order(by_secret(scene), scene.host)))
    claims = claims_of(outcome.credential.secret)
    assert abs(claims["exp"] - claims["iat"] - 11_700) <= 1
    assert outcome.not_after is not None
    assert abs(outcome.not_after - outcome.issued_at - timedelta(hours=3)) < timedelta(seconds=5)


async def test_a_certificate_signs_for_the_application(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    made = make_certificate()
    world.azure.set_certificates(scene.app.client_id, (make_certificate().certificate, made.certificate))
    outcome = await exchange.lease_for(order(by_certificate(scene, made), scene.host))
    assert issued(outcome).principal.startswith(f"application {scene.app.client_id}")


async def test_a_federated_token_is_asked_for_the_clouds_audience(
    world: Clouds, scene: AzureScene, exchange: Exchange, tokens: Tokens
) -> None:
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    assert issued(await exchange.lease_for(order(by_federation(scene), scene.host)))
    assert tokens.asked == [IdentityTokenNeed(AUDIENCE)]


async def test_a_token_file_is_named_to_whoever_keeps_it(
    world: Clouds, scene: AzureScene, exchange: Exchange, tokens: Tokens
) -> None:
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    await exchange.lease_for(order(by_federation(scene, token_file="aks"), scene.host))
    assert tokens.asked == [IdentityTokenNeed(AUDIENCE, "aks")]


@pytest.mark.parametrize(
    ("cloud", "authority", "domain"),
    [
        ("us_gov", "login.microsoftonline.us", "azurecr.us"),
        ("china", "login.chinacloudapi.cn", "azurecr.cn"),
    ],
)
async def test_every_cloud_has_an_authority_of_its_own(
    world: Clouds, exchange: Exchange, cloud: str, authority: str, domain: str
) -> None:
    scene = set_azure_scene(world, cloud=cloud)
    outcome = await exchange.lease_for(order(by_secret(scene, cloud=cloud), scene.host))
    assert isinstance(outcome, Issued), outcome
    assert [entry.host for entry in world.log.entries()] == [authority, f"contoso.{domain}"]


async def test_an_identity_of_another_cloud_is_refused_before_anybody_is_asked(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    outcome = refused(await exchange.lease_for(order(by_secret(scene, cloud="china"), scene.host)))
    assert (outcome.reason, outcome.is_final) == ("cloud_mismatch", True)
    assert world.gateway.connects() == 0


async def test_a_registry_of_another_subscription_needs_the_role_alone(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    other = world.azure.add_registry("fabrikam", scene.tenant, label_hash="e7ggejfuhzhgedc8")
    outcome = refused(await exchange.lease_for(order(by_secret(scene), other)))
    assert outcome.reason == "permission_denied"
    world.azure.grant(other, scene.app.object_id)
    assert issued(await exchange.lease_for(order(by_secret(scene), other)))


async def test_a_multi_tenant_application_pulls_from_another_tenant(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    customer = world.azure.add_tenant("customer.example")
    host = world.azure.add_registry("customer", customer)
    app = world.azure.add_app(scene.tenant, "vreg", is_multi_tenant=True)
    secret = world.azure.add_secret(app.client_id)
    there = by_secret(scene, tenant_id=customer, client_id=app.client_id, client_secret=secret)

    unknown = refused(await exchange.lease_for(order(there, host)))
    assert unknown.reason == "settings_invalid"
    assert "az ad sp create" in unknown.remedy

    world.azure.grant(host, world.azure.add_service_principal(app.client_id, customer))
    assert issued(await exchange.lease_for(order(there, host)))
    at_home = there.model_copy(update={"tenant_id": scene.tenant})
    assert refused(await exchange.lease_for(order(at_home, host))).reason == "tenant_mismatch"


async def test_a_tenant_may_be_named_by_its_domain(scene: AzureScene, exchange: Exchange) -> None:
    method = by_secret(scene, tenant_id="Contoso.example")
    assert issued(await exchange.lease_for(order(method, scene.host)))


@pytest.mark.parametrize(
    ("changes", "reason", "code"),
    [
        ({"client_secret": "another-secret"}, "bad_credentials", "AADSTS7000215"),
        ({"client_id": "99999999-9999-9999-9999-999999999999"}, "settings_invalid", "AADSTS700016"),
        ({"tenant_id": "99999999-9999-9999-9999-999999999999"}, "tenant_unknown", "AADSTS90002"),
    ],
)
async def test_what_entra_refuses_is_told_in_its_words_and_ours(
    scene: AzureScene, exchange: Exchange, changes: dict[str, str], reason: str, code: str
) -> None:
    outcome = refused(await exchange.lease_for(order(by_secret(scene, **changes), scene.host)))
    assert outcome.reason == reason
    assert outcome.detail.startswith(f"entra:Token: {code}: ")
    assert "Trace ID" not in outcome.detail
    assert outcome.remedy
    assert outcome.request_ids
    assert not outcome.is_final


async def test_a_secret_that_ended_is_told_apart_from_a_wrong_one(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.end_secrets(scene.app.client_id)
    outcome = refused(await exchange.lease_for(order(by_secret(scene), scene.host)))
    assert outcome.reason == "credential_expired"


async def test_a_certificate_may_be_unknown_or_have_ended(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    known, stranger, ended = (
        make_certificate(),
        make_certificate(),
        make_certificate(days=-1, begins_days_ago=9),
    )
    world.azure.set_certificates(scene.app.client_id, (known.certificate, ended.certificate))
    outcome = await exchange.lease_for(order(by_certificate(scene, stranger), scene.host))
    assert refused(outcome).reason == "bad_credentials"
    outcome = await exchange.lease_for(order(by_certificate(scene, ended), scene.host))
    assert refused(outcome).reason == "certificate_expired"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iss": "https://another.example.test"}, "AADSTS700211"),
        ({"sub": SUBJECT.lower()}, "AADSTS700213"),
        ({"aud": "api://another"}, "AADSTS700212"),
        ({"iss": "https://sts.windows.net/tenant/"}, "AADSTS700222"),
    ],
)
@pytest.mark.parametrize("names_it", [True, False])
async def test_a_federated_token_must_fit_in_all_three(  # noqa: PLR0913, PLR0917 - two tables
    world: Clouds,
    scene: AzureScene,
    exchange: Exchange,
    tokens: Tokens,
    claims: dict[str, str],
    code: str,
    names_it: bool,  # noqa: FBT001 - a column
) -> None:
    world.azure.set_names_federation_mismatch(is_so=names_it)
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    tokens.claims = dict(claims)
    outcome = refused(await exchange.lease_for(order(by_federation(scene), scene.host)))
    assert outcome.reason == "federation_config"
    assert (code if names_it or code == "AADSTS700222" else "AADSTS70021") in outcome.detail


async def test_a_federated_credential_works_some_minutes_after_it_was_made(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.set_propagation(120)
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    outcome = refused(await exchange.lease_for(order(by_federation(scene), scene.host)))
    assert outcome.reason == "federation_config"
    assert "minutes" in outcome.remedy
    assert not outcome.is_final, "the keeper asks again by itself"
    world.azure.set_clock_offset(130)
    assert issued(await exchange.lease_for(order(by_federation(scene), scene.host)))


async def test_an_issuer_that_cannot_be_reached_may_come_back(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    world.sites.withdraw(issuer.HOST)
    outcome = unavailable(await exchange.lease_for(order(by_federation(scene), scene.host)))
    assert outcome.reason == "issuer_unreachable"


async def test_without_an_identity_token_nobody_is_asked(
    world: Clouds, scene: AzureScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens()

    async def none(_identity_id: str, _need: IdentityTokenNeed) -> Secret:
        raise IdentityTokenError(Refused("issuer_not_configured", remedy="configure it"))

    monkeypatch.setattr(tokens, "token", none)
    outcome = await exchange_through(world, tokens).lease_for(order(by_federation(scene), scene.host))
    assert refused(outcome).reason == "issuer_not_configured"
    assert world.gateway.connects() == 0


async def test_a_stale_token_is_a_matter_of_clocks(
    world: Clouds, scene: AzureScene, exchange: Exchange, tokens: Tokens
) -> None:
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    tokens.claims = {"iat": 1_700_000_000, "exp": 1_700_000_300}
    outcome = refused(await exchange.lease_for(order(by_federation(scene), scene.host)))
    assert outcome.reason == "clock_skew"


async def test_the_registry_service_must_be_known_in_the_tenant(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.set_knows_audience(is_so=False)
    outcome = refused(await exchange.lease_for(order(by_secret(scene), scene.host)))
    assert outcome.reason == "audience_refused"


async def test_a_hardened_registry_takes_our_audience(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.set_arm_tokens(scene.host, is_so=False)
    assert issued(await exchange.lease_for(order(by_secret(scene), scene.host)))


async def test_acr_pull_does_not_count_where_repositories_have_permissions(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.set_abac(scene.host, is_so=True)
    outcome = refused(await exchange.lease_for(order(by_secret(scene), scene.host)))
    assert outcome.reason == "permission_denied"
    assert "Container Registry Repository Reader" in outcome.remedy
    role = "Container Registry Repository Reader"
    world.azure.grant(scene.host, scene.app.object_id, role, repositories=("team-a/*",))
    assert issued(await exchange.lease_for(order(by_secret(scene), scene.host)))


async def test_a_firewall_is_no_refusal_of_our_credential(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.set_firewall(scene.host, "203.0.113.7")
    outcome = unavailable(await exchange.lease_for(order(by_secret(scene), scene.host)))
    assert outcome.reason == "network_firewall"
    assert "203.0.113.7" in outcome.detail


async def test_a_registry_that_is_gone_is_not_a_refusal(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.delete_registry(scene.host)
    assert unavailable(await exchange.lease_for(order(by_secret(scene), scene.host)))


async def test_a_registry_that_refuses_our_token_by_its_clock_says_so(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    world.azure.set_life(entra=-10)
    assert refused(await exchange.lease_for(order(by_secret(scene), scene.host))).reason == "tenant_mismatch"
    world.azure.set_clock_offset(3600)
    assert refused(await exchange.lease_for(order(by_secret(scene), scene.host))).reason == "clock_skew"


@pytest.mark.parametrize(("ahead", "hours"), [(600.0, 3), (-600.0, 3 - 600 / 3600), (-4 * 3600.0, None)])
async def test_a_clock_that_differs_never_makes_a_lease_longer(
    world: Clouds, scene: AzureScene, exchange: Exchange, ahead: float, hours: float | None
) -> None:
    world.azure.add_secret(scene.app.client_id)
    world.azure.set_clock_offset(ahead)
    outcome = await exchange.lease_for(order(by_secret(scene), scene.host))
    if hours is None:
        assert unavailable(outcome).reason == "clock_skew"
        return
    lease = issued(outcome)
    assert lease.not_after is not None
    assert abs(lease.not_after - lease.issued_at - timedelta(hours=hours)) < timedelta(seconds=5)


class TestManagedIdentity:
    """`machine` is what the platform tells a process on it."""

    @pytest.fixture
    def machine(self, world: Clouds) -> dict[str, str]:
        return {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": world.local[IMDS],
            "IDENTITY_ENDPOINT": f"{world.local[APP_SERVICE]}/msi/token",
            "IDENTITY_HEADER": world.azure.app_service_header(),
        }

    @pytest.mark.parametrize(
        ("source", "service"),
        [("imds", IMDS), ("app_service", APP_SERVICE), ("container_apps", APP_SERVICE)],
    )
    @pytest.mark.parametrize("by", ["client_id", "object_id", "resource_id"])
    async def test_a_user_assigned_identity_is_found_by_each_of_its_ids(  # noqa: PLR0913, PLR0917 - tables
        self, world: Clouds, scene: AzureScene, machine: dict[str, str], source: str, service: str, by: str
    ) -> None:
        first, second = (world.azure.add_managed_identity(scene.tenant, name) for name in ("one", "two"))
        world.azure.set_machine(service, (first.client_id, second.client_id))
        world.azure.grant(scene.host, second.object_id)
        method = ManagedIdentity.model_validate({"source": source, by: getattr(second, by)})
        outcome = await exchange_through(world, None, machine).lease_for(order(method, scene.host))
        assert issued(outcome).principal.startswith(f"application {second.client_id}")

    @pytest.mark.parametrize(("source", "service"), [("imds", IMDS), ("app_service", APP_SERVICE)])
    async def test_the_machines_own_identity_needs_no_name(
        self, world: Clouds, scene: AzureScene, machine: dict[str, str], source: str, service: str
    ) -> None:
        own = world.azure.add_managed_identity(scene.tenant, "vm", is_system=True)
        other = world.azure.add_managed_identity(scene.tenant, "other")
        world.azure.set_machine(service, (own.client_id, other.client_id))
        world.azure.grant(scene.host, own.object_id)
        method = ManagedIdentity.model_validate({"source": source})
        outcome = await exchange_through(world, None, machine).lease_for(order(method, scene.host))
        assert issued(outcome).principal.startswith(f"application {own.client_id}")

    @pytest.mark.parametrize("source", ["imds", "app_service"])
    async def test_an_identity_that_the_machine_does_not_have_wants_a_person(
        self, world: Clouds, scene: AzureScene, machine: dict[str, str], source: str
    ) -> None:
        stranger = world.azure.add_managed_identity(scene.tenant, "stranger")
        method = ManagedIdentity.model_validate({"source": source, "client_id": stranger.client_id})
        outcome = refused(await exchange_through(world, None, machine).lease_for(order(method, scene.host)))
        assert outcome.reason == "no_ambient_identity"

    async def test_of_several_one_must_be_named(
        self, world: Clouds, scene: AzureScene, machine: dict[str, str]
    ) -> None:
        made = [world.azure.add_managed_identity(scene.tenant, name).client_id for name in ("one", "two")]
        world.azure.set_machine(IMDS, tuple(made))
        outcome = await exchange_through(world, None, machine).lease_for(order(ManagedIdentity(), scene.host))
        assert refused(outcome).reason == "settings_invalid"

    async def test_a_managed_identity_does_not_cross_tenants(
        self, world: Clouds, scene: AzureScene, machine: dict[str, str]
    ) -> None:
        elsewhere = world.azure.add_tenant("elsewhere.example")
        own = world.azure.add_managed_identity(elsewhere, "vm", is_system=True)
        world.azure.set_machine(IMDS, (own.client_id,))
        world.azure.grant(scene.host, own.object_id)
        outcome = await exchange_through(world, None, machine).lease_for(order(ManagedIdentity(), scene.host))
        assert refused(outcome).reason == "tenant_mismatch"

    async def test_where_the_platform_tells_of_none_nobody_is_asked(
        self, world: Clouds, scene: AzureScene
    ) -> None:
        method = ManagedIdentity(source="container_apps")
        outcome = refused(await exchange_through(world).lease_for(order(method, scene.host)))
        assert outcome.reason == "no_ambient_identity"
        assert world.log.count() == 0

    @pytest.mark.parametrize(("source", "service"), [("imds", IMDS), ("app_service", APP_SERVICE)])
    @pytest.mark.parametrize("status", [500, 503])
    async def test_an_endpoint_that_is_unwell_is_unavailable(  # noqa: PLR0913, PLR0917 - tables
        self,
        world: Clouds,
        scene: AzureScene,
        machine: dict[str, str],
        source: str,
        service: str,
        status: int,
    ) -> None:
        world.faults.add(Fault(Harm.FAIL, service=service, status=status))
        method = ManagedIdentity.model_validate({"source": source})
        outcome = await exchange_through(world, None, machine).lease_for(order(method, scene.host))
        assert unavailable(outcome).reason == "upstream_error"


@pytest.mark.parametrize(("service", "connects"), [("entra", 1), ("acr", 2)])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(Harm.THROTTLE, retry_after=7), "throttled"),
        (Fault(Harm.FAIL, status=500), "upstream_error"),
        (Fault(Harm.FAIL, status=503), "upstream_error"),
        (Fault(Harm.DROP), "connection_failed"),
        (Fault(Harm.UNREACHABLE), "proxy_refused"),
        (Fault(Harm.UNTRUSTED), "tls_failed"),
        (Fault(Harm.OUTDATED), "tls_failed"),
    ],
)
async def test_what_may_pass_is_unavailable_and_asked_exactly_once(  # noqa: PLR0913, PLR0917 - two tables
    world: Clouds,
    scene: AzureScene,
    exchange: Exchange,
    service: str,
    connects: int,
    fault: Fault,
    reason: str,
) -> None:
    world.faults.add(replace(fault, service=service))
    outcome = unavailable(await exchange.lease_for(order(by_secret(scene), scene.host)))
    assert outcome.reason == reason
    assert outcome.retry_after == (7 if fault.harm is Harm.THROTTLE else None)
    assert world.faults.waiting() == ()
    assert world.gateway.connects() == connects
    assert issued(await exchange.lease_for(order(by_secret(scene), scene.host)))


@pytest.mark.parametrize(
    ("service", "body"),
    [
        ("entra", "<html>captive portal</html>"),
        ("entra", "{}"),
        ("entra", '{"access_token": 7, "expires_in": 60}'),
        ("entra", "[]"),
        ("acr", "<html>captive portal</html>"),
        ("acr", "{}"),
        ("acr", '{"refresh_token": "with a\\nline"}'),
        ("acr", "x" * 70_000),
    ],
)
async def test_an_odd_answer_is_neither_a_token_nor_a_refusal(
    world: Clouds, scene: AzureScene, exchange: Exchange, service: str, body: str
) -> None:
    world.azure.answer_oddly(service, body)
    outcome = await exchange.lease_for(order(by_secret(scene), scene.host))
    assert unavailable(outcome).reason == "unexpected_answer"


async def test_a_changed_secret_counts_at_once(world: Clouds, scene: AzureScene, exchange: Exchange) -> None:
    assert issued(await exchange.lease_for(order(by_secret(scene), scene.host)))
    world.azure.delete_secret(scene.app.client_id, scene.secret)
    renewed = by_secret(scene, client_secret=world.azure.add_secret(scene.app.client_id))
    assert issued(await exchange.lease_for(order(renewed, scene.host)))
    assert refused(await exchange.lease_for(order(by_secret(scene), scene.host))).reason == "bad_credentials"
    assert world.log.count(service="entra") == 3, "no token is kept from one exchange to the next"


async def test_no_secret_stands_in_what_is_told(
    world: Clouds, scene: AzureScene, exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = [await exchange.lease_for(order(by_secret(scene), scene.host))]
    for service in ("entra", "acr"):
        for fault in (Fault(Harm.FAIL), Fault(Harm.DROP), Fault(Harm.UNTRUSTED)):
            world.faults.add(replace(fault, service=service))
            outcomes.append(await exchange.lease_for(order(by_secret(scene), scene.host)))
    wrong = by_secret(scene, client_secret="canary-of-a-wrong-secret")
    outcomes.append(await exchange.lease_for(order(wrong, scene.host)))
    told = repr(outcomes) + caplog.text
    lease = issued(outcomes[0])
    for secret in (scene.secret, "canary-of-a-wrong-secret", lease.credential.secret.reveal()):
        assert secret not in told


async def test_a_full_start_makes_every_exchange_once(
    world: Clouds, scene: AzureScene, exchange: Exchange
) -> None:
    orders = [order(by_secret(scene), scene.host) for _ in range(8)]
    outcomes = await asyncio.gather(*(exchange.lease_for(each) for each in orders))
    assert all(isinstance(outcome, Issued) for outcome in outcomes), outcomes
    assert world.log.count(operation="Exchange") == 8


def jwt(claims: object) -> Secret:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return Secret(f"e30.{body}.c2ln")


class TestLifetime:
    @pytest.mark.parametrize(
        "token",
        [
            Secret("opaque"),
            Secret("a.b.c"),
            Secret("e30.e30"),
            jwt({}),
            jwt([]),
            jwt({"exp": None}),
            jwt({"exp": "soon"}),
            jwt({"exp": True}),
            jwt({"exp": 1e300}),
        ],
    )
    def test_an_end_that_cannot_be_read_is_a_minute_away(self, token: Secret) -> None:
        assert lifetime(token, None, NOW) == (NOW, NOW + timedelta(seconds=60))

    def test_no_token_lives_longer_than_is_usual(self) -> None:
        token = jwt({"exp": (NOW + timedelta(days=9)).timestamp()})
        assert lifetime(token, None, NOW) == (NOW, NOW + timedelta(hours=3))

    def test_base64url_is_read_with_its_own_alphabet(self) -> None:
        claims = claims_of(jwt({"oid": "\u00ff\u00fe~~~???>>>", "exp": 1}))
        assert claims["oid"] == "\u00ff\u00fe~~~???>>>"

    def test_whose_token_it_is_may_be_unknown(self) -> None:
        assert principal_of(Secret("opaque")) == ""
        assert principal_of(jwt({"appid": "app"})) == "application app"
