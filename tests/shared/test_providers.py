"""What every provider in the catalogue promises, and what these two say of hosts and answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vreg_shared.auth_method import AuthMethod
from vreg_shared.catalogue import catalogue
from vreg_shared.provider import (
    Answer,
    InvalidHostError,
    MethodExample,
    Provider,
    RegistryKind,
    Verdict,
    classify,
)
from vreg_shared.providers.aws.hosts import EcrHost
from vreg_shared.secret import Secret

CATALOGUE = catalogue()
ECR = CATALOGUE.kind("ecr")
OCI = CATALOGUE.kind("oci")
EXAMPLES = [example for provider in CATALOGUE.providers for example in provider.examples]

ECR_HOSTS = [
    "123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "123456789012.dkr-ecr.us-west-2.on.aws",
    "123456789012.dkr-ecr-fips.us-west-2.on.aws",
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
    "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
    "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
    "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
    "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
    "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
]
NOT_ECR_HOSTS = [
    "123456789012.dkr.ecr.us-west-2.amazonaws.com.fake.example.com",
    "evil-123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "12345678901.dkr.ecr.us-west-2.amazonaws.com",
    "public.ecr.aws.evil.com",
    "xgcr.io",
    "uk.gcr.io",
    "us-docker.pkg.dev.evil.io",
    "docker.pkg.dev",
    "my.azurecr.io",
    "myreg-.azurecr.io",
    "myreg.azurecr.io.evil.com",
    "myreg.eastus.data.azurecr.io",
    "public.ecr.aws",
    "ecr-public.aws.com",
    "us-docker.pkg.dev",
    "gcr.io",
    "myreg.azurecr.io",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com\n",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com:443",
    "https://123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com/evil",
    "123456789012.dkr.ecr.us-west-2.amazonaws.com.",
    "123456789012xdkr.ecr.us-west-2.amazonaws.com",
    "123456789012.dkr.ecr.us-west-2xamazonaws.com",
    "123456789012.dkr.ecr.us-west-2.amazonaws.eu",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
    "123456789012.dkr-ecr.us-iso-east-1.on.aws.c2s.ic.gov",
    "١٢٣٤٥٦٧٨٩٠١٢.dkr.ecr.us-west-2.amazonaws.com",
]


class TestCatalogue:
    @pytest.mark.parametrize("kind", CATALOGUE.kinds(), ids=lambda kind: kind.name)
    def test_every_kind_owns_its_example_and_names_known_methods(self, kind: RegistryKind) -> None:
        assert kind.owns(kind.example_host)
        assert kind.lease_scope("id", kind.example_host).startswith("id/")
        for tag in kind.methods:
            assert CATALOGUE.method(tag).tag == tag

    @pytest.mark.parametrize("method", CATALOGUE.methods(), ids=lambda method: method.tag)
    def test_every_field_of_a_form_has_a_title_and_a_description(self, method: type[AuthMethod]) -> None:
        for name, field in method.model_fields.items():
            if name != "method":
                assert field.title, name
                assert field.description, name

    @pytest.mark.parametrize("provider", CATALOGUE.providers, ids=lambda provider: provider.name)
    def test_every_method_has_an_example(self, provider: Provider) -> None:
        assert {type(example.method) for example in provider.examples} == set(provider.methods)

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
    def test_every_example_is_usable_for_its_host_alone(self, example: MethodExample) -> None:
        assert example.usable_for.permits(example.host, example.prefix)
        assert not example.usable_for.permits(example.host + ".evil.example", example.prefix)
        assert example.method.tag in CATALOGUE.kind(example.kind).methods

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
    def test_settings_and_secrets_part_and_join_again(self, example: MethodExample) -> None:
        method = example.method
        settings, secrets = method.plain_settings(), method.secrets_json()
        assert not method.secret_fields() & settings.keys()
        assert type(method).from_parts(settings, secrets) == method

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
    def test_no_secret_shows_in_print_or_in_a_validation_error(self, example: MethodExample) -> None:
        canary = "canary-4711"
        secrets = {name: Secret(canary) for name in example.method.secret_fields()}
        method = example.method.model_copy(update=secrets)
        assert canary not in repr(method) + str(method) + method.model_dump_json()
        with pytest.raises(ValidationError) as caught:
            type(method).model_validate({**method.plain_settings(), **dict.fromkeys(secrets, canary), "x": 1})
        assert canary not in str(caught.value)


class TestEcrHosts:
    @pytest.mark.parametrize("host", ECR_HOSTS)
    def test_a_registry_of_any_partition_is_ours(self, host: str) -> None:
        assert ECR.require_host(host) == host
        assert ECR.require_host(host.upper()) == host

    @pytest.mark.parametrize("host", NOT_ECR_HOSTS)
    def test_a_lookalike_is_not(self, host: str) -> None:
        with pytest.raises(InvalidHostError):
            ECR.require_host(host)

    @given(st.sampled_from(ECR_HOSTS), st.text(min_size=1, max_size=20), st.booleans())
    def test_nothing_may_stand_before_or_behind(self, host: str, extra: str, behind: bool) -> None:  # noqa: FBT001 - drawn
        assert not ECR.owns(host + extra if behind else extra + host)

    def test_account_region_and_partition_are_read_from_the_host(self) -> None:
        place = EcrHost.parse("123456789012.dkr-ecr-fips.us-west-2.on.aws")
        assert (place.account, place.region, place.partition.name) == ("123456789012", "us-west-2", "aws")
        assert place.fips
        assert place.dual_stack

    def test_one_scope_serves_all_accounts_of_a_region_and_no_other_region(self) -> None:
        here = ECR.lease_scope("id", "111111111111.dkr.ecr.eu-west-1.amazonaws.com")
        assert here == ECR.lease_scope("id", "222222222222.dkr.ecr.eu-west-1.amazonaws.com")
        assert here != ECR.lease_scope("id", "111111111111.dkr.ecr.eu-west-2.amazonaws.com")
        assert here != ECR.lease_scope("other", "111111111111.dkr.ecr.eu-west-1.amazonaws.com")

    def test_usable_for_holds_partition_and_account_apart(self) -> None:
        usable_for = CATALOGUE.provider_of_kind("ecr").usable_for.model_validate(
            {"partition": "aws", "accounts": ["123456789012"]}
        )
        assert usable_for.permits("123456789012.dkr.ecr.sa-east-1.amazonaws.com")
        assert not usable_for.permits("123456789013.dkr.ecr.sa-east-1.amazonaws.com")
        assert not usable_for.permits("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn")
        assert not usable_for.permits("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com")


class TestOciHosts:
    @pytest.mark.parametrize(
        "host",
        ["registry-1.docker.io", "harbor.example.com:8443", "localhost:5000", "10.0.0.1", "[fd00::1]:5000"],
    )
    def test_names_and_addresses_with_ports_are_hosts(self, host: str) -> None:
        assert OCI.owns(host)

    @pytest.mark.parametrize(
        "host",
        [
            "",
            "a b",
            "http://a",
            "a/b",
            "user@a",
            "a:0",
            "a:65536",
            "a:x",
            "-a",
            "a-",
            "a..b",
            "a\n",
            "A",
            ".a",
            "0x7f.1",
            "127.1",
            "2130706433",
            "1.2.3.4.5",
            "[::1",
            "a" * 254,
            "a?b",
            "a#b",
            "a%00",
        ],
    )
    def test_anything_else_is_not(self, host: str) -> None:
        assert not OCI.owns(host)

    def test_official_images_stand_below_library_on_docker_hub_alone(self) -> None:
        assert OCI.upstream_repository("alpine", "registry-1.docker.io") == "library/alpine"
        assert OCI.upstream_repository("grafana/grafana", "registry-1.docker.io") == "grafana/grafana"
        assert OCI.upstream_repository("alpine", "quay.io") == "alpine"

    def test_a_cloud_with_a_grammar_claims_its_hosts(self) -> None:
        assert CATALOGUE.kind_owning(ECR_HOSTS[0]) is ECR
        assert CATALOGUE.kind_owning("quay.io") is None


def judge(kind: RegistryKind, status: int, body: str = "", **headers: str) -> Verdict:
    return classify(kind, status, headers, body.encode())


def denied(message: str) -> str:
    return json.dumps({"errors": [{"code": "DENIED", "message": message}]})


class TestClassify:
    @pytest.mark.parametrize(
        ("status", "body", "answer", "reason", "refreshable"),
        [
            (
                403,
                denied("Your authorization token has expired. Reauthenticate and try again."),
                Answer.REFUSED,
                "credential_expired",
                True,
            ),
            (
                403,
                denied("Your Authorization Token has expired. Please run 'aws ecr get-login'"),
                Answer.REFUSED,
                "credential_expired",
                True,
            ),
            (
                403,
                denied("User: arn:aws:iam::1:user/u is not authorized to perform: ecr:BatchGetImage"),
                Answer.HIDDEN,
                "permission_denied",
                False,
            ),
            (401, "Not Authorized", Answer.REFUSED, "credential_rejected", True),
            (400, "Bad Request", Answer.REFUSED, "credential_rejected", True),
            (404, '{"errors":[{"code":"NAME_UNKNOWN"}]}', Answer.ABSENT, "repository_unknown", False),
            (404, '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', Answer.ABSENT, "manifest_unknown", False),
            (405, '{"errors":[{"code":"UNSUPPORTED"}]}', Answer.UNAVAILABLE, "pagination_refused", False),
            (429, '{"errors":[{"code":"TOOMANYREQUESTS"}]}', Answer.UNAVAILABLE, "throttled", False),
        ],
    )
    def test_ecr_is_read_by_its_own_table(
        self,
        status: int,
        body: str,
        answer: Answer,
        reason: str,
        refreshable: bool,  # noqa: FBT001 - a column
    ) -> None:
        verdict = judge(ECR, status, body)
        assert (verdict.answer, verdict.reason, verdict.refreshable) == (answer, reason, refreshable)

    @pytest.mark.parametrize("status", [100, 204, 302, 402, 409, 418, 451, 500, 502, 503, 504, 599])
    @pytest.mark.parametrize("kind", [ECR, OCI], ids=lambda kind: kind.name)
    def test_what_no_row_knows_is_unavailable_and_never_absent(self, kind: RegistryKind, status: int) -> None:
        assert judge(kind, status, "whatever").answer is Answer.UNAVAILABLE

    @given(st.integers(100, 599), st.binary(max_size=300), st.sampled_from([ECR, OCI]))
    def test_only_a_404_is_absent(self, status: int, body: bytes, kind: RegistryKind) -> None:
        verdict = classify(kind, status, {}, body)
        assert (verdict.answer is Answer.ABSENT) == (status == 404)
        assert verdict.answer is not Answer.FOUND

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("7", 7.0), ("999999", 3600.0), ("-1", None), ("soon", None), ("", None), ("²", None)],
    )
    def test_retry_after_is_whole_seconds_and_bounded(self, value: str, seconds: float | None) -> None:
        verdict = classify(OCI, 429, {"retry-after": value}, b"")
        assert verdict.retry_after == seconds

    def test_the_providers_words_are_kept_short(self) -> None:
        assert len(judge(OCI, 403, "x" * 100_000).detail) == 1000
