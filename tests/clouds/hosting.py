"""Where a world runs: on a thread of this process, or in a process of its own. Both are driven by a Call."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvloop

from tests.clouds.remote import Call, ControlError
from tests.clouds.world import Addresses, World

_ANSWER_SECONDS = 60.0
_START_SECONDS = 30.0
ADDRESSES = "clouds.json"
_ROOT = Path(__file__).parents[2]


@contextmanager
def on_a_thread(folder: Path) -> Iterator[tuple[Addresses, Call]]:
    """Run a world on a loop of its own, so that it answers while the test's loop is busy."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="clouds", daemon=True)
    thread.start()
    world = World(folder)

    def call(name: str, method: str, arguments: str) -> str:
        waiting = asyncio.run_coroutine_threadsafe(world.control(name, method, arguments), loop)
        return waiting.result(_ANSWER_SECONDS)

    try:
        addresses = asyncio.run_coroutine_threadsafe(world.start(), loop).result(_START_SECONDS)
        yield addresses, call
    finally:
        asyncio.run_coroutine_threadsafe(world.stop(), loop).result(_START_SECONDS)
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(_START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_START_SECONDS)
        loop.close()


@contextmanager
def in_a_process(folder: Path) -> Iterator[tuple[Addresses, Call]]:
    """Run `python -m tests.clouds`: it shares no interpreter with the test, and ends when the test does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "clouds.log").open("wb") as log,
        subprocess.Popen(  # noqa: S603 -- this very interpreter
            [sys.executable, "-m", "tests.clouds", "--directory", str(folder), "--until-input-ends"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise RuntimeError(f"the clouds did not start: {(folder / 'clouds.log').read_text()[-2000:]}")
            with connected(folder) as found:
                yield found
        finally:
            process.stdin.close()
            process.wait(_START_SECONDS)


@contextmanager
def connected(folder: Path) -> Iterator[tuple[Addresses, Call]]:
    """Drive a world that runs already, with `folder` as its directory."""
    said = json.loads((folder / ADDRESSES).read_text())
    addresses = Addresses(said["gateway_url"], Path(said["ca_bundle"]), Path(said["content"]), said["local"])
    with httpx.Client(base_url=said["control_url"], trust_env=False, timeout=_ANSWER_SECONDS) as client:

        def call(name: str, method: str, arguments: str) -> str:
            answer = client.post(f"/{name}/{method}", content=arguments)
            if not answer.is_success:
                raise ControlError(answer.text)
            return answer.text

        yield addresses, call
