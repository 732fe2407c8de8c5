"""One connection to NATS from sign-in to loss. It never reconnects: the supervisor opens another.

Reconnecting inside the client would replay subscriptions and buffered publishes that we rather decide on
ourselves, gives up for good on some errors, and leaves calls waiting that can no longer be answered.
"""

import asyncio
import contextlib
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Self

import nats.errors
import nkeys
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from vreg_shared.bus.errors import (
    BusError,
    BusPermissionError,
    BusRefusedError,
    BusUnavailableError,
    NoResponderError,
)
from vreg_shared.secret import Secret

_CONNECT_SECONDS: Final = 2
_CLOSE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
_REFUSED: Final = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]*)\"")
_log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Address:
    """Where the bus is and who we are there; `url` may list several servers, by commas."""

    url: str
    nkey_seed: Secret | None
    name: str
    inbox_prefix: str
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        """Raise BusPermissionError for a seed that nobody can sign in with."""
        if self.nkey_seed is None:
            return
        try:
            nkeys.from_seed(bytearray(self.nkey_seed.reveal().encode())).wipe()
        except (nkeys.NkeysError, ValueError) as error:
            raise BusPermissionError(
                "the nkey seed is not one: `vreg up` makes it, or let VREG_KEYS name its folder"
            ) from error


@dataclass(frozen=True, slots=True)
class Message:
    """Anything that arrives; `status` is the server's own word, empty on what a peer sent."""

    subject: str
    reply: str
    payload: bytes
    headers: Mapping[str, str]
    status: str


