"""The life of a worker's application."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.proxy_world import ProxyWorld, ask
from tests.support.clock import ManualClock
from tests.support.wait import eventually
from vreg_proxy.app import App, World
from vreg_proxy.config_cache import ConfigCache
from vreg_proxy.door import Door, closing_gently
from vreg_proxy.readiness import Freshness, Readiness


class Bus:
    connected = True
    is_synced = True
    is_whole = True


class Workers:
    waits_for: str | None = None
    problem: str | None = None

    def obstacle(self) -> str | None:
        return self.waits_for


class Cache:
    problem: str | None = None


class Lifespan:
    """The server's side of the lifespan protocol."""

    def __init__(self, app: App) -> None:
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.said: list[str] = []
        self._events.put_nowait({"type": "lifespan.startup"})
        self.task = asyncio.create_task(app({"type": "lifespan"}, self._events.get, self._send))

    async def _send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's
        self.said.append(message["type"])

    def stop(self) -> None:
        self._events.put_nowait({"type": "lifespan.shutdown"})


@dataclass
class Parts:
    """What readiness is a view of."""

    config: Bus = field(default_factory=Bus)
    leases: Bus = field(default_factory=Bus)
    door: Door = field(default_factory=lambda: Door(10))
    workers: Workers = field(default_factory=Workers)

    @property
    def readiness(self) -> Readiness:
        freshness = Freshness(ConfigCache(), self.config, self.config, None, ManualClock())
        return Readiness(freshness, self.leases, self.config, Cache(), door=self.door, workers=self.workers)


@pytest.fixture
def readiness() -> Readiness:
    return Parts().readiness


def app_of(opened: Callable[[], AbstractAsyncContextManager[World]]) -> App:
    return App(opened, Door(10), 0)


async def test_an_application_serves_between_start_and_end(world: ProxyWorld, readiness: Readiness) -> None:
    closed = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[World]:
        yield World(world.surface, readiness)
        closed.append(True)

    app = app_of(opened)
    assert (await ask(app, "/v2/")).status == 503
    lifespan = Lifespan(app)
    await eventually(lambda: lifespan.said)
    assert (await ask(app, "/v2/")).status == 401
    assert (await ask(app, "/readyz")).status == (await ask(app, "/livez")).status == 200
    assert (await ask(app, "/metrics")).status == 404
    lifespan.stop()
    await lifespan.task
    assert closed
    assert lifespan.said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_world_that_breaks_ends_its_process(
    world: ProxyWorld, readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda *arguments: killed.append(arguments))
    broken = asyncio.Event()

    @asynccontextmanager
    async def opened() -> AsyncIterator[World]:
        async with asyncio.TaskGroup() as group:
            group.create_task(breaking())
            yield World(world.surface, readiness)

    async def breaking() -> None:
        await broken.wait()
        raise RuntimeError("a follower broke")

    lifespan = Lifespan(app_of(opened))
    await eventually(lambda: lifespan.said)
    broken.set()
    await eventually(lambda: killed)
    lifespan.stop()
    await lifespan.task
    assert killed == [(os.getpid(), signal.SIGTERM)]


async def test_whatever_breaks_the_client_gets_an_answer_without_the_reason(readiness: Readiness) -> None:
    async def broken(_scope: object, _receive: object, _send: object) -> None:
        raise RuntimeError("SECRETWORD")

    @asynccontextmanager
    async def opened() -> AsyncIterator[World]:
        yield World(broken, readiness)  # type: ignore[arg-type]

    app = app_of(opened)
    lifespan = Lifespan(app)
    await eventually(lambda: lifespan.said)
    answer = await ask(app, "/v2/")
    assert (answer.status, answer.reason()) == (503, "internal_error")
    assert b"SECRETWORD" not in answer.body
    lifespan.stop()
    await lifespan.task


async def test_a_quiet_hour_does_not_make_the_configuration_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_proxy.readiness.LOOK_SECONDS", 0)
    bus, clock = Bus(), ManualClock()
    freshness = Freshness(ConfigCache(), bus, bus, 300, clock)
    watching = asyncio.create_task(freshness.watch())
    clock.advance(3600)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bus.connected = False
    assert not freshness.is_too_old()
    watching.cancel()


async def test_a_restart_does_not_make_an_old_configuration_young(tmp_path: Path) -> None:
    bus, clock, mark = Bus(), ManualClock(), tmp_path / "confirmed"
    watching = asyncio.create_task(Freshness(ConfigCache(), bus, bus, 300, clock, mark=mark).watch())
    clock.advance(60)
    await asyncio.sleep(0)
    watching.cancel()
    bus.connected = False
    clock.advance(301)
    assert not Freshness(ConfigCache(), bus, bus, 300, clock).is_too_old()
    assert Freshness(ConfigCache(), bus, bus, 300, clock, mark=mark).is_too_old()


def test_the_age_of_the_configuration_counts_while_nobody_confirms_it() -> None:
    bus, clock = Bus(), ManualClock()
    freshness = Freshness(ConfigCache(), bus, bus, 300, clock)
    clock.advance(1000)
    assert not freshness.is_too_old()
    bus.connected = False
    clock.advance(299)
    assert not freshness.is_too_old()
    clock.advance(2)
    assert freshness.is_too_old()
    bus.connected = True
    assert not freshness.is_too_old()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda _parts: None, "ready"),
        (lambda parts: setattr(parts.config, "connected", False), "ready"),
        (lambda parts: setattr(parts.config, "is_whole", False), "waiting_for_configuration"),
        (lambda parts: setattr(parts.leases, "is_whole", False), "waiting_for_leases"),
        (lambda parts: setattr(parts.workers, "waits_for", "waiting_for_leases"), "waiting_for_leases"),
        (lambda parts: setattr(parts.door, "is_closing", True), "draining"),
    ],
)
def test_a_host_is_ready_once_all_of_its_workers_know_what_they_serve(
    change: Callable[[Parts], None], status: str
) -> None:
    parts = Parts()
    change(parts)
    reply = parts.readiness.answer("/readyz")
    assert reply is not None
    assert (reply.status, json.loads(reply.body)["status"]) == (200 if status == "ready" else 503, status)


def test_anybody_may_ask_for_readiness_and_learns_nothing_of_the_configuration(readiness: Readiness) -> None:
    reply = readiness.answer("/readyz")
    assert reply is not None
    assert json.loads(reply.body).keys() == {"status", "bus", "cache", "state", "configuration_age_seconds"}


async def test_until_the_configuration_is_known_nobody_is_sent_to_sign_in(world: ProxyWorld) -> None:
    world.configured.is_known = False
    for path in ("/v2/", "/v2/token", "/v2/main/team/app/manifests/1"):
        answer = await world.get(path)
        assert (answer.status, answer.reason()) == (503, "configuration_missing")
        assert answer.headers["retry-after"] == "1"


async def test_a_signal_closes_the_door_first_and_stops_the_server_after_the_grace() -> None:
    stopped: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    door = Door(10)
    try:
        with closing_gently(door, 3600):
            signal.raise_signal(signal.SIGTERM)
            await eventually(lambda: door.is_closing)
            assert not stopped
            signal.raise_signal(signal.SIGTERM)
            await eventually(lambda: stopped)
        with closing_gently(Door(10), 0):
            signal.raise_signal(signal.SIGTERM)
            await eventually(lambda: len(stopped) == 2)
    finally:
        signal.signal(signal.SIGTERM, before)
