"""The registry on its login server: firewall first, then tokens, then content below `/v2/`."""

import re
from typing import Any
from urllib.parse import quote

from tests.clouds.azure.acr_answers import acr_error, acr_headers, blocked, challenge
from tests.clouds.azure.acr_login import AcrLogin
from tests.clouds.azure.acr_tokens import ACCESS, accepted
from tests.clouds.azure.blob_storage import BlobStorage
from tests.clouds.azure.jwt import BadTokenError
from tests.clouds.azure.model import CATALOG, METADATA, PULL, Registry
from tests.clouds.azure.places import find_place
from tests.clouds.azure.referrers import referrers
from tests.clouds.azure.state import AzureState
from tests.clouds.shelf import Shelf, whole
from tests.clouds.wire import Headers, Request, Response

_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DEFAULT_PAGE = 100


class AcrRegistry:
    """Answers for every registry there is, under its login server and its regional endpoints."""

    name = "acr"

    def __init__(self, state: AzureState, storage: BlobStorage) -> None:
        self._state = state
        self._storage = storage
        self._login = AcrLogin(state)

    async def answer(self, request: Request) -> Response:
        """Answer whoever the firewall lets in."""
        place = find_place(request.host)
        assert place is not None
        if (odd := self._state.odd.pop(self.name, None)) is not None:
            return Response(200, (("Content-Type", "application/json"),), odd.encode())
        registry = self._state.model.registries[place.login_server]
        request.note.region = registry.name
        refused = blocked(registry)
        if refused is not None:
            return refused
        if request.plain_path == "/oauth2/exchange" and request.method == "POST":
            return await self._login.exchange(request, registry)
        if request.plain_path == "/oauth2/token" and request.method in {"GET", "POST"}:
            return await self._login.token(request, registry)
        if request.plain_path in {"/v2", "/v2/"}:
            request.note.operation = "Ping"
            return self._admitted(request, registry, None) or Response.of_json(200, {}, acr_headers())
        return self._content(request, registry)

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        wait = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return acr_error(429, "TOOMANYREQUESTS", "too many requests", headers=wait)

    def failed(self, status: int) -> Response:
        """Be unwell; the proxy before the registry speaks no JSON."""
        return Response(status, (("Content-Type", "text/html"),), b"<html><body>openresty</body></html>")

    def _content(self, request: Request, registry: Registry) -> Response:
        if request.plain_path == "/v2/_catalog":
            return self._catalog(request, registry)
        match = _ROUTE.fullmatch(request.plain_path)
        if match is None or request.method not in {"GET", "HEAD"}:
            return acr_error(404, "NOT_FOUND", "404 page not found")
        name, what, reference = match["name"], match["what"], match["reference"]
        request.note.operation, request.note.subject = what, f"{name}:{reference}"
        action = METADATA if what == "tags" and self._state.tags_need_metadata else PULL
        refused = self._admitted(request, registry, ("repository", name, action))
        if refused is not None:
            return refused
        shelf = registry.shelves.get(name)
        if shelf is None:
            return acr_error(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": name})
        return self._read(request, registry, shelf, (name, what, reference))

    def _read(
        self, request: Request, registry: Registry, shelf: Shelf, asked: tuple[str, str, str]
    ) -> Response:
        name, what, reference = asked
        if what == "manifests":
            return self._manifest(request, shelf, reference)
        if what == "blobs":
            return self._blob(request, registry, shelf, reference)
        if what == "referrers":
            return referrers(request, shelf, reference, self._state.content, acr_headers())
        return self._page(request, "tags", sorted(shelf.tags), {"name": name})

    def _admitted(
        self, request: Request, registry: Registry, scope: tuple[str, str, str] | None
    ) -> Response | None:
        """Return why not; None for a token of this registry that has the scope."""
        header = request.headers.get("authorization", "")
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer":
            return challenge(request, scope)
        try:
            claims = accepted(self._state, registry, ACCESS, token)
        except BadTokenError:
            return challenge(request, scope, "invalid_token")
        request.note.principal = claims["sub"]
        return (
            None
            if scope is None or _grants(claims, scope)
            else challenge(request, scope, "insufficient_scope")
        )

    def _manifest(self, request: Request, shelf: Shelf, reference: str) -> Response:
        found = shelf.manifest(reference, request.headers.get("accept"))
        if found is None:
            what = "digest" if ":" in reference else "tagged by"
            return acr_error(404, "MANIFEST_UNKNOWN", f'manifest {what} "{reference}" is not found')
        digest, media_type = found
        headers = (*acr_headers(), ("Content-Type", media_type), ("Docker-Content-Digest", digest))
        return Response(200, headers, whole(self._state.content, digest))

    def _blob(self, request: Request, registry: Registry, shelf: Shelf, digest: str) -> Response:
        if _DIGEST.fullmatch(digest) is None:
            return acr_error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if digest not in shelf.blobs:
            return acr_error(404, "BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest})
        headers = (*acr_headers(), ("Docker-Content-Digest", digest))
        if request.method == "HEAD":
            kind = ("Content-Type", "application/octet-stream")
            return Response(200, (*headers, kind), whole(self._state.content, digest))
        return Response(307, (*headers, ("Location", self._storage.presign(registry, digest))))

    def _catalog(self, request: Request, registry: Registry) -> Response:
        request.note.operation = "catalog"
        refused = self._admitted(request, registry, ("registry", "catalog", CATALOG))
        return refused or self._page(request, "repositories", sorted(registry.shelves), {})

    @staticmethod
    def _page(request: Request, key: str, names: list[str], document: dict[str, object]) -> Response:
        asked, last = request.parameter("n"), request.parameter("last") or ""
        size = int(asked) if asked is not None and asked.isdecimal() else _DEFAULT_PAGE
        rest = [name for name in names if name > last]
        headers: Headers = acr_headers()
        if len(rest) > size > 0:
            place = f"{request.path}?last={quote(rest[size - 1], safe='')}&n={size}&orderby="
            headers = (*headers, ("Link", f'<{place}>; rel="next"'))
        return Response.of_json(200, {**document, key: rest[:size]}, headers)


def _grants(claims: dict[str, Any], scope: tuple[str, str, str]) -> bool:
    kind, name, action = scope
    return any(
        each["type"] == kind and each["name"] == name and action in each["actions"]
        for each in claims["access"]
    )
