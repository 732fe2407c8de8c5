"""A broker in a process of its own, to be killed, paused and stopped beside others."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.broker.bus_world import BusWorld
from tests.support.wait import eventually

_START_SECONDS = 60.0


class BrokerProcess:
    """A running broker; each `name` has a state folder of its own, and writes its log beside it."""

    def __init__(self, world: BusWorld, name: str, running: asyncio.subprocess.Process) -> None:
        self.name = name
        self._log = world.state_of(name).with_suffix(".log")
        self._running = running

    async def wait_following(self) -> None:
        """Return once it knows what is configured and could take over."""
        await eventually(lambda: "broker_follows" in self._log.read_text(), deadline=_START_SECONDS)

    async def kill(self) -> None:
        """End it with kill -9."""
        self._running.kill()
        await self._running.wait()

    def pause(self) -> None:
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Let it end in good order."""
        self._running.terminate()
        await self._running.wait()


@asynccontextmanager
async def broker_process(
    world: BusWorld, name: str, more: Mapping[str, str] | None = None
) -> AsyncIterator[BrokerProcess]:
    """Start a broker, and leave nothing behind."""
    own = {"VREG_BROKER_ID": name, "VREG_BROKER_STATE": str(world.state_of(name))}
    log = world.state_of(name).with_suffix(".log")
    with log.open("wb") as output:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vreg_token_broker"),
            env={"PATH": os.environ["PATH"]} | world.environment(dict(more or {})) | own,
            stdout=output,
            stderr=output,
        )
    try:
        yield BrokerProcess(world, name, running)
    finally:
        if running.returncode is None:
            running.send_signal(signal.SIGCONT)
            running.kill()
            await running.wait()
