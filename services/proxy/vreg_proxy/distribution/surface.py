"""A request's way through `/v2/`: cut the path, know the client, admit or refuse, and only then look."""

from typing import Final, Protocol

import structlog

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.authentication import Authenticator, Client
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
    parse_path,
)
from vreg_proxy.distribution.permission import UNKNOWN, Gate
from vreg_proxy.distribution.replies import (
    Problem,
    Receive,
    Reply,
    Scope,
    Send,
    json_reply,
    new_request_id,
    problem_reply,
)
from vreg_proxy.distribution.sending import BodyCutShortError, ClientGoneError
from vreg_proxy.distribution.token_endpoint import TokenEndpoint
from vreg_shared.oci.errors import OciError

_READING: Final = frozenset({"GET", "HEAD"})
_UNSUPPORTED: Final = Problem(OciError.UNSUPPORTED, closes=True)
_TWO_CREDENTIALS: Final = Problem(
    OciError.NAME_INVALID, message="a request has one Authorization header at most", closes=True
)
_PONG: Final = json_reply(200, {})
_log = structlog.get_logger(__name__)


class Configuration(Protocol):
    """Where the configuration is, and whether it may still be trusted."""

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        ...

    def is_too_old(self) -> bool:
        """Whether nobody confirmed it for longer than the operator allows."""
        ...


class Surface:
    """`/v2/` as an ASGI application."""

    def __init__(
        self,
        configuration: Configuration,
        authenticator: Authenticator,
        gate: Gate,
        tokens: TokenEndpoint,
        endpoints: Endpoints,
    ) -> None:
        self._configuration = configuration
        self._authenticator = authenticator
        self._gate = gate
        self._tokens = tokens
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure before the first byte is an OCI error."""
        is_head = scope["method"] == "HEAD"
        try:
            answer = await self._answer(scope, receive, send)
        except ClientGoneError as error:
            _log.debug("client_left", path=scope["path"], reason=str(error))
            return
        except BodyCutShortError as error:
            _log.warning("body_cut_short", path=scope["path"], reason=str(error))
            return
        if isinstance(answer, Problem):
            answer = _told(answer, scope["path"])
        if answer is not None:
            await answer.send(send, with_body=not is_head)

    async def _answer(  # noqa: PLR0911 - a table of refusals, in their order
        self, scope: Scope, receive: Receive, send: Send
    ) -> Reply | Problem | None:
        route = parse_path(scope["raw_path"])
        if isinstance(route, MalformedPath):
            return Problem(route.error)
        request = _request(scope)
        if request.credentials > 1:
            return _TWO_CREDENTIALS
        if self._configuration.is_too_old():
            return Problem(OciError.UNAVAILABLE, "configuration_too_old", retry_after=5.0)
        snapshot = self._configuration.snapshot()
        client = self._authenticator.client(request.authorization)
        if isinstance(route, IN_REPOSITORY) and scope["method"] in _READING:
            registry = self._gate.admit(client, route.place, snapshot)
            if isinstance(registry, Problem):
                return registry
            if isinstance(route, ManifestPath):
                ready = self._endpoints.from_memory(route, request, registry, snapshot)
                if ready is not None:
                    return ready
            return await self._in_repository(route, Visit(request, registry, snapshot, send, receive))
        if isinstance(route, CatalogPath) and scope["method"] in _READING:
            registries = self._gate.browse(client, snapshot)
            if isinstance(registries, Problem):
                return registries
            return await self._endpoints.catalog(registries, request, snapshot)
        return self._elsewhere(route, client, scope, snapshot)

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
