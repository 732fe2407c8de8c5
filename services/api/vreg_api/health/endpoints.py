"""`/health`: whether upstreams can be used, since when, why not, and what to do."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from vreg_api.authentication import Actor, Standing, actor_of, standing_of
from vreg_api.events import event_line
from vreg_api.fields import Identifier
from vreg_api.health.schemas import (
    Acknowledge,
    HealthChangeView,
    HealthSummary,
    RegistryHealthView,
    UpstreamHealthView,
)
from vreg_api.health.service import Health
from vreg_api.paging import Page, PageRequest, page_of, page_request

Asker = Annotated[Actor, Depends(actor_of)]
Asked = Annotated[PageRequest, Depends(page_request)]


def router(health: Health) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("")
    async def read_summary(actor: Asker) -> HealthSummary:
        """Count upstreams by state."""
        return await health.summary(actor)

    @routes.get("/upstreams")
    async def list_upstream_health(asked: Asked, actor: Asker) -> Page[UpstreamHealthView]:
        """List every upstream's health, in the order of their making."""
        shown, cursor = page_of(await health.page(asked, actor), asked, lambda each: each.upstream_id)
        return Page(items=shown, next_cursor=cursor)

    @routes.get("/upstreams/{identifier}")
    async def read_upstream_health(identifier: Identifier, actor: Asker) -> UpstreamHealthView:
        """Read one upstream's health."""
        return await health.of_upstream(identifier, actor)

    @routes.get("/upstreams/{identifier}/history")
    async def read_upstream_history(identifier: Identifier, actor: Asker) -> list[HealthChangeView]:
        """Read the latest hundred states an upstream was in, the latest first; kept for ninety days."""
        return [HealthChangeView.model_validate(each) for each in await health.history(identifier, actor)]

    @routes.post("/upstreams/{identifier}/acknowledge")
    async def acknowledge_upstream(
        identifier: Identifier, wish: Acknowledge, actor: Asker
    ) -> UpstreamHealthView:
        """Say that somebody looks after it; it holds until the state or its reason changes."""
        return await health.acknowledge(identifier, wish.note, actor)

    @routes.get("/virtual_registries")
    async def list_registry_health(asked: Asked, actor: Asker) -> Page[RegistryHealthView]:
        """List every virtual registry's health: that of its upstreams, rolled up."""
        found = await health.registries_page(asked, actor)
        shown, cursor = page_of(found, asked, lambda each: each.registry_id)
        return Page(items=shown, next_cursor=cursor)

    @routes.get("/virtual_registries/{identifier}")
    async def read_registry_health(identifier: Identifier, actor: Asker) -> RegistryHealthView:
        """Read one virtual registry's health."""
        return await health.of_registry(identifier, actor)

    @routes.get(
        "/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def follow_health(
        actor: Asker, standing: Annotated[Standing, Depends(standing_of)]
    ) -> StreamingResponse:
        """Follow changes as server-sent events: one `change` with the upstream's health for each."""
        return StreamingResponse(
            _events(health, actor, standing),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return routes


async def _events(health: Health, actor: Actor, standing: Standing) -> AsyncIterator[bytes]:
    yield b": following\n\n"
    async for view in health.follow(actor):
        if not await standing.holds():
            return
        since = view.since.isoformat() if view.since is not None else ""
        yield event_line("change", view.model_dump_json(), f"{view.upstream_id}/{since}")
