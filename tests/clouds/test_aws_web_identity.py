"""AssumeRoleWithWebIdentity, session policies and chains, asked by the real boto3."""

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from tests.clouds import issuer
from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.model import Federation
from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.issuer import TestIssuer
from tests.clouds.scene import ACCOUNT, OTHER_ACCOUNT, REGION, Scene, set_scene
from tests.clouds.sdk import Sdk, refused

AUDIENCE = "sts.amazonaws.com"
SUBJECT = "vreg:identity:01JDEXAMPLE"
STATEMENTS = [{"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def own(world: Clouds) -> TestIssuer:
    made = TestIssuer()
    world.sites.serve(issuer.HOST, made.documents())
    return made


@pytest.fixture
def role(world: Clouds, own: TestIssuer) -> str:
    world.aws.add_oidc_provider(ACCOUNT, own.url, audiences=(AUDIENCE,))
    trust = Federation(own.url, AUDIENCE, SUBJECT)
    return world.aws.add_role(ACCOUNT, "keyless", federations=(trust,), allow=may_pull())


def token(own: TestIssuer, **changes: object) -> str:
    now = int(time.time())
    return own.token(**({"sub": SUBJECT, "aud": AUDIENCE, "iat": now, "exp": now + 300} | changes))


def assuming(world: Clouds, role: str, text: str, **options: object) -> Callable[[], dict[str, Any]]:
    config = Config(
        proxies={"https": world.gateway_url}, retries={"total_max_attempts": 1}, signature_version=UNSIGNED
    )
    client = boto3.client("sts", region_name=REGION, config=config, verify=str(world.ca_bundle))
    return lambda: client.assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="a-session", WebIdentityToken=text, **options
    )


def test_a_signed_token_is_enough_for_the_role_that_trusts_its_subject(
    world: Clouds, own: TestIssuer, role: str
) -> None:
    answer = assuming(world, role, token(own))()

    given = answer["Credentials"]
    session = MadeKey(given["AccessKeyId"], given["SecretAccessKey"], role, given["SessionToken"])
    assert Sdk(world, session).token()
    assert answer["SubjectFromWebIdentityToken"] == SUBJECT
    assert answer["Audience"] == AUDIENCE
    assert answer["Provider"].endswith(":oidc-provider/issuer.example.test/oidc")
    (entry,) = world.log.entries(operation="AssumeRoleWithWebIdentity")
    assert not entry.has_authorization


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"aud": "somebody-else"}, "InvalidIdentityToken", 400),
        ({"sub": "vreg:identity:another"}, "AccessDenied", 403),
        ({"exp": 1}, "ExpiredTokenException", 400),
        ({"exp": 1.5}, "InvalidIdentityToken", 400),
        ({"iat": 4_000_000_000}, "InvalidIdentityToken", 400),
    ],
)
def test_a_token_that_does_not_fit_is_refused_as_the_model_says(  # noqa: PLR0913, PLR0917 -- fixtures and columns
    world: Clouds, own: TestIssuer, role: str, changes: dict[str, object], code: str, status: int
) -> None:
    assert refused(assuming(world, role, token(own, **changes)))[:2] == (code, status)


def test_an_issuer_that_the_account_does_not_know_is_named_and_not_asked(
    world: Clouds, own: TestIssuer, role: str
) -> None:
    world.aws.delete_oidc_provider(ACCOUNT, own.url)

    code, status, message = refused(assuming(world, role, token(own)))

    assert (code, status) == ("InvalidIdentityToken", 400)
    assert message == f"No OpenIDConnect provider found in your account for {own.url}"
    assert world.log.count(host=issuer.HOST) == 0


def test_an_issuer_that_cannot_be_reached_is_told_apart(world: Clouds, own: TestIssuer, role: str) -> None:
    world.sites.withdraw(issuer.HOST)

    assert refused(assuming(world, role, token(own)))[:2] == ("IDPCommunicationError", 400)


