"""Between the network and a service: reads the request, does harm, writes the answer, keeps the log."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import formatdate

from tests.clouds.clock import CloudClock
from tests.clouds.connection import Connection
from tests.clouds.faults import BEFORE_ANSWER, IN_BODY, Fault, Faults, Harm
from tests.clouds.request_log import Entry, RequestLog
from tests.clouds.wire import FileSpan, Receive, Request, Response, Scope, Send, Service

_PIECE = 256 * 1024
_DRIP_SECONDS = 0.05


class EndedError(Exception):
    """The connection is gone, by a fault or by the client; there is nobody left to answer."""


class Front:
    """An ASGI application for one service; the gateway puts the connection into each request's state."""

    def __init__(self, service: Service, faults: Faults, log: RequestLog, clock: CloudClock) -> None:
        self._service = service
        self._faults = faults
        self._log = log
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _read(scope, receive)
        writer = _Writer(request, send, self._clock)
        started = self._clock.now()
        with suppress(EndedError):
            await self._answer(request, writer)
        self._log.note(_entry(started, self._service.name, request, writer))

    async def _answer(self, request: Request, writer: "_Writer") -> None:
        if not _is_for(request, request.connection):
            await writer.write(Response(421, (), b"Misdirected Request\n"), ())
            return
        response = await self._unwell(request)
        if response is None:
            response = await self._service.answer(request)
        await writer.write(response, self._in_body(request, response))

    async def _unwell(self, request: Request) -> Response | None:
        response = None
        for fault in self._take(request, BEFORE_ANSWER):
            if fault.harm is Harm.LATENCY:
                await _pause(request.connection, fault.seconds)
            elif fault.harm is Harm.DROP:
                await _end(request.connection, is_reset=True)
            elif fault.harm is Harm.THROTTLE:
                response = self._service.throttled(fault.retry_after)
            else:
                response = self._service.failed(fault.status)
        return response

    def _in_body(self, request: Request, response: Response) -> tuple[Fault, ...]:
        if request.method != "GET" or response.status not in {200, 206} or response.length() == 0:
            return ()
        return self._take(request, IN_BODY)

    def _take(self, request: Request, stage: frozenset[Harm]) -> tuple[Fault, ...]:
        return self._faults.take(stage, self._service.name, request.host, request.path, request.method)


class _Writer:
    """Writes one response; the faults given spoil its body."""

    def __init__(self, request: Request, send: Send, clock: CloudClock) -> None:
        self._request = request
        self._send = send
        self._clock = clock
        self.status = 0
        self.sent = 0
        self.is_complete = False

    async def write(self, response: Response, faults: tuple[Fault, ...]) -> None:
        self.status = response.status
        headers = response.wire_headers()
        if not any(name.lower() == b"date" for name, _ in headers):
            headers.append((b"Date", formatdate(self._clock.now(), usegmt=True).encode()))
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        if self._request.method != "HEAD":
            spoiled = _spoil(_pieces(response.body), {fault.harm: fault for fault in faults}, self._request)
            async for piece in spoiled:
                await self._piece(piece)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self.is_complete = not self._request.connection.closed.is_set()

    async def _piece(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._request.connection.closed.is_set():
            raise EndedError
        self.sent += len(piece)


async def _pieces(body: bytes | FileSpan | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        if body:
            yield body
    elif isinstance(body, FileSpan):
        # Read on the loop: the pages are warm, and a thread per piece costs more than the read.
        handle = os.open(body.path, os.O_RDONLY)
        try:
            position, end = body.start, body.start + body.length
            while position < end:
                piece = os.pread(handle, min(_PIECE, end - position), position)
                position += len(piece)
                yield piece
        finally:
            os.close(handle)
    else:
        async for piece in body:
            yield piece


async def _spoil(
    pieces: AsyncIterator[bytes], faults: dict[Harm, Fault], request: Request
) -> AsyncIterator[bytes]:
    ending = next((faults[harm] for harm in (Harm.RESET, Harm.TRUNCATE, Harm.STALL) if harm in faults), None)
    corrupt, drip = faults.get(Harm.CORRUPT), faults.get(Harm.DRIP)
    position = 0
    async for whole in pieces:
        piece = whole if ending is None else whole[: ending.after_bytes - position]
        if corrupt is not None:
            piece = _corrupted(piece, corrupt.after_bytes - position)
        async for part in _dripped(piece, drip, position, request.connection):
            yield part
        position += len(piece)
        if ending is not None and position == ending.after_bytes:
            await _end_in_body(ending, request.connection)


async def _end_in_body(fault: Fault, connection: Connection) -> None:
    if fault.harm is Harm.STALL:
        await connection.closed.wait()
        raise EndedError
    if fault.harm is Harm.RESET:
        # A reset throws away what the kernel has not sent; give the client what it was promised.
        await _pause(connection, _DRIP_SECONDS)
    await _end(connection, is_reset=fault.harm is Harm.RESET)


async def _end(connection: Connection, *, is_reset: bool) -> None:
    if is_reset:
        connection.reset()
    else:
        connection.close()
    await connection.closed.wait()
    raise EndedError


async def _pause(connection: Connection, seconds: float) -> None:
    """Let time pass, unless the client goes away."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await connection.closed.wait()
        raise EndedError


def _corrupted(piece: bytes, at: int) -> bytes:
    if not 0 <= at < len(piece):
        return piece
    return piece[:at] + bytes((piece[at] ^ 0xFF,)) + piece[at + 1 :]


async def _dripped(
    piece: bytes, drip: Fault | None, position: int, connection: Connection
) -> AsyncIterator[bytes]:
    if drip is None:
        yield piece
        return
    fast = max(0, min(len(piece), drip.after_bytes - position))
    if fast:
        yield piece[:fast]
    step = max(1, int(drip.bytes_per_second * _DRIP_SECONDS))
    for start in range(fast, len(piece), step):
        await _pause(connection, step / drip.bytes_per_second)
        yield piece[start : start + step]


def _read(scope: Scope, receive: Receive) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    connection: Connection = scope["state"]["connection"]
    return Request(
        connection=connection,
        method=scope["method"],
        host=connection.host,
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        chunks=_body(receive),
    )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    is_more = True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EndedError
        if message["body"]:
            yield message["body"]
        is_more = message["more_body"]


def _is_for(request: Request, connection: Connection) -> bool:
    """Whether the request names the host that its connection leads to."""
    named = request.headers.get("host", "").lower().removesuffix(":443")
    return connection.is_local or named == connection.host


def _entry(started: float, service: str, request: Request, writer: _Writer) -> Entry:
    note = request.note
    return Entry(
        at=started,
        service=service,
        host=request.host,
        method=request.method,
        path=request.path,
        operation=note.operation,
        region=note.region,
        principal=note.principal,
        subject=note.subject,
        has_authorization="authorization" in request.headers,
        range=request.headers.get("range", ""),
        status=writer.status,
        sent_bytes=writer.sent,
        is_complete=writer.is_complete,
    )
