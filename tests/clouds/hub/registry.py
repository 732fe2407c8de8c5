"""The `/v2/` of Docker Hub and its like: nothing without a Bearer that holds the access."""

import re
from dataclasses import dataclass

from tests.clouds.hub.blob_cdn import BlobCdn
from tests.clouds.hub.model import ANONYMOUS, Hiding, HubState, Repository, Token
from tests.clouds.hub.sites import Site, site_of
from tests.clouds.hub.token_endpoint import TokenEndpoint
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.shelf import whole
from tests.clouds.wire import Headers, Request, Response

_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)")
_DENIED = "requested access to the resource is denied"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A route below a repository."""

    what: str
    name: str
    reference: str


class HubRegistry:
    """Serves every site. Who may not read a repository does not learn whether it exists."""

    name = "hub"

    def __init__(self, state: HubState, realm: TokenEndpoint, cdn: BlobCdn) -> None:
        self._state = state
        self._realm = realm
        self._cdn = cdn

    async def answer(self, request: Request) -> Response:
        """Ask for a token, look into it, and serve what it is good for."""
        site = site_of(request.host)
        if request.host == site.realm_host and request.path == site.realm_path:
            return self._realm.issue(request, site)
        asked = _asked(request)
        token = self._shown(request)
        if token is None:
            return _challenge(site, asked, "invalid_token" if "authorization" in request.headers else None)
        request.note.principal = token.username or ANONYMOUS
        if request.path in {"/v2", "/v2/"}:
            request.note.operation = "Ping"
            return Response.of_json(200, {}, (VERSION,))
        if asked is None or request.method not in {"GET", "HEAD"}:
            return Response(404, (("Content-Type", "text/plain; charset=utf-8"),), b"404 page not found\n")
        request.note.operation = f"{request.method} {asked.what}"
        request.note.subject = f"{asked.name}:{asked.reference}"
        repository = self._state.repositories.get((site.host, asked.name))
        if repository is None or asked.name not in token.repositories:
            return self._hidden(site, asked)
        return self._read(request, site, token, repository, asked)

    def throttled(self, retry_after: int | None) -> Response:
        """Answer as the limiter against abuse does, which speaks no JSON."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        kind = ("Content-Type", "text/plain; charset=utf-8")
        return Response(429, (kind, *headers), b"Too Many Requests (HAP429)\n")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, (("Content-Type", "text/html"),), b"<html><body>Bad Gateway</body></html>")

    def _shown(self, request: Request) -> Token | None:
        """Return the good token that was shown; Basic opens nothing here."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        return self._state.token(bearer, request.host) if scheme.lower() == "bearer" else None

    def _hidden(self, site: Site, asked: _Asked) -> Response:
        if self._state.hiding is Hiding.NOT_FOUND:
            return oci_error(404, "NAME_UNKNOWN", "repository name not known to registry")
        error = "insufficient_scope" if self._state.hiding is Hiding.INSUFFICIENT_SCOPE else None
        return _challenge(site, asked, error, "DENIED" if error is None else "UNAUTHORIZED")

    def _read(
        self, request: Request, site: Site, token: Token, repository: Repository, asked: _Asked
    ) -> Response:
        if asked.what == "manifests":
            return self._manifest(request, site, token, repository, asked.reference)
        if asked.what == "blobs":
            return self._blob(request, site, repository, asked.reference)
        if asked.what == "tags" and asked.reference == "list":
            return Response.of_json(
                200, {"name": asked.name, "tags": sorted(repository.shelf.tags)}, (VERSION,)
            )
        return Response(404, (("Content-Type", "text/plain; charset=utf-8"),), b"404 page not found\n")

    def _manifest(
        self, request: Request, site: Site, token: Token, repository: Repository, reference: str
    ) -> Response:
        is_head = request.method == "HEAD"
        if self._is_used_up(site, token) and (not is_head or self._state.is_head_limited):
            return oci_error(429, "TOOMANYREQUESTS", _used_up(token), self._rate_headers(site, token))
        found = repository.shelf.manifest(reference, request.headers.get("accept"))
        if found is None:
            headers = self._rate_headers(site, token)
            return oci_error(404, "MANIFEST_UNKNOWN", "manifest unknown", headers)
        if not is_head and site.counts_pulls:
            self._state.quota(self._source(token)).used += 1
        digest, media_type = found
        headers = (VERSION, ("Content-Type", media_type), ("Docker-Content-Digest", digest))
        return Response(200, (*headers, *self._rate_headers(site, token)), whole(self._state.content, digest))

    def _blob(self, request: Request, site: Site, repository: Repository, digest: str) -> Response:
        if digest not in repository.shelf.blobs:
            return oci_error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "HEAD":
            kind = ("Content-Type", "application/octet-stream")
            told = (VERSION, kind, ("Docker-Content-Digest", digest))
            return Response(200, told, whole(self._state.content, digest))
        return Response(307, (VERSION, ("Location", self._cdn.presign(site.storage_host, digest))))

    def _source(self, token: Token) -> str:
        """Return whom pulls are counted for."""
        if token.username is None:
            return self._state.address
        return self._state.account(token.host, token.username).source

    def _is_used_up(self, site: Site, token: Token) -> bool:
        limit = self._state.limit_of(token.username)
        return (
            site.counts_pulls and limit is not None and self._state.quota(self._source(token)).used >= limit
        )

    def _rate_headers(self, site: Site, token: Token) -> Headers:
        limit = self._state.limit_of(token.username)
        if not site.counts_pulls or limit is None:
            return ()
        left = max(limit - self._state.quota(self._source(token)).used, 0)
        return (
            ("ratelimit-limit", f"{limit};w={self._state.window_seconds}"),
            ("ratelimit-remaining", f"{left};w={self._state.window_seconds}"),
            ("docker-ratelimit-source", self._source(token)),
        )


def _asked(request: Request) -> _Asked | None:
    match = _ROUTE.fullmatch(request.plain_path)
    return _Asked(match["what"], match["name"], match["reference"]) if match is not None else None


def _challenge(site: Site, asked: _Asked | None, error: str | None, code: str = "UNAUTHORIZED") -> Response:
    value = f'Bearer realm="{site.realm}",service="{site.service}"'
    if asked is not None:
        value += f',scope="repository:{asked.name}:pull"'
    if error is not None:
        value += f',error="{error}"'
    message = _DENIED if code == "DENIED" else "authentication required"
    return oci_error(401, code, message, (("WWW-Authenticate", value),))


def _used_up(token: Token) -> str:
    whose = "unauthenticated pull rate limit" if token.username is None else "pull rate limit"
    return (
        f"You have reached your {whose}. You may increase the limit by authenticating and upgrading: "
        "https://www.docker.com/increase-rate-limit"
    )
