"""`vreg up` itself: the real services, started, killed, started twice and ended."""

import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from tests.clients.process import Ended, run
from tests.e2e.stack import Stack, stack
from tests.support.wait import eventually

pytestmark = pytest.mark.e2e

SERVICES = {"nats-server", "vreg_api", "vreg_token_broker", "vreg_proxy"}
VREG = str(Path(sys.executable).with_name("vreg"))
PATH = {"PATH": os.environ["PATH"]}


async def vreg_up(running: Stack, *, home: Path | None = None, **changed: str) -> Ended:
    """Run a `vreg up` that is expected to refuse; options are those of `running` unless changed."""
    options = {
        "proxy-listen": running.proxy,
        "api-listen": f"127.0.0.1:{running.api_port}",
        "nats-port": str(running.nats_port),
        "metrics-listen": f"127.0.0.1:{running.metrics_port}",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return await run([VREG, "up", "--home", str(home or running.home), *arguments], deadline=60)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_pids(running: Stack) -> list[int]:
    return [pid for pids in running.services().values() for pid in pids]


async def is_ready(port: int) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).is_success
    except httpx.TransportError:
        return False


def closed(port: int) -> Callable[[], bool]:
    def ask() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    return ask


@asynccontextmanager
async def started(folder: Path, workers: int = 2) -> AsyncIterator[Stack]:
    async with stack(folder, workers=workers) as running:
        await eventually(lambda: running.services().keys() == SERVICES)
        await eventually(lambda: "vreg is up" in running.output)
        yield running


async def test_all_of_vreg_comes_up_and_goes_away_without_a_trace(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        pids = all_pids(running)
        assert running.admin_token
        assert (await running.call("GET", "/upstreams")).status_code == httpx.codes.OK
        assert f"docker pull {running.proxy}/" in running.output

        code = await running.stop()

        assert code == 0
        assert running.output.rstrip().endswith("vreg has stopped.")
        assert not any(alive(pid) for pid in pids)


async def test_the_admin_token_is_shown_at_the_first_start_only(tmp_path: Path) -> None:
    async with started(tmp_path) as first:
        token = first.admin_token
    async with started(tmp_path) as second:
        assert second.output.count(token) == 1
        assert second.output.count("First start") == first.output.count("First start") == 2
        answer = await second.call("GET", "/upstreams")
        assert answer.status_code == httpx.codes.OK

    for path in first.home.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path


async def test_starting_twice_is_refused_in_one_line(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        ended = await vreg_up(running)

        assert ended.code == 2
        assert ended.output.count("\n") == 1
        assert f"vreg already runs in {running.home} (process {running.pid})" in ended.output


@pytest.mark.parametrize("option", ["proxy-listen", "api-listen", "nats-port"])
async def test_a_taken_port_is_refused_in_one_line_that_names_the_option(tmp_path: Path, option: str) -> None:
    running = Stack(tmp_path / "home", {}, workers=1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = {option: str(port) if option == "nats-port" else f"127.0.0.1:{port}"}

        ended = await vreg_up(running, **taken)

    assert ended.code == 2
    assert ended.output.splitlines()[-1].startswith(f"vreg: port {port} for the ")
    assert f"--{option}" in ended.output.splitlines()[-1]


async def test_a_missing_key_is_refused_in_one_line(tmp_path: Path) -> None:
    running = Stack(tmp_path / "home", {}, workers=1)
    assert (await run([VREG, "setup", "--home", str(running.home)])).code == 0
    key = running.home / "keys" / "api" / "signing.key"
    key.unlink()

    ended = await vreg_up(running)

    assert ended.code == 2
    assert ended.output == (
        f"vreg: key {key} is missing; restore it from a backup, or remove {running.home}/keys "
        "to make new keys (every stored cloud secret must then be entered again)\n"
    )


async def test_a_home_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    running = Stack(tmp_path / "file" / "home", {}, workers=1)

    ended = await vreg_up(running)

    assert ended.code == 2
    assert ended.output.count("\n") == 1
    assert ended.output.startswith(f"vreg: home {running.home} cannot be used: Not a directory")


async def test_a_database_of_a_newer_vreg_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    running = Stack(tmp_path / "home", {}, workers=1)
    assert (await run([VREG, "setup", "--home", str(running.home)])).code == 0
    database = running.home / "api" / "vreg.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('from-the-future')")

    ended = await vreg_up(running)

    assert ended.code == 2
    assert ended.output.count("\n") == 1
    assert ended.output.startswith("vreg: migrate of the database: vreg_api: ")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("from-the-future",)]


async def test_a_setting_that_a_service_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    missing = {"VREG_CA_BUNDLE": str(tmp_path / "ca.pem")}
    running = Stack(tmp_path / "home", missing, workers=1)

    with pytest.raises(Exception, match="VREG_CA_BUNDLE: there is no file"):
        await running.start()

    assert await running.stop() == 2


async def test_every_service_that_is_killed_is_started_again_alone(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        for times, name in enumerate(sorted(SERVICES), start=1):
            before = running.services()
            os.kill(min(before[name]), signal.SIGKILL)

            await eventually(times_said("runs again", times, running), deadline=40)

            after = running.services()
            assert not set(before[name]) & set(after[name])
            assert all(before[other] == after[other] for other in SERVICES - {name})
        await eventually(lambda: is_ready(running.api_port), deadline=30)
        await eventually(lambda: is_ready(running.proxy_port), deadline=30)


def times_said(words: str, times: int, running: Stack) -> Callable[[], bool]:
    return lambda: running.output.count(words) == times


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
async def test_each_way_to_ask_ends_everything_in_good_order(tmp_path: Path, how: signal.Signals) -> None:
    async with started(tmp_path) as running:
        pids = all_pids(running)
        os.kill(running.pid, how)
        assert await running.stop() == 0
        assert not any(alive(pid) for pid in pids)
        for port in (running.proxy_port, running.api_port, running.nats_port):
            assert closed(port)()


async def test_nothing_is_left_behind_by_a_vreg_that_was_killed(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        pids = all_pids(running)
        os.kill(running.pid, signal.SIGKILL)

        await eventually(lambda: not any(alive(pid) for pid in pids), deadline=40)

    async with started(tmp_path) as again:
        assert await is_ready(again.proxy_port)


async def test_a_service_finds_only_its_own_keys_and_no_secret_in_its_environment(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        seeds = [path.read_bytes().strip() for path in running.home.glob("keys/*/nkey.seed")]
        folders = {"vreg_api": b"api", "vreg_token_broker": b"token-broker", "vreg_proxy": b"proxy"}
        for name, pids in running.services().items():
            for pid in pids:
                seen = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
                assert running.admin_token.encode() not in seen
                assert not any(seed in seen for seed in seeds)
                for other, folder in folders.items():
                    assert (b"/keys/" + folder + b"\0" in seen) == (other == name)
