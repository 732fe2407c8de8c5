"""`/identities`: named ways to prove ourselves to a cloud."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from vreg_api.authentication import Actor, actor_of
from vreg_api.etags import IfMatch, Precondition, etag, required
from vreg_api.fields import Identifier
from vreg_api.identities.schemas import (
    AnyIdentityCreate,
    IdentityChange,
    IdentityImport,
    IdentityView,
    TrustView,
)
from vreg_api.identities.service import Identities
from vreg_api.paging import Page, PageRequest, page_of, page_request

Asker = Annotated[Actor, Depends(actor_of)]


def router(identities: Identities) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(prefix="/identities", tags=["identities"])

    @routes.post("", status_code=201)
    async def create_identity(wish: AnyIdentityCreate, response: Response, actor: Asker) -> IdentityView:
        """Create an identity. Its secrets are sealed at once and never shown again."""
        identity = await identities.create(wish, actor)
        response.headers["ETag"] = etag(identity.version)
        response.headers["Location"] = f"/api/v1/identities/{identity.id}"
        return IdentityView.model_validate(identity)

    @routes.post("/imports", status_code=201)
    async def import_identity(wish: IdentityImport, response: Response, actor: Asker) -> IdentityView:
        """Create an identity from a document that its cloud's own tools wrote, such as a credential file."""
        identity = await identities.import_document(wish, actor)
        response.headers["ETag"] = etag(identity.version)
        response.headers["Location"] = f"/api/v1/identities/{identity.id}"
        return IdentityView.model_validate(identity)

    @routes.get("")
    async def list_identities(
        asked: Annotated[PageRequest, Depends(page_request)], actor: Asker
    ) -> Page[IdentityView]:
        """List identities in the order of their making."""
        shown, cursor = page_of(await identities.page(asked, actor), asked, lambda each: each.id)
        return Page(items=[IdentityView.model_validate(each) for each in shown], next_cursor=cursor)

    @routes.get("/{identifier}")
    async def read_identity(identifier: Identifier, response: Response, actor: Asker) -> IdentityView:
        """Read an identity; its ETag is what a change must name."""
        identity = await identities.read(identifier, actor)
        response.headers["ETag"] = etag(identity.version)
        return IdentityView.model_validate(identity)

    @routes.get("/{identifier}/trust")
    async def read_trust(identifier: Identifier, actor: Asker) -> TrustView:
        """Read what to do in the cloud so that it trusts an identity, step by step and ready to paste."""
        return await identities.trust(identifier, actor)

    @routes.patch("/{identifier}")
    async def change_identity(
        identifier: Identifier,
        wish: IdentityChange,
        response: Response,
        actor: Asker,
        if_match: IfMatch = None,
    ) -> IdentityView:
        """Change an identity. Its secrets stay unless given; some changes need them again."""
        identity = await identities.change(identifier, wish, required(if_match), actor)
        response.headers["ETag"] = etag(identity.version)
        return IdentityView.model_validate(identity)

    @routes.delete("/{identifier}", status_code=204)
    async def delete_identity(identifier: Identifier, actor: Asker, if_match: IfMatch = None) -> None:
        """Delete an identity that no upstream uses."""
        await identities.delete(identifier, Precondition(if_match), actor)

    return routes
