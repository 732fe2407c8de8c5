"""`/upstreams`: the remote registries we may pull from."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from vreg_api.authentication import Actor, actor_of
from vreg_api.etags import IfMatch, Precondition, etag, required
from vreg_api.fields import Identifier
from vreg_api.paging import Page, PageRequest, page_of, page_request
from vreg_api.upstreams.rate_limits import RateLimits
from vreg_api.upstreams.schemas import RateLimitView, UpstreamChange, UpstreamCreate, UpstreamView
from vreg_api.upstreams.service import Upstreams

Asker = Annotated[Actor, Depends(actor_of)]


def router(upstreams: Upstreams, rate_limits: RateLimits) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(prefix="/upstreams", tags=["upstreams"])

    @routes.post("", status_code=201)
    async def create_upstream(wish: UpstreamCreate, response: Response, actor: Asker) -> UpstreamView:
        """Create an upstream. Its host must be one of its kind's, and its identity usable for it."""
        upstream = await upstreams.create(wish, actor)
        response.headers["ETag"] = etag(upstream.version)
        response.headers["Location"] = f"/api/v1/upstreams/{upstream.id}"
        return UpstreamView.model_validate(upstream)

    @routes.get("")
    async def list_upstreams(
        asked: Annotated[PageRequest, Depends(page_request)], actor: Asker
    ) -> Page[UpstreamView]:
        """List upstreams in the order of their making."""
        shown, cursor = page_of(await upstreams.page(asked, actor), asked, lambda each: each.id)
        return Page(items=[UpstreamView.model_validate(each) for each in shown], next_cursor=cursor)

    @routes.get("/{identifier}")
    async def read_upstream(identifier: Identifier, response: Response, actor: Asker) -> UpstreamView:
        """Read an upstream; its ETag is what a change must name."""
        upstream = await upstreams.read(identifier, actor)
        response.headers["ETag"] = etag(upstream.version)
        return UpstreamView.model_validate(upstream)

    @routes.get("/{identifier}/rate_limit")
    async def read_rate_limit(identifier: Identifier, actor: Asker) -> RateLimitView:
        """Ask the proxies what an upstream last said of its rate limit; 503 when none of them answers."""
        upstream = await upstreams.read(identifier, actor)
        return await rate_limits.of(upstream.id)

    @routes.patch("/{identifier}")
    async def change_upstream(
        identifier: Identifier,
        wish: UpstreamChange,
        response: Response,
        actor: Asker,
        if_match: IfMatch = None,
    ) -> UpstreamView:
        """Change an upstream."""
        upstream = await upstreams.change(identifier, wish, required(if_match), actor)
        response.headers["ETag"] = etag(upstream.version)
        return UpstreamView.model_validate(upstream)

    @routes.post("/{identifier}/purge")
    async def purge_upstream(identifier: Identifier, response: Response, actor: Asker) -> UpstreamView:
        """Forget what is cached of an upstream, in every proxy."""
        upstream = await upstreams.purge(identifier, actor)
        response.headers["ETag"] = etag(upstream.version)
        return UpstreamView.model_validate(upstream)

    @routes.delete("/{identifier}", status_code=204)
    async def delete_upstream(identifier: Identifier, actor: Asker, if_match: IfMatch = None) -> None:
        """Delete an upstream that is in no virtual registry."""
        await upstreams.delete(identifier, Precondition(if_match), actor)

    return routes
