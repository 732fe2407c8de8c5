"""What Google's answers mean: the table of refusals, what is masked, and how long a token lives."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.aws_machine import CONTAINER, INSTANCE_ROLE, INSTANCE_SESSION
from vreg_shared.providers.gcp.refusals import (
    IMPERSONATION,
    METADATA,
    OAUTH,
    REFUSALS,
    STS,
)
from vreg_shared.refusals import Refusal, judge
from vreg_shared.secret import Secret
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError
from vreg_token_broker.exchange import outcome_of, scrubbed
from vreg_token_broker.exchanges.gcp.answers import Answer
from vreg_token_broker.exchanges.gcp.google import life_of, life_until
from vreg_token_broker.exchanges.gcp.proofs import federated_principal

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def answer(step: str, status: int, body: object, **headers: str) -> Answer:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Answer(step, status, {"date": format_datetime(NOW, usegmt=True), **headers}, raw)


def refusal_of(told: Answer) -> Refusal:
    with pytest.raises(CloudRefusedError) as caught:
        told.document()
    return caught.value.refusal


def oauth(error: str, description: str = "") -> dict[str, object]:
    return {"error": error, "error_description": description}


def api(status: str, message: str) -> dict[str, object]:
    return {"error": {"code": 403, "message": message, "status": status}}


@pytest.mark.parametrize(
    ("step", "status", "body", "reason"),
    [
        (OAUTH, 400, oauth("invalid_grant", "Invalid JWT Signature."), "bad_credentials"),
        (OAUTH, 400, oauth("invalid_grant", "Invalid grant: account not found"), "bad_credentials"),
        (
            OAUTH,
            400,
            oauth("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)"),
            "clock_skew",
        ),
        (OAUTH, 400, oauth("invalid_scope", "Invalid OAuth scope"), "settings_invalid"),
        (OAUTH, 401, oauth("unauthorized_client"), "bad_credentials"),
        (OAUTH, 403, "<html>Blocked by your firewall</html>", "unexpected_answer"),
        (STS, 400, oauth("invalid_target", "The target service indicated"), "federation_config"),
        (STS, 400, oauth("invalid_request", 'Invalid value for "audience".'), "federation_config"),
        (
            STS,
            400,
            oauth("invalid_grant", "The audience in ID Token [x] does not match the expected audience."),
            "audience_refused",
        ),
        (
            STS,
            400,
            oauth("invalid_grant", "The audience in JWT does not match the expected values."),
            "audience_refused",
        ),
        (STS, 400, oauth("invalid_grant", "ID Token issued at 1 is stale to sign-in."), "credential_expired"),
        (STS, 400, oauth("invalid_grant", "Invalid ID Token signature."), "federation_config"),
        (STS, 400, oauth("invalid_grant", "Received invalid AWS response"), "bad_credentials"),
        (
            STS,
            400,
            oauth("unauthorized_client", "The given credential is rejected by the attribute condition."),
            "federation_config",
        ),
        (
            IMPERSONATION,
            403,
            api("PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource"),
            "impersonation_denied",
        ),
        (IMPERSONATION, 404, api("NOT_FOUND", "Not found; Gaia id not found"), "impersonation_denied"),
        (
            IMPERSONATION,
            403,
            api("PERMISSION_DENIED", "IAM Service Account Credentials API has not been used in project 1"),
            "settings_invalid",
        ),
        (IMPERSONATION, 401, api("UNAUTHENTICATED", "invalid authentication"), "bad_credentials"),
        (
            IMPERSONATION,
            400,
            api("INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600s"),
            "settings_invalid",
        ),
        (METADATA, 404, "<html>404</html>", "no_ambient_identity"),
        (METADATA, 403, "IAM returned 403: iam.serviceAccounts.getAccessToken", "impersonation_denied"),
        (CONTAINER, 404, "", "no_ambient_identity"),
        (INSTANCE_SESSION, 403, "", "no_ambient_identity"),
        (INSTANCE_ROLE, 404, "", "no_ambient_identity"),
    ],
)
def test_a_no_is_refused_with_a_reason_and_a_remedy(
    step: str, status: int, body: object, reason: str
) -> None:
    judgement = judge(REFUSALS, refusal_of(answer(step, status, body)), NOW)
    assert (judgement.is_refused, judgement.reason) == (True, reason)
    assert judgement.remedy


@pytest.mark.parametrize(
    ("step", "status", "body", "reason"),
    [
        (OAUTH, 429, "", "throttled"),
        (OAUTH, 403, oauth("rate_limit_exceeded"), "throttled"),
        (OAUTH, 400, oauth("internal_failure"), "upstream_error"),
        (OAUTH, 400, oauth("temporarily_unavailable"), "upstream_error"),
        (OAUTH, 408, "", "timeout"),
        (OAUTH, 502, "<html>", "upstream_error"),
        (STS, 400, oauth("invalid_grant", "Error connecting to the given issuer"), "issuer_unreachable"),
        (IMPERSONATION, 403, api("RESOURCE_EXHAUSTED", "Quota exceeded"), "throttled"),
        (METADATA, 503, "", "upstream_error"),
    ],
)
def test_what_may_pass_is_unavailable(step: str, status: int, body: object, reason: str) -> None:
    judgement = judge(REFUSALS, refusal_of(answer(step, status, body)), NOW)
    assert (judgement.is_refused, judgement.reason) == (False, reason)


@pytest.mark.parametrize("skew", [-400, 400])
@pytest.mark.parametrize(
    ("step", "status", "body"),
    [
        (OAUTH, 400, oauth("invalid_grant", "Invalid JWT Signature.")),
        (STS, 400, oauth("invalid_grant", "ID Token is stale")),
        (IMPERSONATION, 401, api("UNAUTHENTICATED", "invalid authentication")),
    ],
)
def test_between_clocks_far_apart_the_clock_is_to_blame(
    step: str, status: int, body: object, skew: int
) -> None:
    refusal = refusal_of(answer(step, status, body))
    assert judge(REFUSALS, refusal, NOW + timedelta(seconds=skew)).reason == "clock_skew"


def test_every_row_that_wants_a_person_says_what_to_do() -> None:
    assert all(rule.remedy for rule in REFUSALS if rule.is_refused)
    assert {rule.reason for rule in REFUSALS if rule.cause and rule.is_refused} >= {
        "bad_credentials",
        "federation_config",
        "impersonation_denied",
        "no_ambient_identity",
    }


def test_retry_after_and_the_clouds_own_name_for_a_call_are_kept() -> None:
    told = answer(STS, 429, "", **{"retry-after": "7", "x-request-id": "abc"})
    outcome = outcome_of(REFUSALS, refusal_of(told), NOW)
    assert outcome.request_ids == ("abc",)
    assert getattr(outcome, "retry_after", None) == 7.0


@pytest.mark.parametrize("body", ["", "[]", "null", '"text"', "{", "[" * 100_000, "\x80"])
def test_a_success_that_is_no_object_is_strange(body: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        answer(OAUTH, 200, body).document()
    assert caught.value.outcome.reason == "unexpected_answer"


@pytest.mark.parametrize("token", [None, "", 1, ["a"], "a\nb", "a\x00", "ü"])
def test_a_token_that_fits_into_no_header_is_strange(token: object) -> None:
    told = answer(OAUTH, 200, {"access_token": token})
    with pytest.raises(NoAnswerError):
        told.secret(told.document(), "access_token")


@pytest.mark.parametrize(
    "text",
    [
        "ya29.a0AfH6SMBx-y_z.more",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
        "A" * 64,
    ],
)
def test_what_may_be_a_secret_is_masked_in_googles_words(text: str) -> None:
    told = scrubbed(f"the token [{text}] is not accepted")
    assert text not in told
    assert told == "the token [********] is not accepted"


@given(st.text(max_size=2000))
def test_words_are_kept_short(text: str) -> None:
    assert len(refusal_of(answer(OAUTH, 400, oauth("invalid_grant", text))).message) <= 500


@given(st.binary(max_size=300), st.integers(201, 599), st.sampled_from([OAUTH, STS, IMPERSONATION, METADATA]))
def test_any_error_answer_comes_to_an_outcome(body: bytes, status: int, step: str) -> None:
    refusal = refusal_of(Answer(step, status, {}, body))
    outcome_of(REFUSALS, refusal, NOW)


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3599, 3599),
        ("3599", 3599),
        (299, 299),
        (7200, 3600),
        (10**30, 3600),
        (0, 0),
        (-5, 0),
        (None, 60),
        ("soon", 60),
        (1.5, 60),
        ({}, 60),
    ],
)
def test_a_life_is_what_google_says_and_at_most_an_hour(expires_in: object, seconds: int) -> None:
    assert life_of(expires_in) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("expire_time", "date", "seconds"),
    [
        ("2026-11-23T13:00:00Z", NOW, 3600),
        ("2026-11-23T13:00:00.123456Z", NOW, 3600.123456),
        ("2026-11-25T13:00:00Z", NOW, 43200),
        ("2026-11-23T11:00:00Z", NOW, 0),
        ("2026-11-23T13:00:00", NOW, 60),
        ("soon", NOW, 60),
        (None, NOW, 60),
        ("2026-11-23T13:00:00Z", None, 60),
    ],
)
def test_an_end_is_read_by_the_clock_of_its_own_answer(
    expire_time: object, date: datetime | None, seconds: float
) -> None:
    assert life_until(expire_time, date) == timedelta(seconds=seconds)


def test_whom_google_takes_the_bearer_for_is_the_tokens_subject() -> None:
    token = Secret("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2cmVnOjEifQ.c2ln")
    assert federated_principal("iam.googleapis.com/p", token) == (
        "principal://iam.googleapis.com/p/subject/vreg:1"
    )
    assert federated_principal("iam.googleapis.com/p", Secret("opaque")) == (
        "principalSet://iam.googleapis.com/p/*"
    )
