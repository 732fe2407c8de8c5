"""What clouds read of vreg's own issuer: two documents, for anybody, whatever state the database is in."""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import structlog
from fastapi import APIRouter, Response

from vreg_api.problems import ISSUER_UNAVAILABLE, ProblemError
from vreg_shared.issuer_documents import DISCOVERY_PATH, JWKS_PATH, discovery_document, path_of

_HEADERS: Final = {"Cache-Control": "public, max-age=3600"}
_METHODS: Final = ["GET", "HEAD"]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer as the operator configured it: its URL, never taken from a request, and its public keys."""

    url: str
    jwks: Path


def router(issuer: Issuer) -> APIRouter:
    """Return the two documents, below the path of the issuer's URL."""
    routes = APIRouter(prefix=path_of(issuer.url), include_in_schema=False)
    discovery = discovery_document(issuer.url)

    @routes.api_route(DISCOVERY_PATH, methods=_METHODS)
    async def read_discovery() -> Response:
        """Answer with the issuer's metadata."""
        return _document(discovery)

    @routes.api_route(JWKS_PATH, methods=_METHODS)
    def read_jwks() -> Response:
        """Answer with the keys as they are now; on a thread, for it reads a file."""
        return _document(_read(issuer.jwks))

    return routes


def _document(content: bytes) -> Response:
    return Response(content, HTTPStatus.OK, headers=_HEADERS, media_type="application/json")


def _read(jwks: Path) -> bytes:
    try:
        return jwks.read_bytes()
    except OSError as error:
        remedy = "run `vreg setup`, or let VREG_PUBLIC_KEYS name the folder of public keys"
        _log.error("issuer_keys_unreadable", path=str(jwks), reason=error.strerror, remedy=remedy)
        raise ProblemError(
            ISSUER_UNAVAILABLE, "the issuer's keys cannot be read here now", headers={"Retry-After": "30"}
        ) from error
