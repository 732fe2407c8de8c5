"""The supervisor: one connection at a time, for ever, and what has to be done again on each."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

import structlog

from vreg_shared.bus import jetstream
from vreg_shared.bus.backoff import delays
from vreg_shared.bus.converse import converse_once
from vreg_shared.bus.errors import (
    BusError,
    BusHinderedError,
    BusPermissionError,
    BusRefusedError,
    BusUnavailableError,
    NoResponderError,
    RequestFailedError,
)
from vreg_shared.bus.follow import Entry, follow_once
from vreg_shared.bus.gather import gather_once
from vreg_shared.bus.read import Bookmark, OnStored, Stored, read_once
from vreg_shared.bus.respond import ERROR_HEADER, Handler, Teller, respond_once, tell_once
from vreg_shared.bus.session import Address, Session
from vreg_shared.bus.tasks import owned_tasks
from vreg_shared.secret import Secret
from vreg_shared.topology import Bucket, Stream, stored, stream_called

_PUBLISH_SECONDS: Final = 5.0
_HANDLER_SECONDS: Final = 30.0
_log = structlog.stdlib.get_logger()


class Bus:
    """A service's door to the bus. Entering never waits for a server, and no loss of one ends it.

    Use `async with Bus(...)`, or let a TaskGroup own `run()`. `put` and `publish` retry by themselves
    until their deadline, under one message id; nothing else need be retried by callers.
    """

    def __init__(
        self,
        url: str,
        nkey_seed: Secret | None,
        name: str,
        inbox_prefix: str,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = Address(url, nkey_seed, name, inbox_prefix, tls)
        self._session: Session | None = None
        self._connected = asyncio.Event()
        self._owned: dict[str, Bucket | Stream] = {}
        self._on_connected: list[Callable[[], Awaitable[None]]] = []
        self._missing = asyncio.Event()
        self._tasks = owned_tasks()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        group = await self._tasks.__aenter__()
        self._running = group.create_task(self.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def connected(self) -> bool:
        """Whether the bus is there now, as far as we know (a silent server is noticed within 4 s)."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return once the bus is there and what this service creates has been created."""
        await self._connected.wait()

    def on_connected(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call after every connection, and after a lost stream was made again: publish what must be there.

        A BusUnavailableError makes it be called again; losing the connection cancels it.
        """
        self._on_connected.append(callback)

    async def ensure_bucket(self, name: str) -> None:
        """Have the bucket made now if connected, and on every connection; see `topology.CREATOR`."""
        await self._ensure(stored(name))

    async def ensure_stream(self, name: str) -> None:
        """Have the stream made now if connected, and on every connection; see `topology.CREATOR`."""
        await self._ensure(stored(name))

    async def _ensure(self, declared: Bucket | Stream) -> None:
        self._owned[declared.stream] = declared
        if self._session is not None and self.connected:
            await jetstream.create_stream(self._session, declared.configuration())

    async def stream_birth(self, stream: str) -> str:
        """Return when a stream was made, as its server tells it; for `topology.CREATOR` alone.

        Raises BusUnavailableError or BusPermissionError.
        """
        return await jetstream.stream_birth(await self._current(), stored(stream).stream)

    async def put(self, bucket: str, key: str, value: bytes, *, deadline: float = _PUBLISH_SECONDS) -> None:
        """Store a value on disk; raise BusUnavailableError, BusPermissionError or BusRefusedError."""
        await self.publish(
            jetstream.value_subject(bucket, key), value, message_id=secrets.token_hex(16), deadline=deadline
        )

    async def claim(self, bucket: str, key: str, value: bytes, *, revision: int, seconds: int) -> int:
        """Store a value that ends after `seconds`, if the key's latest is still `revision` (0: none).

        Returns the new revision. It is tried once: after a BusUnavailableError nobody knows whether it was
        stored. Raises BusConflictError if somebody else was first.
        """
        subject = jetstream.value_subject(bucket, key)
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                return await jetstream.claim(await self._current(), subject, value, revision, seconds)
        except NoResponderError:
            self._missing.set()
            raise
        except TimeoutError:
            raise BusUnavailableError(f"{subject} was not answered within {_PUBLISH_SECONDS:g} s") from None

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, deadline: float = _PUBLISH_SECONDS
    ) -> None:
        """Store a message in the stream of `subject`, once for each `message_id` within two minutes.

        Raises BusUnavailableError if it is not known to be stored by the deadline.
        """

        async def attempt(session: Session) -> None:
            try:
                await jetstream.publish(session, subject, payload, message_id)
            except NoResponderError:
                self._missing.set()
                raise

        await self._retried(attempt, subject, deadline)

    async def _retried(
        self, attempt: Callable[[Session], Awaitable[None]], what: str, deadline: float
    ) -> None:
        failure: BusUnavailableError | None = None
        try:
            async with asyncio.timeout(deadline):
                for delay in delays(0.1, 1.0):
                    try:
                        return await attempt(await self._current())
                    except BusUnavailableError as error:
                        failure = error
                    await asyncio.sleep(delay)
        except TimeoutError:
            pass
        why = failure or ("no answer" if self.connected else "no connection to the bus")
        if isinstance(failure, BusHinderedError) and self.connected:
            raise BusHinderedError(f"{what} was not stored within {deadline:g} s: {why}") from failure
        raise BusUnavailableError(f"{what} was not answered within {deadline:g} s: {why}") from failure

    async def request(self, subject: str, payload: bytes, *, deadline: float) -> bytes:
        """Ask once; raise BusUnavailableError, NoResponderError, RequestFailedError, BusPermissionError."""
        try:
            async with asyncio.timeout(deadline):
                session = await self._current()
                answer = await session.call(subject, payload, deadline=deadline)
        except TimeoutError:
            raise BusUnavailableError(f"no answer on {subject} within {deadline:g} s") from None
        if ERROR_HEADER in answer.headers:
            raise RequestFailedError(f"{subject}: {answer.headers[ERROR_HEADER]}")
        return answer.payload

    async def gather(self, subject: str, payload: bytes, *, deadline: float, quiet: float) -> list[bytes]:
        """Ask everybody who serves `subject`; return what came until `quiet` seconds after the last answer.

        Raises BusUnavailableError or NoResponderError when nobody answered. Who failed to answer, or was
        slower than that, is left out.
        """
        try:
            async with asyncio.timeout(deadline):
                session = await self._current()
        except TimeoutError:
            raise BusUnavailableError(f"no connection to the bus within {deadline:g} s") from None
        return await gather_once(session, subject, payload, deadline=deadline, quiet=quiet)

    async def converse(self, subject: str, payload: bytes, *, deadline: float) -> AsyncGenerator[bytes, None]:
        """Ask one who serves `subject`, and give his answers as they come; close it with `aclosing`.

        Raises BusUnavailableError, NoResponderError, RequestFailedError.
        """
        if not self.connected:
            raise BusUnavailableError(f"no connection to the bus, so nobody can be asked on {subject}")
        session = await self._current()
        async with aclosing(converse_once(session, subject, payload, deadline=deadline)) as answers:
            async for answer in answers:
                yield answer

    async def tell(self, subject: str, teller: Teller, queue: str, *, deadline: float) -> None:
        """Answer conversations for ever, as `respond` answers requests; raises only BusPermissionError."""
        await self._respond_for_ever(
            subject, lambda session: tell_once(session, subject, teller, queue, deadline)
        )

    async def respond(
        self,
        subject: str,
        handler: Handler,
        queue: str,
        *,
        deadline: float = _HANDLER_SECONDS,
    ) -> None:
        """Answer requests for ever; one member of `queue` gets each, all do where it is empty.

        Raises only BusPermissionError.

        A handler's VregError is told to the asker; any other error is logged here and told as internal.
        A handler is cancelled at its deadline, and when the connection is lost: nobody could be answered.
        """
        await self._respond_for_ever(
            subject, lambda session: respond_once(session, subject, handler, queue, deadline)
        )

    async def _respond_for_ever(self, subject: str, serve: Callable[[Session], Awaitable[None]]) -> None:
        while True:
            session = await self._current()
            try:
                await serve(session)
            except BusUnavailableError as error:
                _log.info("bus responder interrupted", bus_subject=subject, reason=str(error))
                await session.wait_lost()

    async def follow(
        self,
        bucket: str,
        key_filter: str,
        on_entry: Callable[[Entry], Awaitable[None]],
        on_synced: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Hand over every latest value and then each change, for ever; raises only BusPermissionError.

        Entries may come again and changes in between may be skipped, but the latest is never missed.
        `on_synced` is called after each snapshot: the first, and one after every interruption. A bucket
        that does not exist is waited for. What `on_entry` raises is raised here.
        """
        waits = delays(1.0, 30.0)

        async def synced() -> None:
            nonlocal waits
            waits = delays(1.0, 30.0)
            if on_synced is not None:
                await on_synced()

        while True:
            session, delay = await self._current(), 1.0
            try:
                await follow_once(session, bucket, key_filter, on_entry, synced)
            except jetstream.MissingStreamError as error:
                _log.debug("bus follower waits", bucket=bucket, filter=key_filter, reason=str(error))
            except BusUnavailableError as error:
                delay = next(waits)
                _log.info("bus follower interrupted", bucket=bucket, filter=key_filter, reason=str(error))
            await _pause(session, delay)

    async def read(
        self, stream: str, bookmark: Callable[[], Awaitable[Bookmark | None]], on_stored: OnStored
    ) -> None:
        """Hand over all that a stream holds after a bookmark, in order, for ever.

        `bookmark` is asked at first and after every interruption. Where the bookmark is not to be found
        (the stream was made anew, or let go of it) everything comes again. Raises BusPermissionError, and
        what `on_stored` raises.
        """
        declared, waits = stream_called(stream), delays(1.0, 30.0)

        async def counted(messages: Sequence[Stored]) -> None:
            nonlocal waits
            waits = delays(1.0, 30.0)
            await on_stored(messages)

        while True:
            session, delay = await self._current(), 1.0
            try:
                await read_once(session, declared, await bookmark(), counted)
            except jetstream.MissingStreamError as error:
                _log.debug("bus reader waits", stream=stream, reason=str(error))
            except BusUnavailableError as error:
                delay = next(waits)
                _log.info("bus reader interrupted", stream=stream, reason=str(error))
            await _pause(session, delay)

    async def _current(self) -> Session:
        while self._session is None or not self.connected:
            await self._connected.wait()
        return self._session

    async def run(self) -> None:
        """Keep connected until cancelled."""
        waits, told = delays(0.2, 2.0), False
        while True:
            try:
                session = await Session.open(self._address)
            except BusError as error:
                log = _log.debug if told else _log.warning
                log("bus not reachable", url=self._address.url, reason=str(error))
                told = True
                await asyncio.sleep(next(waits))
                continue
            waits, told = delays(0.2, 2.0), False
            try:
                await self._serve(session)
            finally:
                self._connected.clear()
                self._session = None
                await session.close()
            _log.warning("bus connection lost", url=self._address.url)

    async def _serve(self, session: Session) -> None:
        self._session = session
        with session.on_loss(self._connected.clear):
            async with owned_tasks() as group:
                preparing = group.create_task(self._prepare(session))
                await session.wait_lost()
                preparing.cancel()

    async def _prepare(self, session: Session) -> None:
        """Make what we own and tell who wants to know, at first and whenever a stream turns out missing."""
        waits = delays(1.0, 30.0)
        while True:
            self._missing.clear()
            try:
                await self._create_owned(session)
                self._announce(session)
                for callback in tuple(self._on_connected):
                    await callback()
            except BusUnavailableError as error:
                _log.warning("bus not prepared", reason=str(error))
                self._announce(session)
                await asyncio.sleep(next(waits))
                continue
            await self._missing.wait()
            await asyncio.sleep(next(waits))

    async def _create_owned(self, session: Session) -> None:
        for declared in tuple(self._owned.values()):
            try:
                await jetstream.create_stream(session, declared.configuration())
            except (BusPermissionError, BusRefusedError) as error:
                # Trying again would not help, and what is there may well serve.
                _log.error("bus stream left as it is", stream=declared.stream, reason=str(error))

    def _announce(self, session: Session) -> None:
        if not self.connected and not session.lost.is_set():
            _log.info("bus connected", url=self._address.url)
            self._connected.set()


async def _pause(session: Session, seconds: float) -> None:
    """Wait, but not for a connection that is gone: the next one may be tried at once."""
    try:
        async with asyncio.timeout(seconds):
            await session.wait_lost()
    except TimeoutError:
        pass
