"""One call's answer, read as far as it must be, in any of Azure's dialects."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from yarl import URL

from vreg_shared.provider import retry_after_of
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.answers import (
    CloudRefusedError,
    NoAnswerError,
    body_of,
    date_of,
    headers_of,
    no_answer,
    object_in,
    secret_in,
)

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
CALL_SECONDS: Final = 12.0
"""For a whole call: resolving, the way through a proxy, and a body that drips."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
_AADSTS: Final = re.compile(r"AADSTS\d{3,9}")
_TRACE: Final = re.compile(r"[\r\n]|Trace ID:|CorrelationId:")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date(self) -> datetime | None:
        """The answer's own Date."""
        return date_of(self.headers)

    @property
    def request_id(self) -> str:
        """Azure's own name for the call."""
        known = ("x-ms-request-id", "x-ms-correlation-request-id")
        return next((self.headers[name] for name in known if name in self.headers), "")

    def document(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty when it is none."""
        return object_in(self.body) or {}

    def token(self, step: str, name: str) -> Secret:
        """Return the token of this name; raise CloudRefusedError for an error answer, else NoAnswerError."""
        if self.status != HTTPStatus.OK:
            raise CloudRefusedError(refusal_of(step, self))
        return secret_in(step, self.document(), name)


def refusal_of(step: str, answer: Answer) -> Refusal:
    """Return what an error answer says, in any of the dialects: OAuth, App Service, the registry."""
    document = answer.document()
    text = str(document.get("error_description") or document.get("message") or _registry_words(document))
    error, number = str(document.get("error", "")), _AADSTS.search(text)
    return Refusal(
        step,
        number[0] if number is not None else error,
        f"{error}: {_TRACE.split(text)[0].strip()}",
        answer.status,
        str(document.get("trace_id") or answer.request_id),
        answer.date,
        retry_after_of(answer.headers),
    )


def _registry_words(document: Mapping[str, Any]) -> str:
    try:
        return "; ".join(f"{each['code']}: {each['message']}" for each in document["errors"])
    except (KeyError, TypeError):
        return ""


async def read(response: aiohttp.ClientResponse, step: str) -> Answer:
    """Read an answer to its end; raise NoAnswerError when it is too large."""
    body = await body_of(response, step)
    return Answer(response.status, headers_of(response.headers), body)


@asynccontextmanager
async def calling(step: str, url: URL) -> AsyncIterator[None]:
    """Bound one call in time; whatever the network does becomes NoAnswerError."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except (CloudRefusedError, NoAnswerError):
        raise
    except Exception as error:
        raise no_answer(step, url, error) from error
