"""What the Azure provider says of hosts, settings, trust and answers."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.clouds.azure_scene import make_certificate
from vreg_shared.auth_method import AuthMethod, TrustContext
from vreg_shared.catalogue import catalogue
from vreg_shared.provider import Answer, InvalidHostError, classify
from vreg_shared.providers.azure.auth_methods import (
    ClientCertificate,
    ClientSecret,
    ManagedIdentity,
    WorkloadIdentity,
)
from vreg_shared.providers.azure.hosts import AcrHost
from vreg_shared.providers.azure.usable_for import AzureUsableFor
from vreg_shared.secret import Secret

ACR = catalogue().kind("acr")
HOSTS = [
    "myreg.azurecr.io",
    "myreg-e7ggejfuhzhgedc8.azurecr.io",
    "myreg.eastus.geo.azurecr.io",
    "myreg-e7ggejfuhzhgedc8.eastus.geo.azurecr.io",
    "myreg.azurecr.cn",
    "myreg.azurecr.us",
    "a" * 50 + ".azurecr.io",
    "12345.azurecr.io",
]
NO_HOSTS = [
    "my.azurecr.io",
    "myre.azurecr.io",
    "a" * 51 + ".azurecr.io",
    "a" * 50 + "-" + "b" * 16 + ".azurecr.io",
    "myreg-.azurecr.io",
    "-myreg.azurecr.io",
    "my-reg.azurecr.io.evil.com",
    "myreg.azurecr.io.evil.com",
    "myreg.eastus.data.azurecr.io",
    "eastus.data.azurecr.io",
    "myreg.geo.azurecr.io",
    "evil.myreg.azurecr.io",
    "myreg.azurecr.de",
    "myreg.azurecr.com",
    "myregxazurecr.io",
    "myreg.azurecr.io:443",
    "myreg.azurecr.io.",
    "myreg.azurecr.io\n",
    "https://myreg.azurecr.io",
    "myreg.azurecr.io/x",
    "azurecr.io",
    "myrég.azurecr.io",
    "١٢٣٤٥.azurecr.io",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "public.ecr.aws",
    "us-docker.pkg.dev",
    "gcr.io",
]
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
USABLE_FOR = AzureUsableFor(registries=("myreg.azurecr.io",))
MADE, OTHER = make_certificate(), make_certificate()


class TestHosts:
    @pytest.mark.parametrize("host", HOSTS)
    def test_a_login_server_of_any_cloud_is_ours(self, host: str) -> None:
        assert ACR.require_host(host.upper()) == host
        assert catalogue().kind_owning(host) is ACR

    @pytest.mark.parametrize("host", NO_HOSTS)
    def test_a_lookalike_or_a_data_endpoint_is_not(self, host: str) -> None:
        with pytest.raises(InvalidHostError):
            ACR.require_host(host)

    @given(st.sampled_from(HOSTS[1:5]), st.text(min_size=1, max_size=20))
    def test_nothing_may_stand_behind(self, host: str, extra: str) -> None:
        assert not ACR.owns(host + extra)

    @given(st.text(max_size=80))
    def test_what_is_accepted_ends_in_a_domain_of_registries(self, host: str) -> None:
        assert not ACR.owns(host) or host.endswith((".azurecr.io", ".azurecr.us", ".azurecr.cn"))

    def test_the_resources_name_is_read_without_the_labels_hash(self) -> None:
        place = AcrHost.parse("myreg-e7ggejfuhzhgedc8.eastus.geo.azurecr.io")
        assert (place.name, place.region, place.cloud.name) == ("myreg", "eastus", "public")

    def test_each_login_server_has_a_lease_of_its_own(self) -> None:
        scopes = {ACR.lease_scope("id", host) for host in HOSTS} | {ACR.lease_scope("other", HOSTS[0])}
        assert len(scopes) == len(HOSTS) + 1

    @pytest.mark.parametrize("host", HOSTS)
    def test_the_token_endpoint_is_the_login_servers_own(self, host: str) -> None:
        assert ACR.token_realm(host) == f"https://{host}/oauth2/token"

    @pytest.mark.parametrize(
        ("host", "storage"),
        [
            ("myreg.azurecr.io", "*.blob.core.windows.net"),
            ("myreg.azurecr.us", "*.blob.core.usgovcloudapi.net"),
            ("myreg.azurecr.cn", "*.blob.core.chinacloudapi.cn"),
        ],
    )
    def test_blobs_come_from_the_clouds_storage_or_a_data_endpoint(self, host: str, storage: str) -> None:
        domain = host.partition(".")[2]
        assert ACR.storage_names(host) == (storage, f"myreg.*.data.{domain}")

    def test_an_identity_is_usable_for_exactly_the_hosts_it_names(self) -> None:
        usable_for = AzureUsableFor(registries=("MyReg.azurecr.io",))
        assert usable_for.permits("myreg.azurecr.io")
        assert not usable_for.permits("myreg.eastus.geo.azurecr.io")
        assert not usable_for.permits("other.azurecr.io")

    @pytest.mark.parametrize("host", ["harbor.example.com", "myreg.eastus.data.azurecr.io", ""])
    def test_an_identity_is_usable_for_registries_of_azure_only(self, host: str) -> None:
        with pytest.raises(ValidationError):
            AzureUsableFor(registries=(host,))

    def test_a_password_may_be_used_on_these_hosts_too(self) -> None:
        usable_for = catalogue().provider_of_method("basic.password").usable_for
        assert usable_for.model_validate({"hosts": HOSTS[:2]}).permits(HOSTS[0])
        assert "basic.password" in ACR.methods


class TestSettings:
    @pytest.mark.parametrize("tenant", [TENANT, TENANT.upper(), "contoso.onmicrosoft.com", "contoso.example"])
    def test_a_tenant_is_an_id_or_a_verified_domain(self, tenant: str) -> None:
        assert secret(tenant_id=tenant).tenant_id == tenant

    @pytest.mark.parametrize(
        "tenant",
        [
            "",
            "common",
            "organizations",
            "consumers",
            "../evil",
            "contoso.example/evil",
            "contoso.example?x",
            "contoso..example",
            "evil.example#",
            f"{TENANT}\n",
            "a@contoso.example",
            "https://login.evil.example",
            "contoso.example:443",
        ],
    )
    def test_a_tenant_never_chooses_an_authority_or_a_path(self, tenant: str) -> None:
        with pytest.raises(ValidationError):
            secret(tenant_id=tenant)

    @pytest.mark.parametrize("client", ["", "vreg-pull", f"{CLIENT}/x", f"{CLIENT}\n", "0" * 36])
    def test_a_client_id_is_a_guid(self, client: str) -> None:
        with pytest.raises(ValidationError):
            secret(client_id=client)

    @pytest.mark.parametrize(
        ("cloud", "host"),
        [("public", "myreg.azurecr.us"), ("us_gov", "myreg.azurecr.io"), ("china", "myreg.azurecr.us")],
    )
    def test_an_identity_of_another_cloud_than_its_registries_is_objected_to(
        self, cloud: str, host: str
    ) -> None:
        (objection,) = secret(cloud=cloud).objections(AzureUsableFor(registries=(host,)), NOW)
        assert (objection.field, objection.code) == ("cloud", "cloud_mismatch")
        assert host in objection.message

    @pytest.mark.parametrize(
        ("cloud", "audience"),
        [
            ("public", "api://AzureADTokenExchange"),
            ("us_gov", "api://AzureADTokenExchangeUSGov"),
            ("china", "api://AzureADTokenExchangeChina"),
        ],
    )
    def test_a_federated_token_is_for_the_audience_of_its_cloud(self, cloud: str, audience: str) -> None:
        method = WorkloadIdentity(tenant_id=TENANT, client_id=CLIENT, cloud=cloud)
        assert method.identity_token.audience == audience

    @pytest.mark.parametrize(
        "named",
        [
            {"client_id": CLIENT, "object_id": CLIENT},
            {"client_id": CLIENT, "resource_id": ManagedIdentity.model_fields["resource_id"].examples[0]},
            {"resource_id": "/subscriptions/x"},
            {"resource_id": "https://169.254.169.254/"},
            {"source": "arc"},
        ],
    )
    def test_a_managed_identity_is_named_by_one_id_at_most(self, named: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            ManagedIdentity.model_validate(named)

    def test_no_setting_is_a_url(self) -> None:
        names = {
            name for method in catalogue().provider_of_kind("acr").methods for name in method.model_fields
        }
        assert not {name for name in names if "url" in name or "authority" in name or "endpoint" in name}


class TestCertificates:
    def test_of_a_chain_the_first_counts_and_text_around_it_does_not(self) -> None:
        text = f"Bag Attributes\n{MADE.certificate}{OTHER.certificate}"
        assert certificate(certificate=text).certificate == MADE.certificate

    @pytest.mark.parametrize(
        "text", ["", "MIIC", MADE.private_key, MADE.private_key + MADE.certificate, MADE.certificate[:-60]]
    )
    def test_only_a_certificate_is_a_certificate(self, text: str) -> None:
        with pytest.raises(ValidationError, match=r"certificate"):
            certificate(certificate=text)

    @pytest.mark.parametrize("text", ["", "canary-4711", MADE.certificate, MADE.private_key[:-60]])
    def test_only_a_private_key_is_a_private_key_and_never_shown(self, text: str) -> None:
        with pytest.raises(ValidationError) as caught:
            certificate(private_key=Secret(text))
        assert not text or text not in str(caught.value)

    def test_the_key_must_be_the_certificates(self) -> None:
        with pytest.raises(ValidationError, match="not the certificate's"):
            certificate(private_key=Secret(OTHER.private_key))

    def test_what_stands_in_a_certificates_lines_reaches_no_command(self) -> None:
        text = MADE.certificate.replace("-----END", "\nPEM\nrm -rf ~\n-----END")
        with pytest.raises(ValidationError):
            certificate(certificate=text)

    def test_a_certificate_is_objected_to_outside_its_time(self) -> None:
        method = certificate()
        now = datetime.now(UTC)
        assert method.objections(USABLE_FOR, now) == ()
        (ended,) = method.objections(USABLE_FOR, now + timedelta(days=31))
        (early,) = method.objections(USABLE_FOR, now - timedelta(days=2))
        assert (ended.code, early.code) == ("certificate_expired", "certificate_not_yet_valid")


class TestTrustSteps:
    @pytest.mark.parametrize("host", ["myreg.azurecr.io", "myreg-e7ggejfuhzhgedc8.azurecr.io"])
    def test_each_registry_gets_its_role_in_both_modes(self, host: str) -> None:
        text = steps_of(secret(), host)
        assert text.count("--name myreg ") == 2
        assert "--role AcrPull" in text
        assert '--role "Container Registry Repository Reader"' in text
        assert "StringEqualsIgnoreCase 'REPOSITORY'" in text
        assert CLIENT in text

    def test_another_cloud_is_chosen_first(self) -> None:
        assert "az cloud set --name AzureUSGovernment" in steps_of(secret(cloud="us_gov"), "myreg.azurecr.us")

    def test_a_federated_credential_is_ready_to_be_posted(self) -> None:
        steps = WorkloadIdentity(tenant_id=TENANT, client_id=CLIENT).trust_steps(context())
        (document,) = (json.loads(step.text) for step in steps if step.language == "json")
        assert document == {
            "name": "vreg-01jd",
            "issuer": "https://vreg.example.com/oidc",
            "subject": "vreg:identity:01JD",
            "audiences": ["api://AzureADTokenExchange"],
        }

    def test_another_issuers_token_leaves_issuer_and_subject_to_the_reader(self) -> None:
        method = WorkloadIdentity(tenant_id=TENANT, client_id=CLIENT, token_file="aks")
        text = "\n".join(step.text for step in method.trust_steps(context()))
        assert "ISSUER_OF_THE_TOKEN" in text
        assert "vreg.example.com" not in text

    @pytest.mark.parametrize("source", ["imds", "app_service", "container_apps"])
    @pytest.mark.parametrize(
        "named",
        [
            {},
            {"client_id": CLIENT},
            {"object_id": CLIENT},
            {"resource_id": ManagedIdentity.model_fields["resource_id"].examples[0]},
        ],
    )
    def test_every_command_is_one_that_a_shell_reads(self, source: str, named: dict[str, str]) -> None:
        for step in ManagedIdentity.model_validate({"source": source, **named}).trust_steps(context()):
            if step.language == "sh":
                subprocess.run(["/bin/sh", "-n"], input=step.text, text=True, check=True)


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "code", "message", "answer", "reason", "refreshable"),
        [
            (401, "UNAUTHORIZED", "authentication required", Answer.REFUSED, "credential_rejected", True),
            (401, "UNAUTHORIZED", "insufficient_scope", Answer.HIDDEN, "permission_denied", False),
            (
                403,
                "DENIED",
                "client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall",
                Answer.UNAVAILABLE,
                "network_firewall",
                False,
            ),
            (403, "DENIED", "retrieving permissions failed", Answer.HIDDEN, "permission_denied", False),
            (404, "NAME_UNKNOWN", "repository name not known", Answer.ABSENT, "repository_unknown", False),
            (404, "MANIFEST_UNKNOWN", "manifest tagged by", Answer.ABSENT, "manifest_unknown", False),
            (429, "TOOMANYREQUESTS", "too many requests", Answer.UNAVAILABLE, "throttled", False),
        ],
    )
    def test_the_registry_is_read_by_its_own_table(  # noqa: PLR0913, PLR0917 - a table's columns
        self,
        status: int,
        code: str,
        message: str,
        answer: Answer,
        reason: str,
        refreshable: bool,  # noqa: FBT001 - a column
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        verdict = classify(ACR, status, {}, body)
        assert (verdict.answer, verdict.reason, verdict.refreshable) == (answer, reason, refreshable)

    @given(st.integers(100, 599), st.binary(max_size=200))
    def test_only_a_404_is_absent(self, status: int, body: bytes) -> None:
        assert (classify(ACR, status, {}, body).answer is Answer.ABSENT) == (status == 404)


def secret(**changes: str) -> ClientSecret:
    known = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": "a-secret"}
    return ClientSecret.model_validate(known | changes)


def certificate(**changes: object) -> ClientCertificate:
    known = {"tenant_id": TENANT, "client_id": CLIENT, "certificate": MADE.certificate}
    return ClientCertificate.model_validate({**known, "private_key": MADE.private_key, **changes})


def context(host: str = "myreg.azurecr.io") -> TrustContext:
    return TrustContext(
        identity_name="an identity",
        external_id="vreg-0123",
        subject="vreg:identity:01JD",
        issuer_url="https://vreg.example.com/oidc",
        usable_for=AzureUsableFor(registries=(host,)),
    )


def steps_of(method: AuthMethod, host: str) -> str:
    return "\n".join(step.text for step in method.trust_steps(context(host)))
