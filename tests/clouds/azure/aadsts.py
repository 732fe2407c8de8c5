"""Refusals of Microsoft Entra: the whole body, with the ids that support asks for."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from tests.clouds.wire import Response

_HEADERS = (("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A number, its OAuth error, and the usual status, which no client should rely on."""

    number: int
    error: str
    status: int


WRONG_SECRET = Kind(7000215, "invalid_client", 401)
SECRET_ENDED = Kind(7000222, "invalid_client", 401)
NO_PROOF = Kind(7000218, "invalid_client", 401)
NO_APPLICATION = Kind(700016, "unauthorized_client", 400)
NO_TENANT = Kind(90002, "invalid_request", 400)
BAD_ASSERTION = Kind(700027, "invalid_client", 401)
UNTIMELY = Kind(700024, "invalid_client", 401)
NO_FEDERATION = Kind(70021, "invalid_request", 400)
OTHER_ISSUER = Kind(700211, "invalid_client", 401)
OTHER_AUDIENCE = Kind(700212, "invalid_client", 401)
OTHER_SUBJECT = Kind(700213, "invalid_client", 401)
OWN_TOKEN = Kind(700222, "invalid_client", 401)
ISSUER_UNREACHABLE = Kind(50166, "invalid_request", 400)
NO_RESOURCE = Kind(500011, "invalid_resource", 400)
BAD_GRANT = Kind(70003, "unsupported_grant_type", 400)
THROTTLED = Kind(90055, "temporarily_unavailable", 429)


class EntraRefusalError(Exception):
    """Entra says no."""

    def __init__(self, kind: Kind, words: str) -> None:
        super().__init__(f"AADSTS{kind.number}")
        self.kind = kind
        self.words = words


def entra_refusal(error: EntraRefusalError, now: float, host: str) -> Response:
    """Return the answer."""
    trace, correlation = str(uuid4()), str(uuid4())
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    kind = error.kind
    text = (
        f"AADSTS{kind.number}: {error.words}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}"
        f"\r\nTimestamp: {moment}"
    )
    document = {
        "error": kind.error,
        "error_description": text,
        "error_codes": [kind.number],
        "timestamp": moment,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://{host}/error?code={kind.number}",
    }
    return Response.of_json(kind.status, document, (*_HEADERS, ("x-ms-request-id", trace)))
