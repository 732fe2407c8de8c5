"""The realm: for Basic or nobody in particular, a short token that holds the access it really gives."""

import base64
from datetime import UTC, datetime
from urllib.parse import parse_qs

from tests.clouds.hub.model import ANONYMOUS, Account, Hiding, HubState, Token
from tests.clouds.hub.sites import Site, site_of
from tests.clouds.oci_answers import oci_error
from tests.clouds.wire import Request, Response


class TokenEndpoint:
    """GET alone. What may not be pulled is left out of the token, without a word."""

    name = "hub-auth"

    def __init__(self, state: HubState) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        """Answer at a site's realm; there is nothing else on its host."""
        site = site_of(request.host)
        if request.path != site.realm_path:
            return Response(404, (("Content-Type", "text/plain"),), b"404 page not found\n")
        return self.issue(request, site)

    def issue(self, request: Request, site: Site) -> Response:
        """Give out a token, or refuse a password."""
        request.note.operation = "Token"
        if request.method != "GET":
            return Response(405, (("Allow", "GET"),))
        account = self._account(request, site)
        if isinstance(account, Response):
            return account
        username = account.username if account is not None else None
        request.note.principal = username or ANONYMOUS
        if request.parameter("service") != site.service:
            return oci_error(400, "UNSUPPORTED", "unknown service")
        asked = _repositories(request)
        request.note.subject = " ".join(sorted(asked))
        granted = frozenset(name for name in asked if self._may_pull(site, name, username))
        if granted != asked and self._state.hiding is Hiding.AT_REALM:
            return oci_error(403, "DENIED", "access forbidden")
        return self._token(Token(site.host, username, granted, self._ends_at()), site)

    def throttled(self, retry_after: int | None) -> Response:
        """Say that there were too many logins."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response(429, (("Content-Type", "text/plain"), *headers), b"too many requests\n")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, (("Content-Type", "text/plain"),), b"upstream connect error\n")

    def _account(self, request: Request, site: Site) -> Account | Response | None:
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, value = header.partition(" ")
        username, _, password = _decoded(value).partition(":")
        account = self._state.accounts.get((site.host, username))
        if scheme.lower() != "basic" or account is None or password not in account.passwords:
            return Response.of_json(401, {"details": "incorrect username or password"})
        return account

    def _may_pull(self, site: Site, name: str, username: str | None) -> bool:
        repository = self._state.repositories.get((site.host, name))
        return repository is not None and repository.may_be_read_by(username)

    def _ends_at(self) -> float:
        return self._state.clock.now() + self._state.token_seconds

    def _token(self, token: Token, site: Site) -> Response:
        bearer, now = self._state.issue(token), datetime.fromtimestamp(self._state.clock.now(), UTC)
        answer: dict[str, object] = {"token": bearer}
        if site.says_expiry:
            answer |= {
                "access_token": bearer,
                "expires_in": int(self._state.token_seconds),
                "issued_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            }
        return Response.of_json(200, answer)


def _repositories(request: Request) -> frozenset[str]:
    """Return the repositories that pulling is asked for of."""
    asked = [scope for value in parse_qs(request.query).get("scope", ()) for scope in value.split()]
    parts = [scope.split(":") for scope in asked]
    return frozenset(
        part[1]
        for part in parts
        if len(part) == 3 and part[0] == "repository" and "pull" in part[2].split(",")
    )


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""
