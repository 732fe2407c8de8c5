"""Whether this process lives, and whether it can serve; says nothing about upstreams."""

import asyncio
from typing import Any, Final, Protocol

import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_api.store.outbox import Outbox
from vreg_api.store.schema import SchemaError, require_current

_ANSWER_SECONDS: Final = 3.0
_log = structlog.get_logger(__name__)


class HasConnection(Protocol):
    """The part of the bus that is needed."""

    @property
    def connected(self) -> bool:
        """Whether the bus is there now."""
        ...


def router(database: Database, bus: HasConnection) -> APIRouter:
    """Return `/livez` and `/readyz`."""
    routes = APIRouter(include_in_schema=False)
    outbox = Outbox(database)

    @routes.get("/livez")
    async def livez() -> dict[str, str]:
        """Answer as long as the process does."""
        return {"status": "alive"}

    @routes.get("/readyz")
    async def readyz() -> JSONResponse:
        """Ready when the database answers with our schema; without the bus, changes wait for it."""
        state: dict[str, Any] = {"bus": "connected" if bus.connected else "disconnected"}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await require_current(database)
                state["waiting_changes"] = await outbox.count()
        except (DatabaseUnavailableError, TimeoutError) as error:
            _log.warning("not_ready", reason=str(error) or "the database does not answer in time")
            return JSONResponse({"status": "not ready", "database": "unavailable", **state}, status_code=503)
        except SchemaError as error:
            return JSONResponse({"status": "not ready", "database": str(error), **state}, status_code=503)
        return JSONResponse({"status": "ready", "database": "ok", **state})

    return routes
