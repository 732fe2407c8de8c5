"""The application: who may come in, what may come in, and the rooms."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

from vreg_api import issuer, readiness
from vreg_api.access import endpoints as access
from vreg_api.audit import endpoints as audit
from vreg_api.audit.refusals import RefusalWatch
from vreg_api.authentication import Guard
from vreg_api.authorization import ROUTES, require_route_permitted
from vreg_api.connection_tests import endpoints as connection_tests
from vreg_api.health import endpoints as health
from vreg_api.identities import endpoints as identities
from vreg_api.problem_responses import install
from vreg_api.problems import MEDIA_TYPE, Problem
from vreg_api.provider_catalogue import endpoints as provider_catalogue
from vreg_api.pulls import endpoints as pulls
from vreg_api.strict_json import StrictJson
from vreg_api.upstreams import endpoints as upstreams
from vreg_api.virtual_registries import endpoints as virtual_registries
from vreg_api.world import World

PREFIX: Final = "/api/v1"
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A problem (RFC 9457); `code` is stable.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(world: World, lifespan: Lifespan | None = None) -> ASGIApp:
    """Return the application for a world; `lifespan` runs what belongs to it."""
    app = make_rooms(world, lifespan)
    guarded = Guard(StrictJson(app), world.authenticator, world.failed_attempts, world.audit_events.clock)
    return RefusalWatch(guarded, world.refusals)


def make_rooms(world: World, lifespan: Lifespan | None = None) -> FastAPI:
    """Return the rooms alone, without who guards them."""
    app = FastAPI(
        title="vreg",
        summary="Configuration of a container virtual registry",
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    install(app)
    app.include_router(readiness.router(world.database, world.bus))
    if world.issuer is not None:
        app.include_router(issuer.router(world.issuer))
    for room in (
        identities.router(world.identities),
        upstreams.router(world.upstreams, world.rate_limits),
        virtual_registries.router(world.virtual_registries),
        access.router(world.access_tokens),
        provider_catalogue.router(world.provider_catalogue),
        connection_tests.router(world.connection_tests),
        health.router(world.health),
        audit.router(world.audit_events),
        pulls.router(world.pull_log),
    ):
        app.include_router(
            room,
            prefix=PREFIX,
            responses=_PROBLEMS,
            dependencies=[
                Depends(HTTPBearer(auto_error=False, description="An access token")),
                Depends(require_route_permitted),
            ],
        )
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Say what each operation needs, and put problems where the answers refer to FastAPI's own errors."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        schema = make()
        components = schema["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(problem.pop("$defs", {}))
        components["Problem"] = problem
        for name in ("HTTPValidationError", "ValidationError"):
            components.pop(name, None)
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                operation["responses"].pop("422", None)
                permission = ROUTES.get((method.upper(), path.removeprefix(PREFIX)))
                if permission is not None:
                    operation["x-vreg-permission"] = " ".join(permission)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend it
