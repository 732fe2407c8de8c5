"""STS and the ECR API, asked by the real boto3 under the real host names."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ProxyConnectionError, SSLError

from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.scene import ACCOUNT, BROKER_ACCOUNT, OTHER_REGION, REGION, Scene, set_scene
from tests.clouds.sdk import Sdk, pull_token, refused


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
def sdk(world: Clouds, scene: Scene) -> Sdk:
    return Sdk(world, scene.key)


def test_a_role_is_assumed_and_its_session_gets_a_registry_token(world: Clouds, scene: Scene) -> None:
    token = pull_token(world, scene)

    assert 400 < len(token) < 8000
    assert world.log.count(operation="AssumeRole", region=REGION, status="200") == 1
    (entry,) = world.log.entries(operation="GetAuthorizationToken")
    assert entry.principal == f"arn:aws:sts::{ACCOUNT}:assumed-role/vreg-pull/a-session"
    assert entry.has_authorization


def test_tokens_differ_in_content_and_length(world: Clouds, scene: Scene) -> None:
    tokens = [pull_token(world, scene) for _ in range(6)]

    assert len(set(tokens)) == 6
    assert len({len(token) for token in tokens}) > 1


def test_the_answer_names_twelve_hours_and_the_callers_own_registry(world: Clouds, scene: Scene) -> None:
    session = Sdk(world, Sdk(world, scene.key).assume(scene.role_arn))
    answer = session.client("ecr").get_authorization_token()
    given = answer["authorizationData"][0]

    life = given["expiresAt"].timestamp() - world.log.entries(operation="GetAuth*")[0].at
    assert life == pytest.approx(12 * 3600, abs=5)
    assert given["proxyEndpoint"] == f"https://{scene.host}"


def test_every_region_answers_under_its_own_name(world: Clouds, scene: Scene) -> None:
    pull_token(world, scene, OTHER_REGION)

    assert world.log.count(host="sts.us-east-1.amazonaws.com") == 1
    assert world.log.count(host="api.ecr.us-east-1.amazonaws.com") == 1


def test_the_identity_of_a_key_needs_no_permission(world: Clouds) -> None:
    key = world.aws.add_user(BROKER_ACCOUNT, "nobody")

    identity = Sdk(world, key).client("sts").get_caller_identity()

    assert identity["Arn"] == f"arn:aws:iam::{BROKER_ACCOUNT}:user/nobody"
    assert identity["Account"] == BROKER_ACCOUNT


def test_a_wrong_secret_is_a_wrong_signature(world: Clouds, scene: Scene) -> None:
    wrong = Sdk(world, replace(scene.key, secret_access_key="not the secret"))

    assert refused(wrong.assume, scene.role_arn)[:2] == ("SignatureDoesNotMatch", 403)
    assert refused(wrong.token)[:2] == ("InvalidSignatureException", 400)


def test_an_unknown_key_is_an_invalid_token(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    world.aws.delete_key(scene.key.access_key_id)

    assert refused(sdk.assume, scene.role_arn)[:2] == ("InvalidClientTokenId", 403)
    assert refused(sdk.token)[:2] == ("UnrecognizedClientException", 400)


def test_a_key_of_another_partition_is_unknown(world: Clouds, scene: Scene) -> None:
    sdk = Sdk(world, scene.key, "cn-north-1")

    assert refused(sdk.token)[0] == "UnrecognizedClientException"
    assert world.log.count(host="api.ecr.cn-north-1.amazonaws.com.cn") == 1


@pytest.mark.parametrize(
    ("offset", "words"), [(600, "Signature expired"), (-600, "Signature not yet current")]
)
def test_a_clock_that_is_wrong_is_told_so(
    world: Clouds, scene: Scene, sdk: Sdk, offset: int, words: str
) -> None:
    world.aws.set_clock_offset(offset)

    code, _, message = refused(sdk.assume, scene.role_arn)
    assert (code, words in message, "5 min" in message) == ("SignatureDoesNotMatch", True, True)
    code, _, message = refused(sdk.token)
    assert (code, words in message) == ("InvalidSignatureException", True)


def test_a_clock_that_is_nearly_right_will_do(world: Clouds, scene: Scene) -> None:
    world.aws.set_clock_offset(240)

    assert pull_token(world, scene)


def test_a_signature_is_good_for_its_region_alone(sdk: Sdk) -> None:
    client = sdk.client("sts", endpoint_url="https://sts.us-east-1.amazonaws.com")

    code, _, message = refused(client.get_caller_identity)
    assert (code, "valid region" in message) == ("SignatureDoesNotMatch", True)


def test_a_session_needs_its_token(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    session = sdk.assume(scene.role_arn)

    assert refused(Sdk(world, replace(session, session_token=None)).token)[0] == "UnrecognizedClientException"
    assert refused(Sdk(world, replace(session, session_token="x")).token)[0] == "UnrecognizedClientException"


def test_a_session_that_is_over_is_expired(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    session = Sdk(world, sdk.assume(scene.role_arn))
    assert world.aws.expire_sessions() == 1

    assert refused(session.token)[:2] == ("ExpiredTokenException", 400)
    assert refused(session.assume, scene.role_arn)[:2] == ("ExpiredToken", 403)


@pytest.mark.parametrize("external_id", [None, "another-id"])
def test_without_the_external_id_the_role_may_not_be_assumed(
    scene: Scene, sdk: Sdk, external_id: str | None
) -> None:
    code, status, message = refused(sdk.assume, scene.role_arn, ExternalId=external_id)

    assert (code, status) == ("AccessDenied", 403)
    assert message.endswith(f"is not authorized to perform: sts:AssumeRole on resource: {scene.role_arn}")


def test_a_role_that_does_not_exist_is_denied_in_the_same_words(sdk: Sdk) -> None:
    missing = f"arn:aws:iam::{ACCOUNT}:role/nobody-made-this"

    assert refused(sdk.assume, missing)[0] == "AccessDenied"


def test_another_accounts_role_needs_both_sides(world: Clouds, scene: Scene) -> None:
    stranger = world.aws.add_user(BROKER_ACCOUNT, "stranger", allow=may_assume("*"))
    assert refused(Sdk(world, stranger).assume, scene.role_arn)[0] == "AccessDenied"

    world.aws.set_policy(scene.key.arn, ())
    assert refused(Sdk(world, scene.key).assume, scene.role_arn)[0] == "AccessDenied"


def test_sessions_end_when_they_were_asked_to_and_no_earlier_than_a_quarter_of_an_hour(
    world: Clouds, scene: Scene, sdk: Sdk
) -> None:
    assert refused(sdk.assume, scene.role_arn, DurationSeconds=7200)[:2] == ("ValidationError", 400)
    chained = world.aws.add_role(
        ACCOUNT, "chained", trusts=(scene.role_arn,), allow=may_pull(), max_session_seconds=43200
    )
    session = Sdk(world, sdk.assume(scene.role_arn))
    code, _, message = refused(session.assume, chained, DurationSeconds=3601)
    assert (code, "role chaining" in message) == ("ValidationError", True)
    assert session.assume(chained, DurationSeconds=3600).session_token


def test_a_session_can_be_made_shorter_than_may_be_asked_for(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    world.aws.set_session_life(0)

    session = Sdk(world, sdk.assume(scene.role_arn))

    assert refused(session.token)[0] == "ExpiredTokenException"


def test_a_region_can_be_switched_off(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    world.aws.disable_region(BROKER_ACCOUNT, REGION)

    code, status, message = refused(sdk.assume, scene.role_arn)

    assert (code, status) == ("RegionDisabledException", 403)
    assert "not activated in this region" in message


def test_without_the_permission_there_is_no_token(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    world.aws.set_policy(scene.role_arn, ())

    code, status, message = refused(Sdk(world, sdk.assume(scene.role_arn)).token)

    assert (code, status) == ("AccessDeniedException", 400)
    assert "is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no" in message


def test_throttling_has_status_400_and_ends_after_as_many_as_were_ordered(
    world: Clouds, scene: Scene, sdk: Sdk
) -> None:
    world.faults.add(Fault(Harm.THROTTLE, service="sts", times=2))
    assert refused(sdk.assume, scene.role_arn) == ("Throttling", 400, "Rate exceeded")
    assert refused(sdk.assume, scene.role_arn)[0] == "Throttling"
    session = Sdk(world, sdk.assume(scene.role_arn))

    world.faults.add(Fault(Harm.THROTTLE, service="ecr-api"))
    assert refused(session.token) == ("ThrottlingException", 400, "Rate exceeded")
    assert session.token()


def test_a_cloud_that_is_unwell_says_so_in_its_own_format(world: Clouds, scene: Scene, sdk: Sdk) -> None:
    world.faults.add(Fault(Harm.FAIL, service="sts", status=503))
    assert refused(sdk.assume, scene.role_arn)[:2] == ("ServiceUnavailable", 503)

    session = Sdk(world, sdk.assume(scene.role_arn))
    world.faults.add(Fault(Harm.FAIL, service="ecr-api", status=500))
    assert refused(session.token)[:2] == ("ServerException", 500)


@pytest.mark.parametrize("harm", [Harm.UNTRUSTED, Harm.OUTDATED])
def test_a_bad_certificate_is_presented_on_command(scene: Scene, world: Clouds, sdk: Sdk, harm: Harm) -> None:
    world.faults.add(Fault(harm, host="sts.*"))

    with pytest.raises(SSLError):
        sdk.assume(scene.role_arn)


def test_a_name_can_be_unreachable(scene: Scene, world: Clouds, sdk: Sdk) -> None:
    world.faults.add(Fault(Harm.UNREACHABLE, host="sts.eu-west-1.amazonaws.com"))

    with pytest.raises(ProxyConnectionError):
        sdk.assume(scene.role_arn)


async def test_an_unsigned_call_is_refused_in_each_dialect(world: Clouds) -> None:
    async with world.http_client() as client:
        xml = await client.post("https://sts.eu-west-1.amazonaws.com/", content=b"Action=GetCallerIdentity")
        json = await client.post("https://api.ecr.eu-west-1.amazonaws.com/", content=b"{}")

    assert (xml.status_code, "<Code>MissingAuthenticationToken</Code>" in xml.text) == (403, True)
    assert (json.status_code, json.json()["__type"]) == (400, "MissingAuthenticationTokenException")
