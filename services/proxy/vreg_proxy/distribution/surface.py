"""A request's way through `/v2/`: cut the path, know the client, admit or refuse, and only then look."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.authentication import Authenticator, Client, Known
from vreg_proxy.distribution.endpoints import Endpoints, Request, Visit
from vreg_proxy.distribution.paths import (
    IN_REPOSITORY,
    BlobPath,
    CatalogPath,
    InRepository,
    MalformedPath,
    ManifestPath,
    Ping,
    PushPath,
    ReferrersPath,
    Route,
    TagsPath,
    TokenRequest,
    UnknownPath,
    parse_path,
)
from vreg_proxy.distribution.permission import UNKNOWN, Gate
from vreg_proxy.distribution.replies import (
    Message,
    Problem,
    Receive,
    Reply,
    Scope,
    Send,
    json_reply,
    new_request_id,
    problem_reply,
)
from vreg_proxy.distribution.sending import (
    LARGE_BYTES,
    BodyCutShortError,
    ClientGoneError,
    pieces_of,
    send_body,
)
from vreg_proxy.distribution.token_endpoint import TokenEndpoint
from vreg_proxy.limits import address_of, asking_client
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.oci.errors import OciError

_FAILED: Final[int] = HTTPStatus.SERVICE_UNAVAILABLE
_BEGUN: Final[int] = HTTPStatus.OK
"""Of an answer whose body was streamed, or broke off: 200 or 206."""
_READING: Final = frozenset({"GET", "HEAD"})
_UNSUPPORTED: Final = Problem(OciError.UNSUPPORTED, closes=True)
_TWO_CREDENTIALS: Final = Problem(
    OciError.NAME_INVALID, message="a request has one Authorization header at most", closes=True
)
_STARTING: Final = Problem(
    OciError.UNAVAILABLE,
    "configuration_missing",
    retry_after=1.0,
    message="this proxy has only just started and knows no registries yet; try again in a moment",
)
_TOO_MANY: Final = Problem(
    OciError.TOOMANYREQUESTS,
    "client_busy",
    retry_after=5.0,
    message="this client has too many pulls under way at once; try again when some have ended",
)
ROUTES: Final[Mapping[type[Route | MalformedPath], str]] = {
    ManifestPath: "manifest",
    BlobPath: "blob",
    TagsPath: "tags",
    ReferrersPath: "referrers",
    CatalogPath: "catalog",
    Ping: "ping",
    TokenRequest: "token",
    PushPath: "push",
    UnknownPath: "unknown",
    MalformedPath: "malformed",
}
"""What each kind of request is called in metrics."""
_PONG: Final = json_reply(200, {})
_log = structlog.get_logger(__name__)


class Configuration(Protocol):
    """Where the configuration is, and whether it may still be trusted."""

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        ...

    @property
    def is_known(self) -> bool:
        """Whether there is a whole configuration to serve by."""
        ...

    def is_too_old(self) -> bool:
        """Whether nobody confirmed it for longer than the operator allows."""
        ...


class LimitsClients(Protocol):
    """Who counts each client's requests."""

    def enter(self, client: str) -> bool:
        """Whether the client may begin one more; then it leaves once."""
        ...

    def leave(self, client: str) -> None:
        """Count one less."""
        ...


