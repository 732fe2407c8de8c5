"""The audit of a running vreg, as its operator and an outside program see it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.process import Ended, run, run_well
from tests.e2e.stack import Stack, stack
from tests.support.wait import eventually

pytestmark = pytest.mark.e2e

VREG = str(Path(sys.executable).with_name("vreg"))
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "audit_consumer.py"
ODD_NAME = "prod \u00e9\u202f\u4f60"


@asynccontextmanager
async def printing(*command: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[list[str]]:
    """Run a program that goes on for ever; yield the lines it has printed so far."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            lines.append(line.decode())

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        try:
            yield lines
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


class Operator:
    """Somebody with the `vreg` command and an admin's token."""

    def __init__(self, running: Stack) -> None:
        self.environment = {"VREG_API_TOKEN": running.admin_token}
        self.api = ("--api", f"http://127.0.0.1:{running.api_port}")
        self.home = ("--home", str(running.home))

    async def consumer(self, *words: str) -> str:
        return await run_well([VREG, "audit", "consumer", *words, *self.home])

    async def audit(self, *words: str) -> Ended:
        return await run([VREG, "audit", *words, *self.api], environment=self.environment)


async def archived(running: Stack, kind: str) -> list[dict[str, Any]]:
    answer = await running.call("GET", f"/audit-events?type={kind}")
    return [each["event"] for each in answer.json()["items"]]


async def test_the_audit_is_followed_exported_verified_and_read_from_outside(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        operator, public = Operator(running), running.home / "keys" / "public"
        said = await operator.consumer("create", "siem")
        assert "The bus has read it" in said
        assert "siem" in await operator.consumer("list")
        outside = (
            *(
                sys.executable,
                str(EXAMPLE),
                "--url",
                f"nats://127.0.0.1:{running.nats_port}",
                "--name",
                "siem",
            ),
            *("--seed", str(running.home / "keys" / "consumers" / "siem" / "nkey.seed")),
            *("--public-keys", str(public), "--bookmark", str(tmp_path / "siem.json")),
        )
        tail = (VREG, "audit", "tail", "--after", "0", *operator.api)
        async with printing(*outside) as heard, printing(*tail, environment=operator.environment) as followed:
            made = await running.create("virtual_registries", {"slug": "team", "description": ODD_NAME})
            await eventually(lambda: any(made["id"] in line for line in heard), deadline=60)
            await eventually(lambda: any(made["id"] in line for line in followed), deadline=60)
        assert json.loads(followed[0])["event"]["type"] == "vreg.config.created"
        ids = [json.loads(line)["id"] for line in heard]

        async with printing(*outside) as heard:  # it goes on after its bookmark
            another = await running.create("virtual_registries", {"slug": "another"})
            await eventually(lambda: any(another["id"] in line for line in heard), deadline=60)
        assert not set(ids) & {json.loads(line)["id"] for line in heard}

        await running.call("GET", "/upstreams", headers={"Authorization": "Bearer nonsense"})

        async def is_told() -> bool:
            return bool(await archived(running, "vreg.access.refused"))

        await eventually(is_told, deadline=30)
        verified = await operator.audit("verify")
        assert (verified.code, "FLAW" in verified.output) == (0, False), verified.output

        exported = tmp_path / "audit.ndjson"
        assert (await operator.audit("export", str(exported))).code == 0
        lines = exported.read_text().splitlines()
        assert len(lines) == len(exported.read_text().split("\n")) - 1
        assert (await operator.audit("verify", str(exported), "--keys", str(public))).code == 0
        exported.write_text("\n".join([*lines[:1], *lines[2:]]) + "\n")
        shortened = await operator.audit("verify", str(exported), "--keys", str(public))
        assert (shortened.code, "event 2 is missing" in shortened.output) == (1, True), shortened.output

        await operator.consumer("delete", "siem")
        async with printing(*outside) as heard:
            await running.create("virtual_registries", {"slug": "third"})

            async def all_three() -> bool:
                return len(await archived(running, "vreg.config.created")) >= 4

            await eventually(all_three, deadline=30)
        assert heard == []
