"""One call's answer, read as far as it must be, and the two ways in which a call gives no token."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from yarl import URL

from vreg_shared.errors import VregError
from vreg_shared.refusals import Refusal
from vreg_shared.registry_client.failures import failure_of
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Refused, Unavailable

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
CALL_SECONDS: Final = 12.0
"""For a whole call: resolving, the way through a proxy, and a body that drips."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
_BODY_LIMIT: Final = 64 * 1024
_MESSAGE_LIMIT: Final = 500
_RETRY_AFTER_DIGITS: Final = 5
_AADSTS: Final = re.compile(r"AADSTS\d{3,9}")
_TRACE: Final = re.compile(r"[\r\n]|Trace ID:|CorrelationId:")
_REMEDY_EGRESS: Final = "Let the operator permit this destination (VREG_EGRESS_ALLOWED_CIDRS or _NAMES)."


class AzureRefusedError(VregError):
    """A call was answered with an error; `refusal` says which."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.step}: {refusal.status} {refusal.code}")
        self.refusal = refusal


class NoAnswerError(VregError):
    """A call was not answered, or not in its own language; `outcome` says how."""

    def __init__(self, outcome: Refused | Unavailable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date(self) -> datetime | None:
        """The answer's own Date."""
        try:
            return parsedate_to_datetime(self.headers["date"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def request_id(self) -> str:
        """Azure's own name for the call."""
        known = ("x-ms-request-id", "x-ms-correlation-request-id")
        return next((self.headers[name] for name in known if name in self.headers), "")

    def document(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty when it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def token(self, step: str, name: str) -> Secret:
        """Return the token of this name; raise AzureRefusedError for an error answer, else NoAnswerError."""
        if self.status != HTTPStatus.OK:
            raise AzureRefusedError(refusal_of(step, self))
        found = self.document().get(name)
        if not isinstance(found, str) or not found.isascii() or not found.isprintable() or not found:
            raise strange(step, "the answer holds no token")
        return Secret(found)


def refusal_of(step: str, answer: Answer) -> Refusal:
    """Return what an error answer says, in any of the dialects: OAuth, App Service, the registry."""
    document = answer.document()
    text = str(document.get("error_description") or document.get("message") or _registry_words(document))
    error, number = str(document.get("error", "")), _AADSTS.search(text)
    wait = answer.headers.get("retry-after", "")
    return Refusal(
        step,
        number[0] if number is not None else error[:_MESSAGE_LIMIT],
        f"{error}: {_TRACE.split(text)[0].strip()}"[:_MESSAGE_LIMIT],
        answer.status,
        str(document.get("trace_id") or answer.request_id),
        answer.date,
        float(wait) if wait.isascii() and wait.isdigit() and len(wait) <= _RETRY_AFTER_DIGITS else None,
    )


def _registry_words(document: Mapping[str, Any]) -> str:
    try:
        return "; ".join(f"{each['code']}: {each['message']}" for each in document["errors"])
    except (KeyError, TypeError):
        return ""


def strange(step: str, what: str) -> NoAnswerError:
    """Return the error for an answer that is not in the service's own language."""
    return NoAnswerError(Unavailable("unexpected_answer", f"{step}: {what}"))


async def read(response: aiohttp.ClientResponse, step: str) -> Answer:
    """Read an answer to its end; raise NoAnswerError when it is too large."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _BODY_LIMIT:
            response.close()
            raise strange(step, f"the answer is larger than {_BODY_LIMIT} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, bytes(body))


@asynccontextmanager
async def calling(step: str, url: URL) -> AsyncIterator[None]:
    """Bound one call in time; whatever the network does becomes NoAnswerError."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except (AzureRefusedError, NoAnswerError):
        raise
    except Exception as error:
        raise no_answer(step, url, error) from error


def no_answer(step: str, url: URL, error: BaseException) -> NoAnswerError:
    """Return the error for a failure of the network; raise `error` itself when it is none."""
    verdict = failure_of(error, url)
    if verdict is None:
        raise error
    detail = f"{step}: {verdict.detail}"
    if verdict.reason == "egress_refused":
        return NoAnswerError(Refused(verdict.reason, detail, _REMEDY_EGRESS))
    return NoAnswerError(Unavailable(verdict.reason, detail))
