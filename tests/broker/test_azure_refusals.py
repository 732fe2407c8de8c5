"""What Azure's error answers mean, row by row, and how they are read in each service's dialect."""

import json
from datetime import UTC, datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from vreg_shared.egress import ConnectionLostError, EgressRefusedError
from vreg_shared.providers.azure.refusals import APP_SERVICE, ENTRA, EXCHANGE, IMDS, REFUSALS
from vreg_shared.refusals import Refusal
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError, no_answer
from vreg_token_broker.exchange import Refused, Unavailable, outcome_of
from vreg_token_broker.exchanges.azure.answers import (
    Answer,
    refusal_of,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
URL_OF_A_REGISTRY = URL("https://contoso.azurecr.io/oauth2/exchange")


def outcome(step: str, status: int, document: object, **headers: str) -> Refused | Unavailable:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return outcome_of(REFUSALS, refusal_of(step, Answer(status, headers, body)), NOW)


def entra(number: int, words: str = "words", error: str = "invalid_client") -> dict[str, object]:
    text = (
        f"AADSTS{number}: {words}\r\nTrace ID: 4711\r\nCorrelation ID: 1\r\nTimestamp: 2026-11-24 12:00:00Z"
    )
    return {"error": error, "error_description": text, "error_codes": [number], "trace_id": "4711"}


def acr(code: str, message: str) -> dict[str, object]:
    return {"errors": [{"code": code, "message": message}]}


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    ("number", "words", "reason"),
    [
        (7000215, "Invalid client secret provided.", "bad_credentials"),
        (7000222, "The provided client secret keys are expired.", "credential_expired"),
        (700027, "[Reason - The key was not found.]", "bad_credentials"),
        (700027, "[Reason - The key used is expired.]", "certificate_expired"),
        (700024, "Client assertion is not within its valid time range.", "clock_skew"),
        (700016, "Application was not found in the directory.", "settings_invalid"),
        (90002, "Tenant not found.", "tenant_unknown"),
        (900023, "Specified tenant identifier is neither a valid DNS name.", "tenant_unknown"),
        (70021, "No matching federated identity record found.", "federation_config"),
        (700211, "issuer", "federation_config"),
        (700212, "audience", "federation_config"),
        (700213, "subject", "federation_config"),
        (700222, "Entra-issued", "federation_config"),
        (500011, "The resource principal was not found.", "audience_refused"),
        (53003, "Access has been blocked by Conditional Access policies.", "permission_denied"),
        (99999999, "something new", "unexpected_answer"),
    ],
)
def test_the_number_decides_and_a_person_is_told_what_to_do(
    status: int, number: int, words: str, reason: str
) -> None:
    found = outcome(ENTRA, status, entra(number, words))
    assert isinstance(found, Refused)
    assert found.reason == reason
    assert found.remedy
    assert found.request_ids == ("4711",)
    assert "Trace ID" not in found.detail
    assert not found.is_final


@pytest.mark.parametrize("step", [ENTRA, IMDS, APP_SERVICE, EXCHANGE])
@pytest.mark.parametrize(
    ("status", "reason"), [(429, "throttled"), (500, "upstream_error"), (502, "upstream_error")]
)
def test_what_may_pass_is_unavailable_whatever_the_body(step: str, status: int, reason: str) -> None:
    for body in (b"", b"<html>", b"{}", b"[1]", b'{"errors": 7}', b'{"errors": [7]}'):
        found = outcome(step, status, body, **{"retry-after": "9"})
        assert isinstance(found, Unavailable)
        assert (found.reason, found.retry_after) == (reason, 9.0)


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_a_fault_that_passes_is_no_refusal_whatever_its_number(error: str) -> None:
    found = outcome(ENTRA, 400, entra(90033, error=error))
    assert isinstance(found, Unavailable)
    assert found.reason == "upstream_error"


