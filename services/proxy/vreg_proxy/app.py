"""The ASGI application of one worker process: `/v2/`, health, and the life around them."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import structlog

from vreg_proxy.distribution.replies import (
    Asgi,
    Problem,
    Receive,
    Scope,
    Send,
    new_request_id,
    problem_reply,
)
from vreg_proxy.door import STATE_KEY, Door, closing_gently
from vreg_proxy.readiness import Readiness
from vreg_shared.oci.errors import OciError

_NO_PAGE: Final = Problem(OciError.NAME_UNKNOWN, message="there is nothing here; the registry is at /v2/")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    """What answers requests while a process runs."""

    surface: Asgi
    readiness: Readiness


class App:
    """Plain ASGI: no framework on the hot path. `open_world` assembles everything and takes it down."""

    def __init__(
        self, open_world: Callable[[], AbstractAsyncContextManager[World]], door: Door, grace_seconds: float
    ) -> None:
        self._open_world = open_world
        self._door = door
        self._grace_seconds = grace_seconds
        self._world: World | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            scope.get("state", {})[STATE_KEY] = self._door
            with closing_gently(self._door, self._grace_seconds):
                await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. In the middle of a body there is no other answer: the server then closes."""
        world = self._world
        try:
            if world is None:
                await problem_reply(Problem(OciError.UNAVAILABLE), new_request_id()).send(send)
            elif scope["raw_path"].startswith(b"/v2"):
                await world.surface(scope, receive, send)
            else:
                reply = world.readiness.answer(scope["path"]) or problem_reply(_NO_PAGE, new_request_id())
                await reply.send(send, with_body=scope["method"] != "HEAD")
        except Exception:  # noqa: BLE001 - the client gets an answer whatever broke
            request_id = new_request_id()
            _log.exception("request_failed", path=scope["path"], request_id=request_id)
            problem = Problem(OciError.UNAVAILABLE, "internal_error")
            await problem_reply(problem, request_id).send(send, with_body=scope["method"] != "HEAD")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Open the world, tell the server, and close it when told. A world that breaks ends the process."""
        await receive()
        try:
            async with self._open_world() as world:
                self._world = world
                await send({"type": "lifespan.startup.complete"})
                await receive()
                self._world = None
        except Exception as error:
            if self._world is None:
                raise
            self._world = None
            _log.exception("worker_broke", reason=str(error))
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0)
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
