"""`/connection_tests`: try an upstream stage by stage, saved or not."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from vreg_api.authentication import Actor, actor_of
from vreg_api.connection_tests.schemas import ConnectionTestCreate, ConnectionTestView, StageView
from vreg_api.connection_tests.service import ConnectionTests
from vreg_api.connection_tests.store import ConnectionTest
from vreg_api.events import event_line
from vreg_api.fields import Identifier
from vreg_api.paging import Page, PageRequest, page_of, page_request
from vreg_shared.explanations import EXPLANATIONS

Asker = Annotated[Actor, Depends(actor_of)]


def router(tests: ConnectionTests) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(prefix="/connection_tests", tags=["connection tests"])

    @routes.post("", status_code=202)
    async def start_connection_test(
        wish: ConnectionTestCreate, response: Response, actor: Asker
    ) -> ConnectionTestView:
        """Begin a test; follow it below `/events`, or read it until it has ended."""
        test = await tests.start(wish, actor)
        response.headers["Location"] = f"/api/v1/connection_tests/{test.id}"
        return view_of(test)

    @routes.get("")
    async def list_connection_tests(
        asked: Annotated[PageRequest, Depends(page_request)],
        upstream_id: Annotated[
            Identifier | None, Query(description="Only those of this saved upstream.")
        ] = None,
    ) -> Page[ConnectionTestView]:
        """List tests of the last thirty days, the latest first."""
        shown, cursor = page_of(await tests.page(asked, upstream_id), asked, lambda each: each.id)
        return Page(items=[view_of(each) for each in shown], next_cursor=cursor)

    @routes.get("/{identifier}")
    async def read_connection_test(identifier: Identifier) -> ConnectionTestView:
        """Read a test, as far as it has come."""
        return view_of(await tests.read(identifier))

    @routes.post("/{identifier}/cancel")
    async def cancel_connection_test(identifier: Identifier) -> ConnectionTestView:
        """End a test; the stages it has been through stay."""
        return view_of(await tests.cancel(identifier))

    @routes.get(
        "/{identifier}/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def follow_connection_test(identifier: Identifier) -> StreamingResponse:
        """Follow a test: a `stage` event for each stage, and `end` with the whole test."""
        await tests.read(identifier)
        return StreamingResponse(
            _events(tests, identifier),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return routes


def view_of(test: ConnectionTest) -> ConnectionTestView:
    """Return a test as callers see it."""
    shown = {name: getattr(test, name) for name in ConnectionTestView.model_fields}
    return ConnectionTestView.model_validate(shown | {"stages": [_stage(each) for each in test.stages]})


def _stage(stage: dict[str, object]) -> StageView:
    found = EXPLANATIONS.get(str(stage["reason"]))
    return StageView.model_validate(stage | {"cause": found.cause if found is not None else ""})


async def _events(tests: ConnectionTests, identifier: str) -> AsyncIterator[bytes]:
    told = 0
    async for test in tests.follow(identifier):
        view = view_of(test)
        for number, stage in enumerate(view.stages[told:], start=told):
            yield event_line("stage", stage.model_dump_json(), str(number))
        told = len(view.stages)
        if test.state != "running":
            yield event_line("end", view.model_dump_json(), "end")