class Counts(Protocol):
    """Who counts answers."""

    def now(self) -> float:
        """Return the time to give to `answered`."""
        ...

    def answered(self, route: str, method: str, status: int, began: float, size: int) -> None:
        """Count an answer and the size of its body, unless that was counted piece by piece."""
        ...

    def sent(self, size: int) -> None:
        """Count a piece of a body."""
        ...

    def cut(self, *, by_client: bool) -> None:
        """Count a body that ended early."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """A client that may read what it asks for, in this registry."""

    route: InRepository
    request: Request
    client: Client
    registry: RegistryRecord
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class _Browsing:
    """A client that may see what is in these registries."""

    registries: Sequence[RegistryRecord]
    request: Request
    client: Client
    snapshot: Snapshot


class Surface:
    """`/v2/` as an ASGI application."""

    def __init__(  # noqa: PLR0913 - every decision of a request is a collaborator's
        self,
        configuration: Configuration,
        authenticator: Authenticator,
        gate: Gate,
        tokens: TokenEndpoint,
        endpoints: Endpoints,
        *,
        clients: LimitsClients,
        measures: Counts,
    ) -> None:
        self._configuration = configuration
        self._authenticator = authenticator
        self._gate = gate
        self._tokens = tokens
        self._endpoints = endpoints
        self._clients = clients
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure before the first byte is an OCI error."""
        began = self._measures.now()
        route = parse_path(scope["raw_path"])
        status, size = _FAILED, 0
        try:
            answer = await self._answer(route, scope, receive, send)
            if isinstance(answer, Problem):
                answer = _told(answer, scope["path"])
            if answer is None:
                status = _BEGUN
                return
            status = answer.status
            if scope["method"] == "HEAD":
                await answer.send(send, with_body=False)
            elif len(answer.body) > LARGE_BYTES:
                pieces = pieces_of(answer.body)
                await send_body(answer.status, answer.headers, pieces, self._counting(send), receive)
            else:
                await answer.send(send)
                size = len(answer.body)
        except ClientGoneError as error:
            status = _BEGUN
            self._measures.cut(by_client=True)
            _log.debug("client_left", path=scope["path"], reason=str(error))
        except BodyCutShortError as error:
            status = _BEGUN
            self._measures.cut(by_client=False)
            _log.warning("body_cut_short", path=scope["path"], reason=str(error))
        finally:
            self._measures.answered(ROUTES[type(route)], scope["method"], status, began, size)

    def at_once(self, scope: Scope) -> Reply | None:
        """Return the answer that is ready in memory for this client, and count it.

        None means: ask the usual way.
        """
        began = self._measures.now()
        route = parse_path(scope["raw_path"])
        entry = self._enter(route, scope) if isinstance(route, ManifestPath) else None
        answer = self._from_memory(entry, LARGE_BYTES) if isinstance(entry, _Entry) else None
        if answer is None:
            return None
        size = 0 if scope["method"] == "HEAD" else len(answer.body)
        self._measures.answered(ROUTES[type(route)], scope["method"], answer.status, began, size)
        return answer

    async def _answer(
        self, route: Route | MalformedPath, scope: Scope, receive: Receive, send: Send
    ) -> Reply | Problem | None:
        entry = self._enter(route, scope)
        if isinstance(entry, _Browsing):
            listing = self._endpoints.catalog
            return await self._limited(
                _client_key(entry.client, scope),
                lambda: listing(entry.registries, entry.request, entry.snapshot),
            )
        if not isinstance(entry, _Entry):
            return entry
        ready = self._from_memory(entry)
        if ready is not None:
            return ready
        visit = Visit(entry.request, entry.registry, entry.snapshot, self._counting(send), receive)
        return await self._limited(
            _client_key(entry.client, scope), lambda: self._in_repository(entry.route, visit)
        )

    def _from_memory(self, entry: _Entry, most_bytes: int | None = None) -> Reply | None:
        if not isinstance(entry.route, ManifestPath):
            return None
        return self._endpoints.from_memory(
            entry.route, entry.request, entry.registry, entry.snapshot, most_bytes
        )

    def _enter(  # noqa: PLR0911 - a table of refusals, in their order
        self, route: Route | MalformedPath, scope: Scope
    ) -> _Entry | _Browsing | Reply | Problem:
        """Let a client in, or answer what needs no looking. Nobody is asked for it."""
        if isinstance(route, MalformedPath):
            return Problem(route.error)
        request = _request(scope)
        if request.credentials > 1:
            return _TWO_CREDENTIALS
        if not self._configuration.is_known:
            return _STARTING
        if self._configuration.is_too_old():
            return Problem(OciError.UNAVAILABLE, "configuration_too_old", retry_after=5.0)
        snapshot = self._configuration.snapshot()
        client = self._authenticator.client(request.authorization)
        request.access_id = client.access.id if isinstance(client, Known) else None
        if isinstance(route, IN_REPOSITORY) and scope["method"] in _READING:
            registry = self._gate.admit(client, route.place, snapshot)
            if isinstance(registry, Problem):
                return registry
            return _Entry(route, request, client, registry, snapshot)
        if isinstance(route, CatalogPath) and scope["method"] in _READING:
            registries = self._gate.browse(client, snapshot)
            if isinstance(registries, Problem):
                return registries
            return _Browsing(registries, request, client, snapshot)
        return self._elsewhere(route, client, scope, snapshot)

    async def _limited(
        self, client: str, answer: Callable[[], Awaitable[Reply | Problem | None]]
    ) -> Reply | Problem | None:
        """Go on with what may have to wait, unless this client has too much of it under way."""
        if not self._clients.enter(client):
            return _TOO_MANY
        try:
            asking_client.set(client)
            return await answer()
        finally:
            self._clients.leave(client)

    def _counting(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                self._measures.sent(len(message["body"]))

        return counting

    async def _in_repository(self, route: InRepository, visit: Visit) -> Reply | Problem | None:
        match route:
            case ManifestPath():
                return await self._endpoints.manifest(route, visit)
            case BlobPath():
                return await self._endpoints.blob(route, visit)
            case TagsPath():
                return await self._endpoints.tags(route, visit)
            case ReferrersPath():
                return await self._endpoints.referrers(route, visit)

    def _elsewhere(self, route: Route, client: Client, scope: Scope, snapshot: Snapshot) -> Reply | Problem:
        """Answer what is not reading in a repository. Strangers learn nothing but where to sign in."""
        if isinstance(route, TokenRequest):
            if scope["method"] != "GET":
                return _UNSUPPORTED
            return self._tokens.answer(client, scope["query_string"], snapshot)
        refusal = self._gate.ping(client)
        if refusal is not None:
            return refusal
        if isinstance(route, PushPath) or scope["method"] not in _READING:
            return _UNSUPPORTED
        return _PONG if isinstance(route, Ping) else UNKNOWN


def _client_key(client: Client, scope: Scope) -> str:
    return client.access.id if isinstance(client, Known) else address_of(scope.get("client"))


def _request(scope: Scope) -> Request:
    request = Request(scope["method"] == "HEAD", scope["query_string"])
    for name, value in scope["headers"]:
        if name == b"authorization":
            request.authorization = value
            request.credentials += 1
        elif name == b"range":
            request.range = value
        elif name == b"if-none-match":
            request.if_none_match = value
        elif name == b"if-range":
            request.if_range = value
    return request


def _told(problem: Problem, path: str) -> Reply:
    """Turn a problem into an answer; what an upstream said goes to the log, under the id the client sees."""
    request_id = new_request_id()
    if problem.upstream_id:
        _log.warning(
            "pull_failed",
            request_id=request_id,
            path=path,
            upstream_id=problem.upstream_id,
            code=problem.error.code,
            reason=problem.reason,
            detail=problem.detail,
        )
    return problem_reply(problem, request_id)
