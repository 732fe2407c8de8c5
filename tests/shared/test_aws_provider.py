"""What is declared of AWS: where identities may be used, what is objected to, what AWS must be told."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed, Objection, TrustContext, TrustStep
from vreg_shared.catalogue import catalogue
from vreg_shared.provider import Answer, InvalidHostError, classify
from vreg_shared.providers.aws.auth_methods import AccessKey, AssumeRole, Container, Instance, WebIdentity
from vreg_shared.providers.aws.policies import PULL_ACTIONS, SESSION_POLICY_LIMIT
from vreg_shared.providers.aws.usable_for import AwsUsableFor
from vreg_shared.secret import Secret

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ACCOUNT, OTHER = "123456789012", "210987654321"
ROLE, NEXT = f"arn:aws:iam::{ACCOUNT}:role/vreg-pull", f"arn:aws:iam::{OTHER}:role/path/to/there"
KEY: dict[str, Any] = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": Secret("a-secret")}
PUBLIC = catalogue().kind("ecr_public")
HOSTS = ("public.ecr.aws", "ecr-public.aws.com")


def codes(objections: tuple[Objection, ...]) -> list[tuple[str, str]]:
    return [(each.field, each.code) for each in objections]


def context(
    *accounts: str, partition: str = "aws", issuer: str | None = "https://vreg.example.com/oidc"
) -> TrustContext:
    return TrustContext(
        identity_name="ecr",
        external_id="vreg-external",
        subject="vreg:identity:01JD",
        issuer_url=issuer,
        usable_for=AwsUsableFor.model_validate({"partition": partition, "accounts": accounts or (ACCOUNT,)}),
    )


class TestEcrPublic:
    @pytest.mark.parametrize("host", HOSTS)
    def test_it_has_two_names_each_with_its_own_realm(self, host: str) -> None:
        assert PUBLIC.require_host(host.upper()) == host
        assert PUBLIC.token_realm(host) == f"https://{host}/token/"
        assert catalogue().kind_owning(host) is PUBLIC

    @pytest.mark.parametrize(
        "host",
        ["public.ecr.aws.evil.com", "xpublic.ecr.aws", "ecr.aws", "public.ecr.aws:443", "public.ecr.aws\n"],
    )
    def test_a_lookalike_is_not(self, host: str) -> None:
        with pytest.raises(InvalidHostError):
            PUBLIC.require_host(host)

    @given(st.sampled_from(HOSTS), st.text(min_size=1, max_size=20), st.booleans())
    def test_nothing_may_stand_before_or_behind(self, host: str, extra: str, behind: bool) -> None:  # noqa: FBT001 - drawn
        assert not PUBLIC.owns(host + extra if behind else extra + host)

    def test_one_token_serves_all_of_it(self) -> None:
        assert {PUBLIC.lease_scope("id", host) for host in HOSTS} == {"id/public"}

    def test_only_the_usual_partition_has_it_and_no_account_is_needed(self) -> None:
        for host in HOSTS:
            assert AwsUsableFor().permits(host)
            assert not AwsUsableFor(partition="aws-cn", accounts=(ACCOUNT,)).permits(host)
        assert not AwsUsableFor().permits(f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com")

    @pytest.mark.parametrize(
        ("status", "code", "message", "answer", "reason", "refreshable"),
        [
            (
                400,
                "DENIED",
                "Your Authorization Token has expired.",
                Answer.REFUSED,
                "credential_expired",
                True,
            ),
            (
                400,
                "DENIED",
                "Your Authorization Token is invalid.",
                Answer.REFUSED,
                "credential_rejected",
                True,
            ),
            (404, "NAME_UNKNOWN", "", Answer.ABSENT, "repository_unknown", False),
            (
                429,
                "TOOMANYREQUESTS",
                "toomanyrequests: Rate exceeded",
                Answer.UNAVAILABLE,
                "throttled",
                False,
            ),
            (400, "NAME_INVALID", "", Answer.UNAVAILABLE, "unexpected_answer", False),
        ],
    )
    def test_its_answers_are_read_by_its_own_table(  # noqa: PLR0913, PLR0917 - columns
        self,
        status: int,
        code: str,
        message: str,
        answer: Answer,
        reason: str,
        refreshable: bool,  # noqa: FBT001 - a column
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        verdict = classify(PUBLIC, status, {}, body)
        assert (verdict.answer, verdict.reason, verdict.refreshable) == (answer, reason, refreshable)


class TestForms:
    def test_a_temporary_key_needs_its_token(self) -> None:
        temporary = KEY | {"access_key_id": "ASIAIOSFODNN7EXAMPLE"}
        with pytest.raises(ValidationError, match="session token"):
            AccessKey.model_validate(temporary)
        assert AccessKey.model_validate(temporary | {"session_token": Secret("t")})

    @pytest.mark.parametrize("audience", ["", " x", "a b", "x" * 256, "http://\n", "é"])
    def test_an_audience_is_a_name_or_an_address(self, audience: str) -> None:
        with pytest.raises(ValidationError):
            WebIdentity(role_arn=ROLE, audience=audience)

    @pytest.mark.parametrize("pattern", ["", "Team/*", "team a", 'a"b', "../x", "a?b", "a\n"])
    def test_a_pattern_is_of_repositories_and_of_nothing_that_ends_a_string(self, pattern: str) -> None:
        with pytest.raises(ValidationError):
            Container(repositories=(pattern,))

    def test_fields_stand_as_the_climb_goes(self) -> None:
        assert [name for name in AssumeRole.model_fields if name != "method"] == [
            "access_key_id",
            "secret_access_key",
            "session_token",
            "role_arn",
            "further_role_arns",
            "repositories",
            "session_name",
            "duration_seconds",
        ]
        assert next(iter(WebIdentity.model_fields)) == "token_file"

    def test_web_identity_needs_a_signed_token_and_the_machines_methods_the_operator(self) -> None:
        assert WebIdentity(role_arn=ROLE).identity_token == IdentityTokenNeed("sts.amazonaws.com")
        of_file = WebIdentity(role_arn=ROLE, token_file="irsa", audience="a")
        assert of_file.identity_token == IdentityTokenNeed("a", "irsa")
        assert [m.is_ambient for m in (AccessKey, AssumeRole, WebIdentity, Container, Instance)] == [
            False,
            False,
            False,
            True,
            True,
        ]


class TestObjections:
    def test_roles_must_be_of_the_identitys_partition(self) -> None:
        foreign = f"arn:aws-cn:iam::{ACCOUNT}:role/r"
        usable_for = AwsUsableFor(accounts=(ACCOUNT,))
        method = AssumeRole(**KEY, role_arn=foreign, further_role_arns=(ROLE, foreign))
        assert codes(method.objections(usable_for, NOW)) == [
            ("role_arn", "partition_mismatch"),
            ("further_role_arns", "partition_mismatch"),
        ]
        china = AwsUsableFor(partition="aws-cn", accounts=(ACCOUNT,))
        assert AssumeRole(**KEY, role_arn=foreign).objections(china, NOW) == ()

    @pytest.mark.parametrize(
        ("method", "is_chained"),
        [
            (AssumeRole(**KEY, role_arn=ROLE, duration_seconds=7200), False),
            (AssumeRole(**KEY, role_arn=ROLE, further_role_arns=(NEXT,), duration_seconds=7200), True),
            (WebIdentity(role_arn=ROLE, duration_seconds=7200), False),
            (WebIdentity(role_arn=ROLE, further_role_arns=(NEXT,), duration_seconds=7200), True),
            (Container(duration_seconds=7200), False),
            (Container(role_arn=ROLE, duration_seconds=7200), True),
            (Instance(role_arn=ROLE, duration_seconds=7200), True),
            (Instance(role_arn=ROLE), False),
        ],
    )
    def test_a_link_of_a_chain_lasts_an_hour(self, method: AuthMethod, is_chained: bool) -> None:  # noqa: FBT001 - a column
        found = codes(method.objections(AwsUsableFor(accounts=(ACCOUNT,)), NOW))
        assert found == ([("duration_seconds", "duration_too_long")] if is_chained else [])

    def test_a_temporary_keys_role_is_a_link_of_a_chain(self) -> None:
        temporary = KEY | {"access_key_id": "ASIAIOSFODNN7EXAMPLE", "session_token": Secret("t")}
        method = AssumeRole(**temporary, role_arn=ROLE, duration_seconds=7200)
        assert codes(method.objections(AwsUsableFor(), NOW)) == [("duration_seconds", "duration_too_long")]

    def test_a_limit_must_fit_into_a_session_policy(self) -> None:
        method = AssumeRole(**KEY, role_arn=ROLE, repositories=("team-a/*", "team-b/*"))
        fits = AwsUsableFor(accounts=(ACCOUNT,))
        policy = method.session_policy(fits, is_public=False)
        assert policy is not None
        assert len(policy) <= SESSION_POLICY_LIMIT
        assert method.objections(fits, NOW) == ()
        many = AwsUsableFor(accounts=tuple(str(100_000_000_000 + number) for number in range(30)))
        assert codes(method.objections(many, NOW)) == [("repositories", "policy_too_long")]

    def test_a_limit_needs_a_role_to_be_of(self) -> None:
        found = Instance(repositories=("a",)).objections(AwsUsableFor(accounts=(ACCOUNT,)), NOW)
        assert codes(found) == [("repositories", "role_missing")]

    @given(
        st.lists(st.from_regex(r"[a-z0-9*][a-z0-9*._/-]{0,40}", fullmatch=True), max_size=8),
        st.lists(st.from_regex(r"[0-9]{12}", fullmatch=True), min_size=1, max_size=8),
    )
    def test_a_policy_allows_pulling_of_just_these_in_just_these_accounts(
        self, patterns: list[str], accounts: list[str]
    ) -> None:
        method = AssumeRole(**KEY, role_arn=ROLE, repositories=tuple(patterns))
        text = method.session_policy(AwsUsableFor(accounts=tuple(accounts)), is_public=False)
        if not patterns:
            assert text is None
            return
        token, pull = json.loads(text or "")["Statement"]
        assert (token["Action"], token["Resource"]) == ("ecr:GetAuthorizationToken", "*")
        resources = pull["Resource"] if isinstance(pull["Resource"], list) else [pull["Resource"]]
        assert pull["Action"] == list(PULL_ACTIONS)
        assert resources == [
            f"arn:aws:ecr:*:{account}:repository/{pattern}" for account in accounts for pattern in patterns
        ]


def texts(steps: tuple[TrustStep, ...]) -> str:
    return "\n".join(step.text for step in steps)


def document(steps: tuple[TrustStep, ...], file: str) -> Any:  # noqa: ANN401 - JSON
    (found,) = [step for step in steps if step.file == file]
    assert found.language == "json"
    return json.loads(found.text)


METHODS = [
    AccessKey(**KEY),
    AssumeRole(**KEY, role_arn=ROLE),
    AssumeRole(**KEY, role_arn=ROLE, further_role_arns=(NEXT,), repositories=("team/*",)),
    WebIdentity(role_arn=ROLE),
    WebIdentity(role_arn=ROLE, token_file="irsa", further_role_arns=(NEXT,)),
    Container(),
    Container(role_arn=ROLE),
    Instance(),
    Instance(role_arn=ROLE, further_role_arns=(NEXT,)),
]


class TestTrustSteps:
    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.tag)
    @pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
    def test_every_arn_is_of_the_identitys_partition(self, method: AuthMethod, partition: str) -> None:
        settings = json.loads(json.dumps(method.plain_settings()).replace("arn:aws:", f"arn:{partition}:"))
        there = type(method).from_parts(settings, method.secrets_json())
        steps = there.trust_steps(context(ACCOUNT, OTHER, partition=partition))
        assert texts(steps).count("arn:") == texts(steps).count(f"arn:{partition}:")
        assert ("ecr-public" in texts(steps)) == (partition == "aws")

    @pytest.mark.parametrize("method", METHODS, ids=lambda method: method.tag)
    def test_every_document_is_json_is_used_by_a_command_and_holds_no_secret(
        self, method: AuthMethod
    ) -> None:
        steps = method.trust_steps(context(ACCOUNT, OTHER))
        commands = "\n".join(step.text for step in steps if step.language == "sh")
        files = [step.file for step in steps if step.language == "json"]
        assert len(set(files)) == len(files)
        for step in steps:
            if step.language == "json":
                json.loads(step.text)
                assert f"file://{step.file}" in commands or step.file == "task-definition.json"
        assert "a-secret" not in texts(steps)

    def test_the_pull_policy_is_of_the_accounts_and_no_more(self) -> None:
        steps = AssumeRole(**KEY, role_arn=ROLE, repositories=("team/*",)).trust_steps(context(ACCOUNT))
        assert document(steps, "role.json")["Statement"] == [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": list(PULL_ACTIONS),
                "Resource": f"arn:aws:ecr:*:{ACCOUNT}:repository/team/*",
            },
        ]

    def test_each_role_of_a_chain_trusts_the_one_before_it_with_the_external_id(self) -> None:
        steps = AssumeRole(**KEY, role_arn=ROLE, further_role_arns=(NEXT,)).trust_steps(context(OTHER))
        condition = {"StringEquals": {"sts:ExternalId": "vreg-external"}}
        first, second = document(steps, "trust.json"), document(steps, "trust-2.json")
        assert first["Statement"][0]["Condition"] == condition == second["Statement"][0]["Condition"]
        assert second["Statement"][0]["Principal"] == {"AWS": ROLE}
        assert document(steps, "role.json")["Statement"][0] == {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": NEXT,
        }
        assert document(steps, "role-2.json")["Statement"][1]["Resource"] == (
            f"arn:aws:ecr:*:{OTHER}:repository/*"
        )
        assert "--path /path/to/" in texts(steps)

    def test_a_role_for_longer_sessions_is_made_for_them(self) -> None:
        long = WebIdentity(role_arn=ROLE, duration_seconds=7200).trust_steps(context())
        assert "--max-session-duration 7200" in texts(long)
        assert "max-session-duration" not in texts(WebIdentity(role_arn=ROLE).trust_steps(context()))

    def test_federated_trust_compares_provider_audience_and_subject(self) -> None:
        steps = WebIdentity(role_arn=ROLE).trust_steps(context())
        name = "vreg.example.com/oidc"
        assert document(steps, "trust.json")["Statement"] == [
            {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{name}"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {f"{name}:aud": "sts.amazonaws.com", f"{name}:sub": "vreg:identity:01JD"}
                },
            }
        ]
        assert "create-open-id-connect-provider" in steps[0].text
        assert "--url https://vreg.example.com/oidc" in steps[0].text

    def test_a_token_files_issuer_and_subject_are_for_the_reader(self) -> None:
        steps = WebIdentity(role_arn=ROLE, token_file="irsa").trust_steps(context())
        assert "system:serviceaccount:NAMESPACE:SERVICE_ACCOUNT" in texts(steps)
        assert "vreg:identity:01JD" not in texts(steps)
        assert "https://OIDC_ISSUER" in texts(WebIdentity(role_arn=ROLE).trust_steps(context(issuer=None)))

    def test_a_machines_role_trusts_the_machines_service(self) -> None:
        pod = document(Container().trust_steps(context()), "trust.json")["Statement"][0]
        assert pod["Principal"]["Service"] == ["pods.eks.amazonaws.com", "ecs-tasks.amazonaws.com"]
        assert pod["Action"] == ["sts:AssumeRole", "sts:TagSession"]
        steps = Instance().trust_steps(context(partition="aws-cn"))
        service = document(steps, "trust.json")["Statement"][0]["Principal"]["Service"]
        assert service == "ec2.amazonaws.com.cn"
        assert "--http-put-response-hop-limit 2" in texts(steps)
        assert "create-pod-identity-association" in texts(Container().trust_steps(context()))

    def test_repositories_of_other_accounts_need_a_policy_of_their_own(self) -> None:
        alone = AssumeRole(**KEY, role_arn=ROLE).trust_steps(context(ACCOUNT))
        assert "set-repository-policy" not in texts(alone)
        steps = AssumeRole(**KEY, role_arn=ROLE).trust_steps(context(ACCOUNT, OTHER))
        policy = document(steps, "repository.json")["Statement"][0]
        assert (policy["Principal"], policy["Action"]) == ({"AWS": ROLE}, list(PULL_ACTIONS))
        assert "Resource" not in policy

    def test_an_identity_for_ecr_public_alone_needs_its_two_actions(self) -> None:
        public = TrustContext(
            identity_name="public",
            external_id="x",
            subject="s",
            issuer_url=None,
            usable_for=AwsUsableFor(),
        )
        steps = AssumeRole(**KEY, role_arn=ROLE).trust_steps(public)
        assert document(steps, "role.json")["Statement"] == [
            {
                "Effect": "Allow",
                "Action": ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"],
                "Resource": "*",
            }
        ]
