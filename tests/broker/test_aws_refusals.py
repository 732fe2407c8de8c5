from datetime import UTC, datetime, timedelta

import pytest

from vreg_shared.aws_machine import CONTAINER, INSTANCE_ROLE, INSTANCE_SESSION
from vreg_shared.providers.aws.refusals import (
    ASSUME_ROLE,
    ECR_LOGIN,
    ECR_PUBLIC_LOGIN,
    REFUSALS,
    THROTTLED,
    WEB_IDENTITY,
)
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Refused, Unavailable, outcome_of
from vreg_token_broker.exchanges.aws.ladder import lifetime
from vreg_token_broker.exchanges.aws.rungs import AuthorizationToken
from vreg_token_broker.exchanges.aws.sessions import session_name

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def refusal(
    code: str, message: str = "", status: int = 400, skew: float = 0.0, step: str = ECR_LOGIN
) -> Refusal:
    date = NOW + timedelta(seconds=skew)
    return Refusal(step, code, message, status, "request-id", date)


def judge(said: Refusal, now: datetime) -> Refused | Unavailable:
    return outcome_of(REFUSALS, said, now)


@pytest.mark.parametrize(
    ("code", "message", "status", "reason"),
    [
        ("AccessDeniedException", "User: x is not authorized", 400, "permission_denied"),
        ("AccessDenied", "", 403, "permission_denied"),
        ("UnrecognizedClientException", "The security token is invalid.", 400, "bad_credentials"),
        ("InvalidClientTokenId", "", 403, "bad_credentials"),
        ("SignatureDoesNotMatch", "The request signature we calculated", 403, "bad_credentials"),
        ("InvalidSignatureException", "", 400, "bad_credentials"),
        ("SignatureDoesNotMatch", "Signature expired: 2026 is now earlier than", 403, "clock_skew"),
        ("InvalidSignatureException", "Signature not yet current: 2026", 400, "clock_skew"),
        ("RequestExpired", "", 400, "clock_skew"),
        ("ExpiredToken", "The security token included in the request is expired", 403, "credential_expired"),
        ("ExpiredTokenException", "", 400, "credential_expired"),
        ("RegionDisabledException", "", 403, "region_disabled"),
        ("ValidationError", "DurationSeconds exceeds", 400, "settings_invalid"),
        ("InvalidParameterException", "", 400, "settings_invalid"),
        ("403", "Forbidden", 403, "unexpected_answer"),
        ("", "", 400, "unexpected_answer"),
    ],
)
def test_a_no_is_refused_with_a_reason_and_a_remedy(
    code: str, message: str, status: int, reason: str
) -> None:
    outcome = judge(refusal(code, message, status), NOW)
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert outcome.remedy
    assert outcome.request_ids == ("request-id",)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        *((code, 400, "throttled") for code in sorted(THROTTLED)),
        ("anything", 429, "throttled"),
        ("ServerException", 500, "upstream_error"),
        ("InternalFailure", 500, "upstream_error"),
        ("ServiceUnavailable", 503, "upstream_error"),
        ("anything", 502, "upstream_error"),
    ],
)
def test_what_may_pass_is_unavailable(code: str, status: int, reason: str) -> None:
    outcome = judge(refusal(code, status=status), NOW)
    assert isinstance(outcome, Unavailable)
    assert outcome.reason == reason


@pytest.mark.parametrize("skew", [-400.0, 400.0])
def test_a_wrong_signature_between_clocks_far_apart_is_the_clocks_fault(skew: float) -> None:
    outcome = judge(refusal("SignatureDoesNotMatch", status=403, skew=skew), NOW)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "clock_skew"


def token(expires_at: datetime | None, date: datetime | None = None) -> AuthorizationToken:
    return AuthorizationToken(Secret("token"), expires_at, date, "request-id")


