import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.wait import eventually
from vreg_cli.readiness import Readiness, still_runs
from vreg_cli.supervised import Part
from vreg_cli.supervisor import PartRefusedError, Supervisor

AT_ONCE = still_runs(after=0)
STAYS = "import time; time.sleep(600)"
IS_DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {STAYS}"
HAS_WORKER = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class World:
    """A supervisor, what it reported, and the processes it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports: list[str] = []
        self.supervisor = Supervisor(self.reports.append)
        self.is_ready = False

    def part(self, name: str, program: str, *, is_ready: Readiness = AT_ONCE, grace: float = 20) -> Part:
        noted = f"import os; open({str(self.folder / name)!r}, 'a').write(f'{{os.getpid()}}\\n'); {program}"
        return Part(
            name, (sys.executable, "-c", noted), {}, self.folder / f"{name}.log", grace, is_ready=is_ready
        )

    def pids(self, name: str) -> list[int]:
        noted = self.folder / name
        return [int(line) for line in noted.read_text().split()] if noted.exists() else []

    def group(self, name: str) -> list[int]:
        """Return the processes alive in the group of the part's first start."""
        wanted, found = self.pids(name)[0], []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and runs(int(entry.name)):
                try:
                    if os.getpgid(int(entry.name)) == wanted:
                        found.append(int(entry.name))
                except ProcessLookupError:
                    continue
        return found

    def note_ready(self) -> None:
        self.is_ready = True

    @asynccontextmanager
    async def running(self, *stages: list[Part]) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.supervisor.run(stages, self.note_ready))
        try:
            yield task
        finally:
            self.supervisor.stop()
            await asyncio.wait([task], timeout=60)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_killed_process_is_started_again_and_it_is_said(world: World) -> None:
    async with world.running([world.part("api", STAYS)]):
        await eventually(lambda: world.is_ready and world.pids("api"))
        os.kill(world.pids("api")[0], signal.SIGKILL)
        await eventually(lambda: len(world.pids("api")) == 2)
        await eventually(lambda: "api runs again" in world.reports)

    assert "api was ended by SIGKILL" in world.reports[0]
    assert "api.log" in world.reports[0]


async def test_a_process_that_keeps_failing_is_tried_again_and_again_with_its_last_words(
    world: World,
) -> None:
    fails = "import sys; print('no room left'); sys.exit(1)"
    async with world.running([world.part("api", fails)]):
        await eventually(lambda: len(world.pids("api")) >= 3, deadline=30)

    assert "api ended with exit code 1: no room left; it is started again" in world.reports[0]


async def test_a_refusal_to_start_ends_all_and_its_line_is_the_error(world: World) -> None:
    refuses = "import sys; sys.stderr.write('VREG_CA_BUNDLE: there is no file\\n'); sys.exit(2)"

    async def never() -> bool:
        return False

    async with world.running(
        [world.part("nats", STAYS)], [world.part("api", refuses, is_ready=never)]
    ) as run:
        with pytest.raises(PartRefusedError, match="VREG_CA_BUNDLE: there is no file"):
            await asyncio.wait_for(run, 30)

    assert not world.is_ready
    assert not runs(world.pids("nats")[0])


async def test_a_refusal_after_it_ran_is_tried_again(world: World) -> None:
    path = world.folder / "refuse"
    program = f"import os, sys\nif os.path.exists({str(path)!r}): sys.exit(2)\n{STAYS}"
    async with world.running([world.part("api", "\n" + program)]):
        await eventually(lambda: world.is_ready and world.pids("api"))
        path.touch()
        os.kill(world.pids("api")[0], signal.SIGKILL)
        await eventually(lambda: any("exit code 2" in line for line in world.reports), deadline=20)
        path.unlink()
        await eventually(lambda: "api runs again" in world.reports, deadline=20)


async def test_a_later_stage_waits_for_an_earlier_one(world: World) -> None:
    gate = asyncio.Event()

    async def is_open() -> bool:
        return gate.is_set()

    first, second = world.part("nats", STAYS, is_ready=is_open), world.part("api", STAYS)
    async with world.running([first], [second]):
        await eventually(lambda: world.pids("nats"))
        assert not world.pids("api")
        gate.set()
        await eventually(lambda: world.pids("api") and world.is_ready)


async def test_processes_end_in_reverse_order(world: World) -> None:
    ends = world.folder / "ends"

    def told(name: str) -> str:
        note = f"lambda *_: (open({str(ends)!r}, 'a').write('{name} '), os._exit(0))"
        ready = f"open({str(world.folder / (name + '.up'))!r}, 'w').close()"
        return f"import signal, time; signal.signal(signal.SIGTERM, {note}); {ready}; time.sleep(600)"

    names = ("nats", "api", "proxy")
    async with world.running(*([world.part(name, told(name))] for name in names)):
        await eventually(lambda: all((world.folder / f"{name}.up").exists() for name in names))

    assert ends.read_text() == "proxy api nats "


async def test_a_process_deaf_to_requests_is_killed_after_its_grace(world: World) -> None:
    async with world.running([world.part("proxy", IS_DEAF, grace=0.2)]):
        await eventually(lambda: "deaf" in _text(world.folder / "proxy.log"))

    assert not runs(world.pids("proxy")[0])
    assert any("did not end within 0.2 s and is killed" in line for line in world.reports)


async def test_told_twice_it_does_not_wait_for_grace(world: World) -> None:
    async with world.running([world.part("proxy", IS_DEAF, grace=600)]) as run:
        await eventually(lambda: "deaf" in _text(world.folder / "proxy.log"))
        world.supervisor.stop()
        world.supervisor.stop()
        await asyncio.wait_for(run, 30)

    assert not runs(world.pids("proxy")[0])


async def test_workers_of_a_killed_process_are_gone_before_it_is_started_again(world: World) -> None:
    async with world.running([world.part("proxy", HAS_WORKER)]):
        await eventually(lambda: world.pids("proxy") and len(world.group("proxy")) == 2)
        os.kill(world.pids("proxy")[0], signal.SIGKILL)
        await eventually(lambda: len(world.pids("proxy")) == 2)
        assert world.group("proxy") == []


async def test_a_program_that_is_not_there_leaves_nothing_running(world: World) -> None:
    missing = Part("api", ("/no/such/program",), {}, world.folder / "api.log", 1, AT_ONCE)
    async with world.running([world.part("nats", STAYS)], [missing]) as run:
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(run, 30)

    assert raised.group_contains(FileNotFoundError)
    assert not any(runs(pid) for pid in world.pids("nats"))


async def test_children_end_when_their_parent_is_killed() -> None:
    program = (
        "import subprocess, sys\n"
        "from vreg_cli.parent_death import ending_with_parent\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "    start_new_session=True, preexec_fn=ending_with_parent())\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert runs(child)

    parent.kill()
    await parent.communicate()

    await eventually(lambda: not runs(child))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
