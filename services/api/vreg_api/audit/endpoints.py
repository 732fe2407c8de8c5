"""`/audit-events` and `/audit-chain`: read a page, follow as it happens, export all, and verify."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, StringConstraints

from vreg_api.audit.schemas import AuditChainView, AuditEventView, Filter, Order
from vreg_api.audit.service import AuditEvents
from vreg_api.authentication import Standing, standing_of
from vreg_api.fields import Identifier, in_utc
from vreg_api.paging import DEFAULT_LIMIT, MAX_LIMIT, Page
from vreg_api.store.database import DatabaseUnavailableError
from vreg_shared.messages.audit_chain import ChainLink, exported

NDJSON: Final = "application/x-ndjson"
EVENT_STREAM: Final = "text/event-stream"
_NUMBER: Final = r"^\d{1,18}$"


Word = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
Time = Annotated[datetime, AfterValidator(in_utc)]


def wanted_events(  # noqa: PLR0913 - one for each thing to filter by
    *,
    type: Annotated[Word | None, Query(description="As vreg.exchange.outcome.")] = None,  # noqa: A002 - CloudEvents' name
    writer: Annotated[Word | None, Query(description="api, token-broker or proxy.")] = None,
    actor: Annotated[Word | None, Query(description="Who did it: an access token's id, or its name.")] = None,
    identity: Annotated[Word | None, Query(description="An identity's id.")] = None,
    upstream: Annotated[Word | None, Query(description="An upstream's id.")] = None,
    registry: Annotated[Word | None, Query(description="A virtual registry's id.")] = None,
    outcome: Annotated[Word | None, Query(description="As issued, refused or unavailable.")] = None,
    since: Annotated[Time | None, Query(description="Not before this time; without zone it is UTC.")] = None,
    until: Annotated[Time | None, Query(description="Before this time.")] = None,
) -> Filter:
    """Read the query."""
    return Filter(
        type=type,
        writer=writer,
        actor=actor,
        identity=identity,
        upstream=upstream,
        registry=registry,
        outcome=outcome,
        since=since,
        until=until,
    )


Wanted = Annotated[Filter, Depends(wanted_events)]


def router(events: AuditEvents) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(tags=["audit"])

    @routes.get("/audit-events")
    async def list_audit_events(
        wanted: Wanted,
        order: Annotated[Order, Query(description="In which order they were archived.")] = "newest",
        limit: Annotated[
            int, Query(ge=1, le=MAX_LIMIT, description="How many to return at most.")
        ] = DEFAULT_LIMIT,
        cursor: Annotated[
            str | None, Query(pattern=_NUMBER, description="`next_cursor` of the page before.")
        ] = None,
    ) -> Page[AuditEventView]:
        """List audit events."""
        found = await events.page(wanted, order, int(cursor) if cursor is not None else None, limit + 1)
        shown = [_view(link) for link in found[:limit]]
        more = str(shown[-1].sequence) if len(found) > limit else None
        return Page(items=shown, next_cursor=more)

    @routes.get("/audit-events/stream", response_class=StreamingResponse)
    async def follow_audit_events(
        wanted: Wanted,
        standing: Annotated[Standing, Depends(standing_of)],
        last_event_id: Annotated[
            str | None, Header(pattern=_NUMBER, description="Go on after this one; without it, from now on.")
        ] = None,
    ) -> StreamingResponse:
        """Follow audit events as they are archived, as server-sent events."""
        after = int(last_event_id) if last_event_id is not None else None
        return _streamed(_server_sent(events, wanted, after, standing), EVENT_STREAM)

    @routes.get("/audit-events/export", response_class=StreamingResponse)
    async def export_audit_events(
        wanted: Wanted,
        after: Annotated[int, Query(ge=0, le=2**62, description="Only those with a higher sequence.")] = 0,
    ) -> StreamingResponse:
        """Export audit events, oldest first, one a line."""
        return _streamed(_lines(events, wanted, after), NDJSON)

    @routes.get("/audit-events/{identifier}")
    async def read_audit_event(identifier: Identifier) -> AuditEventView:
        """Read an audit event."""
        return _view(await events.read(identifier))

    @routes.get("/audit-chain")
    async def verify_audit_chain(
        *,
        whole: Annotated[
            bool, Query(description="From the beginning, not from where it was found sound before.")
        ] = False,
    ) -> AuditChainView:
        """Verify the archive: every hash, every signature, and that nothing is missing."""
        return await events.verified(whole=whole)

    return routes


def _streamed(pieces: AsyncIterator[str], media_type: str) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(pieces, media_type=media_type, headers=headers)


async def _server_sent(
    events: AuditEvents, wanted: Filter, after: int | None, standing: Standing
) -> AsyncIterator[str]:
    """Yield events, and a comment now and then, by which both sides notice that the other is gone."""
    yield ": vreg\n\n"
    try:
        async for link in events.tail(wanted, after):
            if not await standing.holds():
                return
            yield (
                ":\n\n" if link is None else f"id: {link.sequence}\nevent: audit\ndata: {exported(link)}\n\n"
            )
    except DatabaseUnavailableError:
        return  # the client comes again with the last id it had


async def _lines(events: AuditEvents, wanted: Filter, after: int) -> AsyncIterator[str]:
    async for link in events.every(wanted, after):
        yield exported(link) + "\n"


def _view(link: ChainLink) -> AuditEventView:
    return AuditEventView.model_validate_json(exported(link))