def test_a_life_is_the_shorter_of_what_two_clocks_say() -> None:
    end = NOW + timedelta(hours=12)
    assert lifetime(token(end), NOW) == (NOW, end)
    assert lifetime(token(end, NOW + timedelta(minutes=4)), NOW)[0] == NOW + timedelta(minutes=4)
    assert lifetime(token(end, NOW - timedelta(minutes=4)), NOW)[0] == NOW


def test_an_end_that_is_absent_is_soon_and_one_too_far_is_nominal() -> None:
    assert lifetime(token(None), NOW) == (NOW, NOW + timedelta(seconds=60))
    assert lifetime(token(NOW + timedelta(days=900)), NOW) == (NOW, NOW + timedelta(hours=12))


def test_a_session_is_named_after_its_identity() -> None:
    assert session_name("01JDEXAMPLE") == "vreg-01JDEXAMPLE"
    assert session_name("what ever/é" + "x" * 100) == "vreg-what-ever--" + "x" * 48


NO_PROVIDER = "No OpenIDConnect provider found in your account for https://vreg.example.com/oidc"
NO_BEARER = "User: x is not authorized to perform: sts:GetServiceBearerToken on resource: *"


@pytest.mark.parametrize(
    ("step", "code", "message", "status", "reason", "word"),
    [
        (ASSUME_ROLE, "AccessDenied", "", 403, "permission_denied", "external id"),
        (ECR_LOGIN, "AccessDeniedException", "", 400, "permission_denied", "ecr:GetAuthorizationToken"),
        (ECR_PUBLIC_LOGIN, "AccessDeniedException", "", 400, "permission_denied", "ecr-public:GetAuth"),
        (ECR_PUBLIC_LOGIN, "AccessDeniedException", NO_BEARER, 400, "permission_denied", "sts:GetService"),
        (WEB_IDENTITY, "AccessDenied", "", 403, "permission_denied", "subject"),
        (WEB_IDENTITY, "InvalidIdentityToken", NO_PROVIDER, 400, "federation_config", "last slash"),
        (WEB_IDENTITY, "InvalidIdentityToken", "Incorrect token audience", 400, "audience_refused", "client"),
        (WEB_IDENTITY, "InvalidIdentityToken", "whatever", 400, "federation_config", "keys"),
        (WEB_IDENTITY, "IDPRejectedClaim", "", 403, "federation_config", "claims"),
        (WEB_IDENTITY, "ExpiredTokenException", "", 400, "credential_expired", "token file"),
        (WEB_IDENTITY, "RegionDisabledException", "", 403, "region_disabled", "STS"),
        (ASSUME_ROLE, "PackedPolicyTooLarge", "", 400, "settings_invalid", "repositories"),
        (ASSUME_ROLE, "MalformedPolicyDocument", "", 400, "settings_invalid", "repositories"),
        (CONTAINER, "403", "", 403, "no_ambient_identity", "Pod Identity"),
        (INSTANCE_SESSION, "403", "", 403, "no_ambient_identity", "--http-endpoint enabled"),
        (INSTANCE_ROLE, "404", "", 404, "no_ambient_identity", "instance profile"),
        (INSTANCE_ROLE, "AssumeRoleUnauthorizedAccess", "", 200, "permission_denied", "ec2.amazonaws.com"),
    ],
)
def test_each_step_has_a_remedy_of_its_own(  # noqa: PLR0913, PLR0917 - columns
    step: str, code: str, message: str, status: int, reason: str, word: str
) -> None:
    outcome = judge(refusal(code, message, status, step=step), NOW)
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert word in outcome.remedy


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("IDPCommunicationError", ""),
        ("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider"),
    ],
)
def test_an_issuer_that_aws_cannot_reach_may_be_reachable_later(code: str, message: str) -> None:
    outcome = judge(refusal(code, message, step=WEB_IDENTITY), NOW)
    assert isinstance(outcome, Unavailable)
    assert outcome.reason == "issuer_unreachable"
