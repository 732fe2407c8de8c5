"""What is declared of Google: hosts, projects, keys, documents, trust, answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed, TrustContext
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.provider import Answer, DocumentRefusedError, InvalidHostError, classify
from vreg_shared.providers.gcp import PROVIDER
from vreg_shared.providers.gcp.auth_methods import (
    AwsFederation,
    Impersonation,
    Metadata,
    ServiceAccountKey,
    WorkloadIdentityFederation,
)
from vreg_shared.providers.gcp.documents import read_document
from vreg_shared.providers.gcp.example_key import EXAMPLE_KEY
from vreg_shared.providers.gcp.hosts import GarHost, project_of
from vreg_shared.providers.gcp.usable_for import GcpUsableFor
from vreg_shared.secret import Secret

GAR = catalogue().kind("gar")
HOSTS = [
    "us-docker.pkg.dev",
    "europe-docker.pkg.dev",
    "northamerica-northeast1-docker.pkg.dev",
    "docker.us-central1.rep.pkg.dev",
    "docker.s3nsregistry.fr",
    "gcr.io",
    "us.gcr.io",
    "eu.gcr.io",
    "asia.gcr.io",
]
NOT_HOSTS = [
    "123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "public.ecr.aws",
    "myreg.azurecr.io",
    "xgcr.io",
    "uk.gcr.io",
    "us-docker.pkg.dev.evil.io",
    "docker.pkg.dev",
    "-docker.pkg.dev",
    "us--docker.pkg.dev.",
    "1us-docker.pkg.dev",
    "us-dockerxpkg.dev",
    "docker.rep.pkg.dev",
    "docker.us-central1.rep.pkg.dev.evil.example",
    "gcr.io.evil.example",
    "gcrxio",
    "us.us.gcr.io",
    "marketplace.gcr.io",
    "mirror.gcr.io",
    "gcr.io\n",
    "gcr.io:443",
    "gcr.io.",
    "https://gcr.io",
    "gcr.io/project",
    "user@gcr.io",
    "us-docker.pkg.dev\x00",
    "ų-docker.pkg.dev",
    "docker.s3nsregistry.fr.evil.example",
]
PULLER = "vreg-pull@my-project.iam.gserviceaccount.com"
ED25519_KEY = (
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n"
)
USABLE_FOR = GcpUsableFor(projects=("my-project",))
AUDIENCE = "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/providers/prov"
KEY_FILE: dict[str, Any] = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "0123abc",
    "private_key": EXAMPLE_KEY,
    "client_email": PULLER,
    "client_id": "1",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}
IMPERSONATION_URL = (
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken"
)
EXTERNAL: dict[str, Any] = {
    "type": "external_account",
    "audience": AUDIENCE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "service_account_impersonation_url": IMPERSONATION_URL.format(PULLER),
    "service_account_impersonation": {"token_lifetime_seconds": 1800},
    "universe_domain": "googleapis.com",
}
AWS_SOURCE = {
    "environment_id": "aws1",
    "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
    "url": "http://169.254.169.254/latest/meta-data/iam/security-credentials",
    "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
}


class TestHosts:
    @pytest.mark.parametrize("host", HOSTS)
    def test_a_registry_of_google_is_ours(self, host: str) -> None:
        assert GAR.require_host(host.upper()) == host
        assert catalogue().kind_owning(host) is GAR
        assert GAR.token_realm(host) == f"https://{host}/v2/token"

    @pytest.mark.parametrize("host", NOT_HOSTS)
    def test_a_lookalike_is_not(self, host: str) -> None:
        with pytest.raises(InvalidHostError):
            GAR.require_host(host)
        assert not USABLE_FOR.permits(host, "my-project/repository")

    @given(st.sampled_from(HOSTS), st.text(min_size=1, max_size=20).filter(lambda text: not text.isalnum()))
    def test_nothing_may_stand_behind(self, host: str, extra: str) -> None:
        assert not GAR.owns(host + extra)

    @given(st.sampled_from(HOSTS), st.text(min_size=1, max_size=20))
    def test_what_stands_before_is_part_of_a_location_or_refused(self, host: str, extra: str) -> None:
        assert not GAR.owns(extra + host) or extra.replace("-", "").isalnum()

    def test_location_and_cloud_are_read_from_the_host(self) -> None:
        assert GarHost.parse("europe-west3-docker.pkg.dev").location == "europe-west3"
        assert GarHost.parse("docker.us-central1.rep.pkg.dev").location == "us-central1"
        assert GarHost.parse("eu.gcr.io") == GarHost("europe", is_gcr=True, is_google=True)
        assert not GarHost.parse("docker.s3nsregistry.fr").is_google

    def test_one_token_serves_all_locations_of_an_identity(self) -> None:
        assert GAR.lease_scope("id", "gcr.io") == GAR.lease_scope("id", "us-docker.pkg.dev")
        assert GAR.lease_scope("id", "gcr.io") != GAR.lease_scope("other", "gcr.io")

    def test_blobs_of_gcr_may_be_at_cloud_storage_and_no_others(self) -> None:
        assert GAR.storage_names("gcr.io") == ("storage.googleapis.com",)
        assert GAR.storage_names("us-docker.pkg.dev") == ()


class TestProjects:
    @pytest.mark.parametrize(
        ("repository", "project"),
        [
            ("my-project/repository/app", "my-project"),
            ("my-project", "my-project"),
            ("example.com/my-project/repository", "example.com/my-project"),
            ("example.com", ""),
            ("example.com/", ""),
            ("", ""),
        ],
    )
    def test_a_project_is_one_component_or_two_with_a_domain(self, repository: str, project: str) -> None:
        assert project_of(repository) == project
        assert GAR.lease_repositories(repository) == project

    @pytest.mark.parametrize(
        ("host", "repository", "is_permitted"),
        [
            ("us-docker.pkg.dev", "my-project/repository", True),
            ("gcr.io", "my-project", True),
            ("gcr.io", "", False),
            ("gcr.io", "my-project-2/app", False),
            ("gcr.io", "other/my-project", False),
            ("gcr.io", "example.com/my-project", False),
            ("docker.s3nsregistry.fr", "my-project/repository", False),
            ("quay.io", "my-project/repository", False),
        ],
    )
    def test_an_identity_is_for_its_projects_at_google_alone(
        self, host: str, repository: str, *, is_permitted: bool
    ) -> None:
        assert USABLE_FOR.permits(host, repository) is is_permitted

    @pytest.mark.parametrize("project", ["", "My-Project", "123456", "a/b/c", "p_q", "*", "-a", "a b", "a\n"])
    def test_what_is_no_project_id_is_refused(self, project: str) -> None:
        with pytest.raises(ValidationError):
            GcpUsableFor(projects=(project,))

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_whatever_is_permitted_begins_with_a_project(self, prefix: str, rest: str) -> None:
        if USABLE_FOR.permits("gcr.io", prefix + rest):
            assert (prefix + rest + "/").startswith("my-project/")


class TestFields:
    @pytest.mark.parametrize(
        "pem",
        [
            "",
            "not a key",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
            ED25519_KEY,
            EXAMPLE_KEY[:-200],
        ],
    )
    def test_only_a_service_accounts_key_is_kept(self, pem: str) -> None:
        with pytest.raises(ValidationError) as caught:
            ServiceAccountKey(client_email=PULLER, private_key_id="a", private_key=Secret(pem))
        assert "MIIB" not in str(caught.value)
        assert "must be" in str(caught.value)

    def test_a_key_with_escaped_line_ends_is_mended(self) -> None:
        escaped = Secret(EXAMPLE_KEY.replace("\n", "\\n"))
        method = ServiceAccountKey(client_email=PULLER, private_key_id="a", private_key=escaped)
        assert method.private_key.reveal() == EXAMPLE_KEY

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_email": "somebody@example.com"},
            {"client_email": "a@b.iam.gserviceaccount.com/../x"},
            {"client_email": f"{PULLER}\n"},
            {"client_email": f"{PULLER}:generateAccessToken?x="},
            {"private_key_id": "a b"},
            {"impersonate": ["somebody@example.com"]},
            {"impersonate": []},
            {"impersonate": [PULLER] * 6},
            {"lifetime_seconds": 43201},
            {"token_uri": "https://evil.example"},
        ],
    )
    def test_nothing_else_fits_into_the_form_of_a_key(self, changes: dict[str, object]) -> None:
        good = {"client_email": PULLER, "private_key_id": "a", "private_key": EXAMPLE_KEY}
        Impersonation.model_validate({**good, "impersonate": [PULLER]})
        with pytest.raises(ValidationError):
            Impersonation.model_validate({**good, "impersonate": [PULLER], **changes})

    @pytest.mark.parametrize(
        "changes",
        [
            {"project_number": "my-project"},
            {"project_number": "1/../2"},
            {"pool": "a"},
            {"pool": "pool/providers/x"},
            {"provider": "Prov"},
            {"audience": "sts.amazonaws.com"},
            {"audience": "api://AzureADTokenExchange"},
            {"audience": "http://registry.example.com"},
            {"audience": "https://registry.example.com/?q"},
            {"token_file": "/etc/passwd"},
        ],
    )
    def test_nothing_else_fits_into_the_form_of_a_pool(self, changes: dict[str, object]) -> None:
        good = {"project_number": "123", "pool": "pool", "provider": "prov"}
        WorkloadIdentityFederation.model_validate(good)
        with pytest.raises(ValidationError):
            WorkloadIdentityFederation.model_validate(good | changes)

    def test_a_token_is_asked_for_by_the_providers_name_as_a_url(self) -> None:
        method = WorkloadIdentityFederation(project_number="123", pool="pool", provider="prov")
        assert method.identity_token == IdentityTokenNeed(f"https:{AUDIENCE}")
        assert method.provider_name == AUDIENCE
        changed = method.model_copy(update={"audience": "https://mine", "token_file": "projected"})
        assert changed.identity_token == IdentityTokenNeed("https://mine", "projected")

    def test_only_what_the_machine_is_itself_is_ambient(self) -> None:
        ambient = {method.tag for method in PROVIDER.methods if method.is_ambient}
        assert ambient == {"gcp.metadata", "gcp.aws_federation"}

    def test_a_chain_that_turns_back_is_objected_to(self) -> None:
        now = SystemClock().now()
        twice = Metadata(impersonate=(PULLER, PULLER))
        assert [each.field for each in twice.objections(USABLE_FOR, now)] == ["impersonate"]
        own = Impersonation(
            client_email=PULLER,
            private_key_id="a",
            private_key=Secret(EXAMPLE_KEY),
            impersonate=(PULLER,),
        )
        assert own.objections(USABLE_FOR, now)
        assert not Metadata(impersonate=(PULLER,)).objections(USABLE_FOR, now)


class TestDocuments:
    def test_a_key_file_becomes_its_fields(self) -> None:
        method = read_document(KEY_FILE)
        assert isinstance(method, ServiceAccountKey)
        assert (method.client_email, method.private_key_id) == (PULLER, "0123abc")

    def test_an_external_account_becomes_its_fields(self) -> None:
        assert read_document(EXTERNAL) == WorkloadIdentityFederation(
            project_number="123",
            pool="pool",
            provider="prov",
            impersonate=(PULLER,),
            lifetime_seconds=1800,
        )

    def test_an_account_on_aws_becomes_the_machines_own_identity(self) -> None:
        document = EXTERNAL | {
            "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
            "credential_source": AWS_SOURCE,
        }
        method = read_document(document)
        assert isinstance(method, AwsFederation)
        assert (method.source, method.region, method.impersonate) == ("instance", "us-east-1", (PULLER,))
        url = AWS_SOURCE["regional_cred_verification_url"].replace("{region}", "eu-west-1")
        document["credential_source"] = AWS_SOURCE | {"regional_cred_verification_url": url}
        method = read_document(document)
        assert isinstance(method, AwsFederation)
        assert method.region == "eu-west-1"

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ({}, "type"),
            ({"type": "authorized_user"}, "type"),
            ({"type": "impersonated_service_account"}, "type"),
            (KEY_FILE | {"token_uri": "https://evil.example/token"}, "token_uri"),
            (KEY_FILE | {"token_uri": "https://oauth2.googleapis.com.evil.example/token"}, "token_uri"),
            (KEY_FILE | {"universe_domain": "s3nsapis.fr"}, "universe_domain"),
            (EXTERNAL | {"universe_domain": "evil.example"}, "universe_domain"),
            (EXTERNAL | {"token_url": "https://sts.evil.example/v1/token"}, "token_url"),
            (
                EXTERNAL | {"service_account_impersonation_url": "https://evil.example/" + PULLER},
                "service_account_impersonation_url",
            ),
            (EXTERNAL | {"credential_source": {"file": "/etc/shadow"}}, "VREG_TOKEN_FILES"),
            (EXTERNAL | {"credential_source": {"url": "http://169.254.169.254/"}}, "VREG_TOKEN_FILES"),
            (EXTERNAL | {"credential_source": {"executable": {"command": "id"}}}, "executable"),
            (EXTERNAL | {"credential_source": {"certificate": {}}}, "certificate"),
            (EXTERNAL | {"credential_source": {"something": 1}}, "credential_source"),
            (EXTERNAL | {"credential_source": "file"}, "credential_source"),
            (EXTERNAL | {"credential_source": AWS_SOURCE | {"environment_id": "aws2"}}, "environment_id"),
            (EXTERNAL | {"credential_source": AWS_SOURCE}, "subject_token_type"),
            (
                EXTERNAL
                | {
                    "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
                    "credential_source": AWS_SOURCE
                    | {"regional_cred_verification_url": "https://sts.evil.example/"},
                },
                "regional_cred_verification_url",
            ),
            (EXTERNAL | {"audience": AUDIENCE.replace("/123/", "/my-project/")}, "audience"),
            (EXTERNAL | {"audience": "//iam.googleapis.com/locations/global/workforcePools/p"}, "audience"),
            (
                EXTERNAL | {"subject_token_type": "saml2"},
                "subject_token_type",
            ),
        ],
    )
    def test_what_would_send_read_or_run_something_is_refused_by_name(
        self, document: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(DocumentRefusedError, match=words):
            read_document(document)

    @given(
        st.dictionaries(
            st.sampled_from([*KEY_FILE, *EXTERNAL, "credential_source", "something"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.just(AUDIENCE),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from([*AWS_SOURCE, "file", "url"]), inner, max_size=3)
                ),
                max_leaves=5,
            ),
        ),
        st.sampled_from([KEY_FILE, EXTERNAL, {}]),
    )
    def test_any_object_is_read_or_refused_and_nothing_else(
        self, changes: dict[str, Any], base: dict[str, Any]
    ) -> None:
        try:
            method = read_document({**base, **changes})
        except (DocumentRefusedError, ValidationError):
            return
        assert type(method) in PROVIDER.methods


class TestTrust:
    CONTEXT = TrustContext(
        identity_name="production",
        external_id="external",
        subject="vreg:42:7f3c",
        issuer_url="https://registry.example.com/oidc",
        usable_for=USABLE_FOR,
    )

    def text(self, method: AuthMethod) -> str:
        return "\n".join(step.text for step in method.trust_steps(self.CONTEXT))

    def test_issuer_subject_pool_and_project_are_filled_in(self) -> None:
        method = WorkloadIdentityFederation(project_number="123", pool="pool", provider="prov")
        text = self.text(method)
        assert "--issuer-uri=https://registry.example.com/oidc" in text
        assert """'--attribute-condition=assertion.sub == "vreg:42:7f3c"'""" in text
        principal = "principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool"
        assert f"--member={principal}/subject/vreg:42:7f3c" in text
        assert "--project=my-project" in text
        assert "--jwk-json-path=jwks.json" in text
        assert "workloadIdentityUser" not in text

    def test_a_chain_is_granted_link_by_link(self) -> None:
        middle = "middle@my-project.iam.gserviceaccount.com"
        method = WorkloadIdentityFederation(
            project_number="123", pool="pool", provider="prov", impersonate=(middle, PULLER)
        )
        first, second, last = [step.text for step in method.trust_steps(self.CONTEXT)][-3:]
        assert f"add-iam-policy-binding {middle} " in first
        assert "roles/iam.workloadIdentityUser" in first
        assert f"--member=serviceAccount:{middle}" in second
        assert "roles/iam.serviceAccountTokenCreator" in second
        assert f"--member=serviceAccount:{PULLER}" in last
        assert "roles/artifactregistry.reader" in last

    @pytest.mark.parametrize("example", PROVIDER.examples, ids=lambda example: example.method.tag)
    def test_every_method_ends_with_the_right_to_read(self, example: Any) -> None:  # noqa: ANN401 - a parameter
        steps = example.method.trust_steps(self.CONTEXT)
        assert "roles/artifactregistry.reader" in steps[-1].text
        assert "PRIVATE KEY" not in str(steps)

    def test_a_token_of_another_issuer_leaves_its_subject_to_the_reader(self) -> None:
        method = WorkloadIdentityFederation(
            project_number="123", pool="pool", provider="prov", token_file="projected"
        )
        text = self.text(method)
        assert "registry.example.com" not in text
        assert "ISSUER_URL" in text
        assert "/subject/SUBJECT" in text


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "body", "answer", "reason", "is_refreshable"),
        [
            (401, '{"errors":[{"code":"UNAUTHORIZED"}]}', Answer.REFUSED, "credential_rejected", True),
            (401, "", Answer.REFUSED, "credential_rejected", True),
            (
                403,
                '{"errors":[{"code":"DENIED","message":"Permission \\"x\\" denied (or it may not exist)"}]}',
                Answer.HIDDEN,
                "permission_or_not_found",
                False,
            ),
            (
                403,
                '{"errors":[{"code":"DENIED","message":"Unauthenticated request. … (or it may not exist)"}]}',
                Answer.HIDDEN,
                "identity_needed",
                False,
            ),
            (403, '{"errors":[{"code":"DENIED"}]}', Answer.HIDDEN, "permission_denied", False),
            (400, '{"errors":[{"code":"NAME_INVALID"}]}', Answer.REFUSED, "repository_name_invalid", False),
            (404, '{"errors":[{"code":"NAME_UNKNOWN"}]}', Answer.ABSENT, "repository_unknown", False),
            (404, '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', Answer.ABSENT, "manifest_unknown", False),
            (429, "", Answer.UNAVAILABLE, "throttled", False),
            (502, "<html>", Answer.UNAVAILABLE, "upstream_error", False),
            (400, "", Answer.UNAVAILABLE, "unexpected_answer", False),
        ],
    )
    def test_the_registry_is_read_by_its_own_table(
        self, status: int, body: str, answer: Answer, reason: str, *, is_refreshable: bool
    ) -> None:
        verdict = classify(GAR, status, {}, body.encode())
        assert (verdict.answer, verdict.reason, verdict.refreshable) == (answer, reason, is_refreshable)

    @given(st.integers(100, 599), st.binary(max_size=300))
    def test_only_a_404_is_absent(self, status: int, body: bytes) -> None:
        assert (classify(GAR, status, {}, body).answer is Answer.ABSENT) == (status == 404)
