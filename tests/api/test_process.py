"""`python -m vreg_api` as an operator meets it: one clear line, or it serves."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.ports import free_ports
from tests.support.wait import eventually
from vreg_cli.home import open_home
from vreg_cli.keys import ensure_keys
from vreg_shared.key_files import Service


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    line: str


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """All that the api must be told, with keys as `vreg up` makes them."""
    home = open_home(tmp_path / "home")
    ensure_keys(home)
    (port,) = free_ports(1)
    return {
        "PATH": os.environ["PATH"],
        "VREG_KEYS": str(home.key_folder(Service.API).path),
        "VREG_PUBLIC_KEYS": str(home.public_keys.path),
        "VREG_DATABASE_URL": f"sqlite:///{tmp_path}/vreg.db",
        "VREG_API_LISTEN": f"127.0.0.1:{port}",
        "VREG_NATS_URL": "nats://127.0.0.1:1",
        "VREG_LOG_LEVEL": "debug",
    }


async def run(environment: Mapping[str, str], *arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vreg_api", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return Ended(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def serving(
    environment: Mapping[str, str], log: Path, trust: ssl.SSLContext | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vreg_api"), env=environment, stdout=output, stderr=output
        )
    scheme = "http" if trust is None else "https"
    url = f"{scheme}://{environment['VREG_API_LISTEN']}/readyz"

    async def is_ready() -> bool:
        assert process.returncode is None, log.read_text()
        async with httpx.AsyncClient(trust_env=False, verify=trust or True) as client:
            try:
                return (await client.get(url)).status_code == 200
            except httpx.TransportError:
                return False

    try:
        await eventually(is_ready, deadline=30)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_migrate_then_bootstrap_once_then_serve_without_a_bus(
    environment: dict[str, str], tmp_path: Path
) -> None:
    early = await run(environment)
    assert early.code == 2
    assert early.line == "vreg_api: the database has no schema yet; run `python -m vreg_api migrate`\n"
    assert (await run(environment, "bootstrap")).code == 2
    migrated = await run(environment, "migrate")
    assert (migrated.code, migrated.out) == (0, "")
    assert (await run(environment, "migrate")).code == 0
    first = await run(environment, "bootstrap")
    assert (first.code, first.line) == (0, "")
    assert (await run(environment, "bootstrap")) == Ended(0, "", "")
    assert (tmp_path / "vreg.db").stat().st_mode & 0o077 == 0
    base = f"http://{environment['VREG_API_LISTEN']}/api/v1"
    headers = {"Authorization": f"Bearer {first.out.strip()}"}
    log = tmp_path / "log"
    async with serving(environment, log) as process:
        async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
            made = await client.post(f"{base}/virtual_registries", json={"slug": "team"})
            assert made.status_code == 201
            second = await run(environment)
            assert second.code == 2
            assert "VREG_API_LISTEN: cannot listen on" in second.line
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    assert first.out.strip().split("_", 2)[2] not in log.read_text()


@pytest.mark.parametrize(
    ("setting", "value", "code", "says"),
    [
        ("VREG_DATABASE_URL", None, 2, "VREG_DATABASE_URL: is not set"),
        ("VREG_DATABASE_URL", "mysql://u:canary@h/d", 2, "not the address of a database"),
        ("VREG_DATABASE_URL", "sqlite:////no/such/folder/vreg.db", 1, "unable to open database file"),
        ("VREG_DATABASE_URL", "postgresql://u:canary@127.0.0.1:1/d", 1, "the database cannot be used now"),
        ("VREG_KEYS", "/no/such/folder", 2, "VREG_KEYS"),
        ("VREG_PUBLIC_KEYS", "/no/such/folder", 2, "VREG_PUBLIC_KEYS"),
        ("VREG_API_LISTEN", "8600", 2, "write it as host:port"),
        ("VREG_API_TLS_CERTIFICATE", "/no/such/file", 2, "there is no file"),
        ("VREG_LOG_LEVEL", "loud", 2, "VREG_LOG_LEVEL"),
    ],
)
async def test_a_wrong_setting_is_one_line_that_says_what_to_do(
    environment: dict[str, str], setting: str, value: str | None, code: int, says: str
) -> None:
    environment.pop(setting, None)
    if value is not None:
        environment[setting] = value
    ended = await run(environment)
    assert ended.code == code
    assert ended.line.count("\n") == 1
    assert says in ended.line
    assert "canary" not in ended.line


async def test_an_unknown_command_says_what_there_is(environment: dict[str, str]) -> None:
    ended = await run(environment, "dance")
    assert ended.code == 2
    assert "serve|migrate|bootstrap" in ended.line


async def test_it_speaks_tls_given_a_certificate(environment: dict[str, str], tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    environment["VREG_API_TLS_CERTIFICATE"] = str(tmp_path / "certificate.pem")
    alone = await run(environment)
    assert alone.code == 2
    assert "set together" in alone.line
    environment["VREG_API_TLS_KEY"] = str(tmp_path / "key.pem")
    assert (await run(environment, "migrate")).code == 0
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with serving(environment, tmp_path / "log", trust):
        async with httpx.AsyncClient(trust_env=False, verify=trust) as client:
            answer = await client.get(f"https://{environment['VREG_API_LISTEN']}/api/v1/identities")
        assert answer.status_code == 401
