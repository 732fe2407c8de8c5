"""One blob's bytes from its upstream, as one stream that a broken connection does not end."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from vreg_proxy.cache.running_hash import running_hash
from vreg_proxy.cache.source import BlobSource
from vreg_shared.errors import VregError
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, BlobStream

_HOPELESS: Final = frozenset({"over_long", "content_changed", "size_changed"})


class NotServedError(VregError):
    """The upstream gave no bytes; `verdict` is its answer."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"the upstream did not give the blob: {verdict.reason}")
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a broken body is resumed. Pauses are seconds, doubled from `first` up to `longest`, jittered.

    `fruitless` counts tries in a row that brought no byte; `tries` counts all.
    """

    fruitless: int = 5
    tries: int = 60
    first: float = 0.1
    longest: float = 3.0

    def pause(self, failures: int) -> float:
        """Return how long to wait after this many fruitless tries."""
        return min(self.longest, self.first * 2.0**failures) * (0.5 + secrets.randbelow(1000) / 2000)


class Download:
    """Bytes from `position` on, contiguous, never more than the size; nobody has compared the digest.

    An upstream that ignores a range begins anew: what we have is compared with what it sends, by the digest
    of the bytes before `position` that `prefix` returns, and then skipped. `on_open` hears the size at each
    2xx, `on_bytes` how many bytes came each time. This is the only place that retries a blob's body.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        digest: Digest,
        source: BlobSource,
        patience: Patience,
        *,
        prefix: Callable[[], Awaitable[str]],
        on_open: Callable[[int], None],
        on_bytes: Callable[[int], None],
        position: int = 0,
        size: int | None = None,
    ) -> None:
        self._digest = digest
        self._source = source
        self._patience = patience
        self._prefix = prefix
        self._on_open = on_open
        self._on_bytes = on_bytes
        self.position = position
        self.size = size
        self._opened = AsyncExitStack()
        self._stream: BlobStream | None = None
        self._tries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def start(self) -> int:
        """Open the body and return the blob's size; raise NotServedError or BlobInterruptedError."""
        if self._stream is None:
            self._stream = await self._opened.enter_async_context(self._opening())
        return self._stream.size

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Give every byte to the end, or raise NotServedError or BlobInterruptedError."""
        fruitless = 0
        while True:
            before = self.position
            try:
                async with aclosing(self._one_body()) as body:
                    async for chunk in body:
                        yield chunk
                if self.position == self.size:
                    return
                problem = "truncated"
            except BlobInterruptedError as error:
                if error.reason in _HOPELESS:
                    raise
                problem = error.reason
            fruitless = fruitless + 1 if self.position == before else 0
            if fruitless >= self._patience.fruitless or self._tries >= self._patience.tries:
                raise BlobInterruptedError(problem, self.position)
            await asyncio.sleep(self._patience.pause(fruitless))

    async def _one_body(self) -> AsyncGenerator[bytes, None]:
        await self.start()
        stream, self._stream = self._stream, None
        assert stream is not None  # noqa: S101 - start() has just set it
        try:
            async with aclosing(self._from_position(stream)) as fresh:
                async for chunk in fresh:
                    if self.position + len(chunk) > stream.size:
                        raise BlobInterruptedError("over_long", self.position)
                    self.position += len(chunk)
                    yield chunk
        finally:
            await self._opened.aclose()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[BlobStream]:
        self._tries += 1
        async with self._source.open(self.position) as answer:
            if isinstance(answer, Verdict):
                self._give_up_or_try_again(answer)
            else:
                self._check(answer)
                self._on_open(answer.size)
                yield answer

    def _give_up_or_try_again(self, verdict: Verdict) -> None:
        if self.position and verdict.answer is Answer.UNAVAILABLE:
            raise BlobInterruptedError(verdict.reason, self.position)
        raise NotServedError(verdict)

    def _check(self, stream: BlobStream) -> None:
        if self.size is not None and stream.size != self.size:
            raise BlobInterruptedError("size_changed", self.position)
        if stream.offset not in {0, self.position}:
            raise BlobInterruptedError("range_mismatch", self.position)
        self.size = stream.size

    async def _from_position(self, stream: BlobStream) -> AsyncGenerator[bytes, None]:
        again, missing = running_hash(self._digest), self.position - stream.offset
        async for chunk in stream.chunks:
            self._on_bytes(len(chunk))
            if not missing:
                yield chunk
                continue
            known, fresh = chunk[:missing], chunk[missing:]
            again.update(known)
            missing -= len(known)
            if not missing:
                if again.hexdigest() != await self._prefix():
                    raise BlobInterruptedError("content_changed", self.position)
                if fresh:
                    yield fresh