@pytest.mark.parametrize("number", [90055, 50196])
def test_throttling_may_have_any_status(number: int) -> None:
    found = outcome(ENTRA, 400, entra(number, error="temporarily_unavailable"))
    assert isinstance(found, Unavailable)
    assert found.reason == "throttled"


@pytest.mark.parametrize(
    ("step", "status", "document", "reason"),
    [
        (
            IMDS,
            400,
            {"error": "invalid_request", "error_description": "Identity not found"},
            "no_ambient_identity",
        ),
        (
            IMDS,
            400,
            {"error": "invalid_request", "error_description": "Multiple user assigned identities exist"},
            "settings_invalid",
        ),
        (
            APP_SERVICE,
            400,
            {"statusCode": 400, "message": "No User Assigned or Delegated Managed Identity found for x"},
            "no_ambient_identity",
        ),
        (EXCHANGE, 401, acr("UNAUTHORIZED", "authentication required"), "tenant_mismatch"),
        (EXCHANGE, 403, acr("DENIED", "retrieving permissions failed"), "permission_denied"),
        (EXCHANGE, 404, acr("NOT_FOUND", "404 page not found"), "unexpected_answer"),
        (EXCHANGE, 302, b"", "unexpected_answer"),
    ],
)
def test_the_other_services_speak_dialects_of_their_own(
    step: str, status: int, document: object, reason: str
) -> None:
    found = outcome(step, status, document)
    assert isinstance(found, Refused)
    assert found.reason == reason
    assert found.remedy


@pytest.mark.parametrize("status", [404, 410])
def test_a_metadata_service_that_restarts_comes_back(status: int) -> None:
    assert isinstance(outcome(IMDS, status, b""), Unavailable)


def test_a_firewall_is_not_a_missing_role() -> None:
    words = "client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall"
    found = outcome(EXCHANGE, 403, acr("DENIED", words))
    assert isinstance(found, Unavailable)
    assert found.reason == "network_firewall"
    assert "203.0.113.7" in found.detail


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("-1", None), ("soon", None), ("²", None), ("9" * 30, 3600.0), ("", None)],
)
def test_retry_after_is_whole_seconds_and_bounded(header: str, seconds: float | None) -> None:
    assert refusal_of(ENTRA, Answer(429, {"retry-after": header}, b"")).retry_after == seconds


@given(st.integers(300, 599), st.binary(max_size=300), st.sampled_from([ENTRA, IMDS, APP_SERVICE, EXCHANGE]))
def test_every_error_answer_has_a_meaning(status: int, body: bytes, step: str) -> None:
    answer = Answer(status, {"date": "never", "x-ms-request-id": "4711"}, body)
    with pytest.raises(CloudRefusedError) as caught:
        answer.token(step, "access_token")
    refusal: Refusal = caught.value.refusal
    assert refusal.status == status
    assert outcome_of(REFUSALS, refusal, NOW).reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionLostError("closed"), "connection_failed"),
        (aiohttp.ServerDisconnectedError(), "connection_failed"),
        (OSError("unreachable"), "connection_failed"),
    ],
)
def test_a_failure_of_the_network_never_refuses(error: Exception, reason: str) -> None:
    found = no_answer(EXCHANGE, URL_OF_A_REGISTRY, error).outcome
    assert isinstance(found, Unavailable)
    assert found.reason == reason
    assert "contoso.azurecr.io" in found.detail


def test_what_our_own_gate_forbids_wants_the_operator() -> None:
    error = no_answer(EXCHANGE, URL_OF_A_REGISTRY, EgressRefusedError("resolves to 10.0.0.1"))
    assert isinstance(error, NoAnswerError)
    assert isinstance(error.outcome, Refused)
    assert error.outcome.reason == "egress_refused"
    assert "VREG_EGRESS_ALLOWED" in error.outcome.remedy


def test_a_fault_of_our_own_is_not_dressed_up_as_the_networks() -> None:
    with pytest.raises(KeyError):
        no_answer(EXCHANGE, URL_OF_A_REGISTRY, KeyError("x"))