class Session:
    """A signed-in connection. Calls in flight fail at once when it is lost or a subject is refused."""

    def __init__(self, client: Client, inbox: str) -> None:
        self.lost = asyncio.Event()
        self._client = client
        self._inbox = inbox
        self._calls: dict[str, tuple[str, asyncio.Future[Message]]] = {}
        self._refused_subscriptions: set[str] = set()
        self._loss_callbacks: set[Callable[[], None]] = set()

    @classmethod
    async def open(cls, address: Address) -> Self:
        """Connect and sign in; raise BusUnavailableError or BusPermissionError."""
        client = Client()
        session = cls(client, f"{address.inbox_prefix}.{secrets.token_hex(8)}")
        try:
            await session._sign_in(address)
        except BaseException:
            await session.close()
            raise
        return session

    async def _sign_in(self, address: Address) -> None:
        seed = address.nkey_seed
        with _translated("sign in"):
            await self._client.connect(
                servers=address.url.split(","),
                error_cb=self._on_error,
                closed_cb=self._on_closed,
                name=address.name,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # of each server, and then tell us
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_SECONDS,
                ping_interval=1,
                max_outstanding_pings=2,
                inbox_prefix=address.inbox_prefix,
                nkeys_seed_str=seed.reveal() if seed is not None else None,
                tls=address.tls,
            )
        await self._subscribe(f"{self._inbox}.*", self._on_reply)

    async def close(self) -> None:
        """Close without waiting for a server that no longer reads."""
        self._end()
        transport = self._client._transport  # noqa: SLF001 - the client has no way to abort
        if transport is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()
        except (TimeoutError, nats.errors.Error, OSError):
            _log.debug("bus connection aborted")
        writer = getattr(transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def wait_lost(self) -> None:
        """Return once the connection is gone; the client may be slow to say so when its socket is stuck."""
        while not self.lost.is_set():
            if self._client.is_closed:
                self._end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.lost.wait()

    def new_inbox(self) -> str:
        """Return a subject of our own that nobody can guess."""
        return f"{self._inbox}.{secrets.token_hex(8)}.feed"

    async def call(
        self, subject: str, payload: bytes, *, deadline: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """Publish and wait `deadline` seconds for the one answer.

        Raises BusUnavailableError, NoResponderError, BusPermissionError, BusRefusedError.
        """
        token = secrets.token_hex(8)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._calls[token] = (subject, answer)
        try:
            await self.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            await asyncio.wait((answer,), timeout=deadline)
        finally:
            del self._calls[token]
        if not answer.done():
            raise BusUnavailableError(f"no answer on {subject} within {deadline:g} s")
        return answer.result()

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send without knowing whether it arrives."""
        if self.lost.is_set():
            raise BusUnavailableError("the connection to the bus is lost")
        if len(payload) + _size(headers) > self._client.max_payload:
            # The client counts the payload alone, and the server hangs up on whoever sends more.
            raise BusRefusedError(f"{subject}: {len(payload)} bytes are more than the bus carries")
        with _translated(subject):
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._client.publish(subject, payload, reply, dict(headers) if headers else None)
                _pass_cancellation()

    @asynccontextmanager
    async def subscription(
        self, subject: str, on_message: Callable[[Message], None], queue: str = ""
    ) -> AsyncIterator[None]:
        """Receive in `on_message`, which must not block; raise BusPermissionError if we may not listen."""
        end = await self._subscribe(subject, on_message, queue)
        try:
            yield
        finally:
            with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                await end()

    @contextmanager
    def on_loss(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back once if the connection is lost inside the block."""
        self._loss_callbacks.add(callback)
        try:
            if self.lost.is_set():
                callback()
            yield
        finally:
            self._loss_callbacks.discard(callback)

    async def _subscribe(
        self, subject: str, on_message: Callable[[Message], None], queue: str = ""
    ) -> Callable[[], "asyncio.Future[None]"]:
        async def receive(msg: Msg) -> None:
            on_message(_message(msg))

        self._refused_subscriptions.discard(subject.lower())
        with _translated(subject):
            async with asyncio.timeout(_CONNECT_SECONDS):
                subscribed = await self._client.subscribe(subject, queue, receive)
                # A refusal comes before the answer to a flush. The client sends the first flush ahead of
                # what it has buffered, so only the second is surely behind our subscription.
                for _ in range(2):
                    await self._client.flush(_CONNECT_SECONDS)
                _pass_cancellation()
        if subject.lower() in self._refused_subscriptions:
            raise BusPermissionError(f"this service may not listen on {subject}")
        return subscribed.unsubscribe  # type: ignore[return-value]

    def _on_reply(self, message: Message) -> None:
        subject, answer = self._calls.get(message.subject.rpartition(".")[2], ("", None))
        if answer is None or answer.done():
            return
        if message.status == "503":
            answer.set_exception(NoResponderError(f"nobody serves {subject} now"))
        else:
            answer.set_result(message)

    async def _on_error(self, error: Exception) -> None:
        refused = _REFUSED.search(str(error).lower())
        if refused is None:
            _log.debug("bus connection error", error=repr(error))
            return
        action, subject = refused.groups()
        _log.error("bus permission refused", action=action, bus_subject=subject)
        if action == "subscription":
            self._refused_subscriptions.add(subject)
        self._fail_calls(
            lambda asked: BusPermissionError(f"this service may not publish to {asked}"),
            lambda asked: action == "publish" and asked.lower() == subject,
        )

    async def _on_closed(self) -> None:
        self._end()

    def _end(self) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        self._fail_calls(
            lambda asked: BusUnavailableError(f"the connection to the bus was lost while asking {asked}"),
            lambda _asked: True,
        )
        for callback in tuple(self._loss_callbacks):
            callback()

    def _fail_calls(self, error: Callable[[str], BusError], concerns: Callable[[str], bool]) -> None:
        for subject, answer in tuple(self._calls.values()):
            if concerns(subject) and not answer.done():
                answer.set_exception(error(subject))


def _size(headers: Mapping[str, str] | None) -> int:
    """Return the bytes that headers take on the wire: a line each, a first line and an empty one."""
    if not headers:
        return 0
    return sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items()) + len(
        "NATS/1.0\r\n\r\n"
    )


def _message(msg: Msg) -> Message:
    headers = msg.headers or {}
    return Message(msg.subject, msg.reply, msg.data, headers, headers.get("Status", ""))


def _pass_cancellation() -> None:
    """Raise what the client swallows: it catches CancelledError while it flushes."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@contextmanager
def _translated(subject: str) -> Iterator[None]:
    try:
        yield
    except (nats.errors.MaxPayloadError, nats.errors.BadSubjectError, nats.errors.BadHeaderError) as error:
        raise BusRefusedError(f"{subject}: {error}") from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        _pass_cancellation()  # wait_for lets a failure at the same moment win over it
        if "authorization" in str(error).lower():
            raise BusPermissionError(
                "the bus does not know this service's nkey: nats.conf must list its public half"
            ) from error
        raise BusUnavailableError(f"{subject}: {str(error) or 'no answer in time'}") from error
