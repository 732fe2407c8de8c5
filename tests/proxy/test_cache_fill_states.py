"""Clients come and go in any order, an upstream stops, breaks and lies: nobody gets a wrong body."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.clock import ManualClock
from tests.support.fake_blob_source import ABSENT, FakeBlobSource
from vreg_proxy.cache import BlobReader, Origin, Patience, open_cache
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import BlobInterruptedError

BLOB = bytes(range(256)) * 4096 * 12
"""Large enough to be cancelled when everybody leaves early."""
ORIGINS = [Origin("upstream-1", 0, "team/app"), Origin("upstream-2", 0, "team/app")]
STRANGER = Origin("upstream-3", 0, "team/app")
TURNS = 30
PATIENCE = 0.02
"""Seconds after which a client that got nothing counts as waiting; only what is tried next depends on it."""


class Client:
    """One reader with what it has got so far."""

    def __init__(self, reader: BlobReader, start: int, stop: int) -> None:
        self.reader = reader
        self.chunks = aiter(reader.chunks(start, stop))
        self.wanted = BLOB[start:stop]
        self.got = bytearray()
        self.waiting: asyncio.Task[bytes] | None = None

    async def step(self) -> str:
        """Take a chunk if there is one soon."""
        if self.waiting is None:
            self.waiting = asyncio.ensure_future(anext(self.chunks))
        await asyncio.wait([self.waiting], timeout=PATIENCE)
        if not self.waiting.done():
            return "waiting"
        task, self.waiting = self.waiting, None
        try:
            self.got += await task
        except StopAsyncIteration:
            return "complete"
        except BlobInterruptedError:
            return "interrupted"
        return "more"

    async def leave(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            await asyncio.wait([self.waiting])
        async with self.reader:
            pass


class Fills(RuleBasedStateMachine):
    """The cache under one blob, an honest and a lying upstream, and a stranger without a right."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.source = FakeBlobSource(BLOB, gate=asyncio.Event(), piece=256 * 1024)
        self.here: list[Client] = []
        patience = Patience(fruitless=3, tries=1000, first=0.0, longest=0.0)
        self.cache = self.runner.run(
            self.stack.enter_async_context(open_cache(self.root, ManualClock(), patience=patience))
        )

    @initialize(lies=st.booleans(), honours=st.booleans())
    def begin(self, *, lies: bool, honours: bool) -> None:
        self.source.sent = bytes(len(BLOB)) if lies else None
        self.source.honours_range = honours

    @rule(origin=st.sampled_from(ORIGINS), start=st.integers(0, 3), size=st.integers(1, 13))
    def join(self, origin: Origin, start: int, size: int) -> None:
        self.runner.run(self._join(origin, start << 20, min((start + size) << 20, len(BLOB))))

    @precondition(lambda self: self.here)
    @rule(pick=st.integers(0, 99), steps=st.integers(1, 40))
    def read(self, pick: int, steps: int) -> None:
        self.runner.run(self._read(self.here[pick % len(self.here)], steps))

    @precondition(lambda self: self.here)
    @rule(pick=st.integers(0, 99))
    def leave(self, pick: int) -> None:
        self.runner.run(self.here.pop(pick % len(self.here)).leave())

    @rule(mebibytes=st.sampled_from([1, 3, 12]))
    def let_through(self, mebibytes: int) -> None:
        self.source.free += mebibytes << 20
        self.runner.run(self._nudge())

    @rule(position=st.integers(0, len(BLOB) - 1))
    def break_connection(self, position: int) -> None:
        self.source.resets.append(position)

    @rule(lies=st.booleans())
    def change_what_is_sent(self, *, lies: bool) -> None:
        self.source.sent = bytes(len(BLOB)) if lies else None

    @rule()
    def ask_as_a_stranger(self) -> None:
        source = FakeBlobSource(BLOB, verdict=ABSENT)
        assert self.runner.run(self.cache.blob(STRANGER, source.digest, source)) == ABSENT

    @invariant()
    def nothing_wrong_is_kept(self) -> None:
        for path in (self.root / "content").rglob("*"):
            assert not path.is_file() or Digest.of(path.read_bytes()).hex == path.name

    def teardown(self) -> None:
        self.runner.run(self._end())
        self.runner.close()
        left = list((self.root / "filling").iterdir())
        self.folder.cleanup()
        assert left == []

    async def _join(self, origin: Origin, start: int, stop: int) -> None:
        task = asyncio.ensure_future(self.cache.blob(origin, self.source.digest, self.source))
        self.source.free += 1
        await self._nudge()
        outcome = await task
        if isinstance(outcome, Verdict):
            return
        self.here.append(Client(outcome, start, stop))

    async def _read(self, client: Client, steps: int) -> None:
        for _ in range(steps):
            state = await client.step()
            event(state)
            if state == "complete":
                assert client.got == client.wanted
            if state in {"complete", "interrupted"}:
                self.here.remove(client)
                await client.leave()
                return
            if state == "waiting":
                return

    async def _nudge(self) -> None:
        """Wake the upstream, whose gate it then shuts again."""
        assert self.source.gate is not None
        self.source.gate.set()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.source.gate.clear()

    async def _end(self) -> None:
        for client in self.here:
            await client.leave()
        await self.stack.aclose()


TestFills = Fills.TestCase
TestFills.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
