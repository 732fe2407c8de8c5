"""`/virtual_registries`: ordered lists of upstreams that clients see as one registry."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from vreg_api.authentication import Actor, actor_of
from vreg_api.etags import IfMatch, Precondition, etag, required
from vreg_api.fields import Identifier
from vreg_api.paging import Page, PageRequest, page_of, page_request
from vreg_api.virtual_registries.schemas import (
    VirtualRegistryChange,
    VirtualRegistryCreate,
    VirtualRegistryView,
)
from vreg_api.virtual_registries.service import VirtualRegistries

Asker = Annotated[Actor, Depends(actor_of)]


def router(registries: VirtualRegistries) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(prefix="/virtual_registries", tags=["virtual registries"])

    @routes.post("", status_code=201)
    async def create_virtual_registry(
        wish: VirtualRegistryCreate, response: Response, actor: Asker
    ) -> VirtualRegistryView:
        """Create a virtual registry, with its memberships in order."""
        registry = await registries.create(wish, actor)
        response.headers["ETag"] = etag(registry.version)
        response.headers["Location"] = f"/api/v1/virtual_registries/{registry.id}"
        return VirtualRegistryView.model_validate(registry)

    @routes.get("")
    async def list_virtual_registries(
        asked: Annotated[PageRequest, Depends(page_request)], actor: Asker
    ) -> Page[VirtualRegistryView]:
        """List virtual registries in the order of their making; `name` is looked for in slugs."""
        shown, cursor = page_of(await registries.page(asked, actor), asked, lambda each: each.id)
        return Page(items=[VirtualRegistryView.model_validate(each) for each in shown], next_cursor=cursor)

    @routes.get("/{identifier}")
    async def read_virtual_registry(
        identifier: Identifier, response: Response, actor: Asker
    ) -> VirtualRegistryView:
        """Read a virtual registry; its ETag is what a change must name."""
        registry = await registries.read(identifier, actor)
        response.headers["ETag"] = etag(registry.version)
        return VirtualRegistryView.model_validate(registry)

    @routes.patch("/{identifier}")
    async def change_virtual_registry(
        identifier: Identifier,
        wish: VirtualRegistryChange,
        response: Response,
        actor: Asker,
        if_match: IfMatch = None,
    ) -> VirtualRegistryView:
        """Change a virtual registry; memberships are given as a whole."""
        registry = await registries.change(identifier, wish, required(if_match), actor)
        response.headers["ETag"] = etag(registry.version)
        return VirtualRegistryView.model_validate(registry)

    @routes.delete("/{identifier}", status_code=204)
    async def delete_virtual_registry(identifier: Identifier, actor: Asker, if_match: IfMatch = None) -> None:
        """Delete a virtual registry that no access token is limited to."""
        await registries.delete(identifier, Precondition(if_match), actor)

    return routes
