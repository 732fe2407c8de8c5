"""What all clouds' answers have in common, read without trust, and the two ways in which there is none.

Each cloud's own words for an error stand in its exchange.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from yarl import URL

from vreg_shared.errors import VregError
from vreg_shared.refusals import Refusal
from vreg_shared.registry_client.failures import failure_of
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Refused, Unavailable

BODY_LIMIT: Final = 64 * 1024
_REMEDY_EGRESS: Final = "Let the operator permit this destination (VREG_EGRESS_ALLOWED_CIDRS or _NAMES)."


class CloudRefusedError(VregError):
    """A cloud, or the machine's own platform, answered with an error; `refusal` says which."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.step}: {refusal.status} {refusal.code}")
        self.refusal = refusal


class NoAnswerError(VregError):
    """Nobody answered, not in the service's own language, or could not be asked; `outcome` says how."""

    def __init__(self, outcome: Refused | Unavailable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def strange(step: str, what: str) -> NoAnswerError:
    """Return the error for an answer that is not in the service's own language."""
    return NoAnswerError(Unavailable("unexpected_answer", f"{step}: {what}"))


def no_answer(step: str, url: URL, error: BaseException, hint: str = "") -> NoAnswerError:
    """Return the error for a failure of the network; raise `error` itself when it is none."""
    verdict = failure_of(error, url)
    if verdict is None:
        raise error
    detail = f"{step}: {verdict.detail}{hint}"
    if verdict.reason == "egress_refused":
        return NoAnswerError(Refused(verdict.reason, detail, _REMEDY_EGRESS))
    return NoAnswerError(Unavailable(verdict.reason, detail))


async def body_of(response: aiohttp.ClientResponse, step: str) -> bytes:
    """Read an answer to its end; raise NoAnswerError when it is too large."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > BODY_LIMIT:
            response.close()
            raise strange(step, f"the answer is larger than {BODY_LIMIT} bytes")
    return bytes(body)


def headers_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return an answer's headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def object_in(body: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object that a body is, None when it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def secret_in(step: str, document: Mapping[str, Any], name: str) -> Secret:
    """Return a field that must hold a secret which fits into a header; raise NoAnswerError."""
    value = document.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise strange(step, f"the answer holds no {name}")
    return Secret(value)


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """Return when an answer was made, by its own clock; `headers` has lower-case names."""
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None
