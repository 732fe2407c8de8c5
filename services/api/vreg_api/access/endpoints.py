"""`/access_tokens`: who may pull, and who may change the configuration."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from vreg_api.access.schemas import (
    AccessTokenChange,
    AccessTokenCreate,
    AccessTokenRotation,
    AccessTokenView,
    NewAccessTokenView,
    OwnAccessTokenView,
    PermissionView,
)
from vreg_api.access.service import AccessTokens
from vreg_api.access.store import AccessToken
from vreg_api.authentication import Actor, actor_of
from vreg_api.etags import IfMatch, Precondition, etag, required
from vreg_api.fields import Identifier
from vreg_api.paging import Page, PageRequest, page_of, page_request
from vreg_api.permissions import permissions_of
from vreg_shared.secret import Secret

Asker = Annotated[Actor, Depends(actor_of)]


def router(tokens: AccessTokens) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(prefix="/access_tokens", tags=["access tokens"])

    @routes.post("", status_code=201)
    async def create_access_token(
        wish: AccessTokenCreate, response: Response, actor: Asker
    ) -> NewAccessTokenView:
        """Create an access token. The answer is the only place where its text is ever shown."""
        token, text = await tokens.create(wish, actor)
        response.headers["Location"] = f"/api/v1/access_tokens/{token.id}"
        return _shown_once(response, token, text)

    @routes.get("")
    async def list_access_tokens(
        asked: Annotated[PageRequest, Depends(page_request)], actor: Asker
    ) -> Page[AccessTokenView]:
        """List access tokens in the order of their making."""
        shown, cursor = page_of(await tokens.page(asked, actor), asked, lambda each: each.id)
        return Page(items=[AccessTokenView.model_validate(each) for each in shown], next_cursor=cursor)

    @routes.get("/self")
    async def read_own_access_token(response: Response, actor: Asker) -> OwnAccessTokenView:
        """Read the access token that the request is made with, and what may be done with it."""
        token = await tokens.own(actor)
        response.headers["ETag"] = etag(token.version)
        permissions = [
            PermissionView(action=action, noun=noun)
            for action, noun in sorted(permissions_of(actor.role, actor.limits))
        ]
        shown = AccessTokenView.model_validate(token).model_dump()
        return OwnAccessTokenView(**shown, permissions=tuple(permissions))

    @routes.get("/{identifier}")
    async def read_access_token(identifier: Identifier, response: Response, actor: Asker) -> AccessTokenView:
        """Read an access token; its ETag is what a change must name."""
        token = await tokens.read(identifier, actor)
        response.headers["ETag"] = etag(token.version)
        return AccessTokenView.model_validate(token)

    @routes.patch("/{identifier}")
    async def change_access_token(
        identifier: Identifier,
        wish: AccessTokenChange,
        response: Response,
        actor: Asker,
        if_match: IfMatch = None,
    ) -> AccessTokenView:
        """Change what an access token may do, and until when."""
        token = await tokens.change(identifier, wish, required(if_match), actor)
        response.headers["ETag"] = etag(token.version)
        return AccessTokenView.model_validate(token)

    @routes.post("/{identifier}/rotate")
    async def rotate_access_token(
        identifier: Identifier,
        wish: AccessTokenRotation,
        response: Response,
        actor: Asker,
        if_match: IfMatch = None,
    ) -> NewAccessTokenView:
        """Give an access token a new secret. The answer is the only place where its text is ever shown."""
        token, text = await tokens.rotate(identifier, wish, Precondition(if_match), actor)
        return _shown_once(response, token, text)

    @routes.delete("/{identifier}/previous_secret", status_code=204)
    async def delete_previous_secret(identifier: Identifier, actor: Asker, if_match: IfMatch = None) -> None:
        """Revoke the secret before the last rotation, should it still be good."""
        await tokens.end_overlap(identifier, Precondition(if_match), actor)

    @routes.delete("/{identifier}", status_code=204)
    async def delete_access_token(identifier: Identifier, actor: Asker, if_match: IfMatch = None) -> None:
        """Revoke an access token; proxies hear of it within seconds."""
        await tokens.delete(identifier, Precondition(if_match), actor)

    return routes


def _shown_once(response: Response, token: AccessToken, text: Secret) -> NewAccessTokenView:
    response.headers["ETag"] = etag(token.version)
    response.headers["Cache-Control"] = "no-store"
    shown = AccessTokenView.model_validate(token).model_dump()
    return NewAccessTokenView(**shown, token=text.reveal())
