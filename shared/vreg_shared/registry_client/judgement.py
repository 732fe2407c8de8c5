"""From an answer that is no success to a verdict."""

import re
from http import HTTPStatus
from typing import Final

from vreg_shared.lease import Lease
from vreg_shared.provider import Answer, RegistryKind, Verdict, classify
from vreg_shared.registry_client.redirects import Arrival

_PLAIN: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_STORAGE_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_REGISTRY_ABSENT: Final = frozenset({"repository_unknown", "manifest_unknown", "blob_unknown"})


def is_success(arrival: Arrival, *, ranged: bool) -> bool:
    """Whether the answer holds what was asked for: 200, or 206 when a range was."""
    return arrival.response.status == HTTPStatus.OK or (
        ranged and arrival.response.status == HTTPStatus.PARTIAL_CONTENT
    )


def needs_a_body(arrival: Arrival) -> bool:
    """Whether HEAD's answer cannot be judged.

    The words that tell an expired token from a missing right come with GET only, and storage may refuse
    HEAD alone, for a signature covers the method.
    """
    status = arrival.response.status
    return arrival.redirected or (
        HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PLAIN
    )


def judged(kind: RegistryKind, arrival: Arrival, body: bytes, *, anonymous: bool) -> Verdict:
    """Judge an answer that is no success."""
    response = arrival.response
    headers = {name.lower(): value for name, value in response.headers.items()}
    verdict = classify(kind, response.status, headers, body)
    if arrival.redirected:
        return _judged_elsewhere(arrival, verdict, body)
    if anonymous and verdict.answer is Answer.REFUSED:
        return Verdict(Answer.HIDDEN, "authentication_required", detail=verdict.detail)
    if verdict.reason == "unexpected_answer" and response.status < HTTPStatus.BAD_REQUEST:
        return Verdict(Answer.UNAVAILABLE, "unexpected_answer", detail=f"status {response.status}")
    return verdict


def without_secrets(body: bytes, arrival: Arrival, lease: Lease | None) -> bytes:
    """Return the body, or nothing of it when it repeats what we sent to prove ourselves."""
    secrets = [lease.credential.secret.reveal()] if lease is not None else []
    if arrival.authorization is not None:
        secrets.append(arrival.authorization.reveal().partition(" ")[2])
    return b"" if any(secret and secret.encode() in body for secret in secrets) else body


def _judged_elsewhere(arrival: Arrival, verdict: Verdict, body: bytes) -> Verdict:
    """Judge storage, which never saw our credential and knows no repositories.

    Only a registry's own error code makes its answer *absent*. Its text may echo a signature, so only
    its code is kept.
    """
    if verdict.reason == "throttled" or verdict.reason in _REGISTRY_ABSENT:
        return verdict
    code = _STORAGE_CODE.search(body)
    said = f" {code[1].decode()}" if code is not None else ""
    detail = f"{arrival.response.url.raw_host} answered {arrival.response.status}{said}"
    return Verdict(Answer.UNAVAILABLE, "storage_error", retry_after=verdict.retry_after, detail=detail)
