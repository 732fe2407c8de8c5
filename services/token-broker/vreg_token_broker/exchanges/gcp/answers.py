"""What Google's token services say, read without trust: JSON of a modest size, or a refusal in one shape.

OAuth's errors, those of Google's APIs and the metadata server's plain text come to the same Refusal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from vreg_shared.provider import retry_after_of
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.answers import CloudRefusedError, date_of, object_in, secret_in, strange

_REQUEST_IDS: Final = ("x-request-id", "x-goog-request-id")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of any status, whole; header names are lower case."""

    step: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Mapping[str, Any]:
        """Return the JSON object of a success; raise CloudRefusedError or NoAnswerError."""
        if self.status != HTTPStatus.OK:
            raise CloudRefusedError(self._refusal())
        found = object_in(self.body)
        if found is None:
            raise strange(self.step, "the answer is no JSON object")
        return found

    def text(self) -> str:
        """Return the one line of a success; raise CloudRefusedError or NoAnswerError."""
        if self.status != HTTPStatus.OK:
            raise CloudRefusedError(self._refusal())
        line = self.body.decode("ascii", "replace").strip()
        if not line or not line.isprintable() or "\ufffd" in line:
            raise strange(self.step, "the answer is no line of text")
        return line

    def secret(self, document: Mapping[str, Any], name: str) -> Secret:
        """Return a field that must hold a secret which fits into a header; raise NoAnswerError."""
        return secret_in(self.step, document, name)

    @property
    def date(self) -> datetime | None:
        """When the answer was made, by its own clock."""
        return date_of(self.headers)

    @property
    def request_id(self) -> str:
        """Google's own name for the call, where there is one."""
        return next((self.headers[name][:128] for name in _REQUEST_IDS if name in self.headers), "")

    def _refusal(self) -> Refusal:
        code, message = _complaint(self.body)
        return Refusal(
            self.step,
            code or str(self.status),
            message,
            self.status,
            self.request_id,
            self.date,
            retry_after_of(self.headers),
        )


def _complaint(body: bytes) -> tuple[str, str]:
    """Return code and message: `{"error":"…"}` of OAuth, `{"error":{…}}` of an API, or plain text."""
    found = object_in(body)
    if found is None:
        return "", body.decode("utf-8", "replace")
    error = found.get("error")
    if isinstance(error, Mapping):
        return str(error.get("status", "")), str(error.get("message", ""))
    return str(error or found.get("code", "")), str(found.get("error_description", found.get("message", "")))