def test_a_rejected_claim_has_a_code_of_its_own(world: Clouds, own: TestIssuer, role: str) -> None:
    world.aws.reject_claims_of(own.url)

    assert refused(assuming(world, role, token(own)))[:2] == ("IDPRejectedClaim", 403)


def test_another_issuers_key_is_no_key_of_ours(world: Clouds, own: TestIssuer, role: str) -> None:
    stranger = TestIssuer(own.url)

    assert refused(assuming(world, role, token(stranger)))[:2] == ("InvalidIdentityToken", 400)
    assert refused(assuming(world, role, "not.a.token"))[0] == "InvalidIdentityToken"
    assert refused(assuming(world, role, "x" * 20001))[0] == "ValidationError"


def test_a_region_is_switched_off_for_the_roles_own_account(
    world: Clouds, own: TestIssuer, role: str
) -> None:
    world.aws.disable_region(ACCOUNT, REGION)

    assert refused(assuming(world, role, token(own)))[:2] == ("RegionDisabledException", 403)


def test_a_session_of_a_token_is_no_link_of_a_chain_and_the_next_one_is(
    world: Clouds, own: TestIssuer, role: str
) -> None:
    long = world.aws.add_role(
        ACCOUNT,
        "long",
        federations=(Federation(own.url, None, None),),
        max_session_seconds=43200,
    )

    assert assuming(world, long, token(own), DurationSeconds=43200)()["Credentials"]
    assert refused(assuming(world, role, token(own), DurationSeconds=7200))[0] == "ValidationError"


class TestSessionPolicies:
    def policy(self, *statements: object) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": list(statements) or STATEMENTS})

    def test_a_session_may_do_what_role_and_policy_both_allow(self, world: Clouds) -> None:
        scene: Scene = set_scene(world)
        sdk = Sdk(world, scene.key)
        may = Sdk(world, sdk.assume(scene.role_arn, Policy=self.policy()))
        may_not = Sdk(
            world,
            sdk.assume(
                scene.role_arn,
                Policy=self.policy({"Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"}),
            ),
        )

        assert may.token()
        code, _, message = refused(may_not.token)
        assert (code, "no session policy allows" in message) == ("AccessDeniedException", True)

    def test_a_policy_gives_nothing_that_the_role_lacks(self, world: Clouds) -> None:
        scene = set_scene(world, allow=())

        session = Sdk(world, scene.key).assume(scene.role_arn, Policy=self.policy())

        assert refused(Sdk(world, session).token)[0] == "AccessDeniedException"

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("{", "MalformedPolicyDocument"),
            ('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}', "MalformedPolicyDocument"),
            ('{"Statement": []}', "MalformedPolicyDocument"),
            ("x" * 2049, "ValidationError"),
        ],
    )
    def test_a_policy_must_be_one_and_short(self, world: Clouds, text: str, code: str) -> None:
        scene = set_scene(world)

        assert refused(Sdk(world, scene.key).assume, scene.role_arn, Policy=text)[:2] == (code, 400)

    def test_a_policy_may_be_too_large_once_it_is_packed(self, world: Clouds) -> None:
        scene = set_scene(world)
        world.aws.set_packed_policy_limit(50)

        code, status, message = refused(Sdk(world, scene.key).assume, scene.role_arn, Policy=self.policy())

        assert (code, status, "Packed size" in message) == ("PackedPolicyTooLarge", 400, True)


def test_a_chain_leads_into_another_account(world: Clouds) -> None:
    scene = set_scene(world)
    next_role = world.aws.add_role(OTHER_ACCOUNT, "there", trusts=(scene.role_arn,), allow=may_pull())
    first = Sdk(world, Sdk(world, scene.key).assume(scene.role_arn))

    assert refused(first.assume, next_role)[0] == "AccessDenied", "the first role must be allowed to, too"
    world.aws.set_policy(scene.role_arn, (*may_assume(next_role), *may_pull()))
    assert Sdk(world, first.assume(next_role)).token()
