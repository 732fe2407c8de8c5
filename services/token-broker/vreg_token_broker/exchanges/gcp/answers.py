"""What Google's token services say, read without trust: JSON of a modest size, or a refusal in one shape.

OAuth's errors, those of Google's APIs and the metadata server's plain text come to the same Refusal.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from vreg_shared.errors import VregError
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Unavailable

_MESSAGE_LIMIT: Final = 500
_REQUEST_IDS: Final = ("x-request-id", "x-goog-request-id")


class GcpRefusedError(VregError):
    """Google, or a metadata server, answered with an error; `refusal` says which."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.step}: {refusal.code}")
        self.refusal = refusal


class GcpUnavailableError(VregError):
    """Nobody answered, or not in Google's language; `outcome` says how."""

    def __init__(self, outcome: Unavailable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of any status, whole; header names are lower case."""

    step: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Mapping[str, Any]:
        """Return the JSON object of a success; raise GcpRefusedError or GcpUnavailableError."""
        if self.status != HTTPStatus.OK:
            raise GcpRefusedError(self._refusal())
        found = _object(self.body)
        if found is None:
            raise self.strange("the answer is no JSON object")
        return found

    def text(self) -> str:
        """Return the one line of a success; raise GcpRefusedError or GcpUnavailableError."""
        if self.status != HTTPStatus.OK:
            raise GcpRefusedError(self._refusal())
        line = self.body.decode("ascii", "replace").strip()
        if not line or not line.isprintable() or "\ufffd" in line:
            raise self.strange("the answer is no line of text")
        return line

    def secret(self, document: Mapping[str, Any], name: str) -> Secret:
        """Return a field that must hold a secret which fits into a header; raise GcpUnavailableError."""
        value = document.get(name)
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
            raise self.strange(f"the answer holds no {name}")
        return Secret(value)

    def strange(self, what: str) -> GcpUnavailableError:
        """Return the error for an answer that is not as it should be."""
        return GcpUnavailableError(Unavailable("unexpected_answer", f"{self.step}: {what}"))

    @property
    def date(self) -> datetime | None:
        """When the answer was made, by its own clock."""
        try:
            return parsedate_to_datetime(self.headers["date"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def request_id(self) -> str:
        """Google's own name for the call, where there is one."""
        return next((self.headers[name][:128] for name in _REQUEST_IDS if name in self.headers), "")

    def _refusal(self) -> Refusal:
        code, message = _complaint(self.body)
        retry_after = self.headers.get("retry-after", "")
        return Refusal(
            self.step,
            code or str(self.status),
            message[:_MESSAGE_LIMIT],
            self.status,
            self.request_id,
            self.date,
            float(retry_after[:4]) if retry_after.isascii() and retry_after.isdigit() else None,
        )


def _complaint(body: bytes) -> tuple[str, str]:
    """Return code and message: `{"error":"…"}` of OAuth, `{"error":{…}}` of an API, or plain text."""
    found = _object(body)
    if found is None:
        return "", body.decode("utf-8", "replace")
    error = found.get("error")
    if isinstance(error, Mapping):
        return str(error.get("status", "")), str(error.get("message", ""))
    return str(error or found.get("code", "")), str(found.get("error_description", found.get("message", "")))


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
