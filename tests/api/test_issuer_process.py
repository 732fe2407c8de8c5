"""A running api, a home and a broker's tokens, as a cloud and an operator's command see them together."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from tests.api.test_process import run, serving
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.oidc import Claims, Flaw, FlawedTokenError, TokenVerifier
from tests.support.api_world import ASSUME_ROLE, PASSWORD
from tests.support.issuer_site import ISSUER_URL
from tests.support.ports import free_ports
from vreg_cli.home import Home, open_home
from vreg_cli.keys import ensure_keys
from vreg_cli.main import app
from vreg_shared.auth_method import IdentityTokenNeed
from vreg_shared.clock import SystemClock
from vreg_shared.issuer_keys import read_issuer_keys
from vreg_shared.key_files import Service
from vreg_shared.operator_grants import OperatorGrants
from vreg_token_broker.identity_tokens import GrantedIdentityTokens
from vreg_token_broker.issuer import Claims as Said
from vreg_token_broker.issuer import signed

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = ISSUER_URL.split("/")[2]


@dataclass(frozen=True, slots=True)
class Stage:
    home: Home
    url: str
    admin: str
    log: Path

    @property
    def tokens(self) -> GrantedIdentityTokens:
        """What a broker of this home signs."""
        keys = self.home.key_folder(Service.TOKEN_BROKER).issuer_path
        return GrantedIdentityTokens(OperatorGrants(issuer_url=ISSUER_URL), keys, SystemClock())

    async def create(self, body: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {self.admin}"}) as client:
            made: dict[str, Any] = (await client.post(f"{self.url}/api/v1/identities", json=body)).json()
            return made

    async def vreg(self, *arguments: str | Path, token: str | None = None) -> Result:
        environment = {
            "VREG_API": self.url,
            "VREG_API_TOKEN": token or self.admin,
            "VREG_HOME": str(self.home.path),
        }
        words = [str(each) for each in arguments]
        return await asyncio.to_thread(CliRunner(env=environment).invoke, app, words)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    tmp_path = tmp_path_factory.mktemp("stage")
    home = open_home(tmp_path / "home")
    ensure_keys(home)
    [port] = free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "VREG_KEYS": str(home.key_folder(Service.API).path),
        "VREG_PUBLIC_KEYS": str(home.public_keys.path),
        "VREG_DATABASE_URL": f"sqlite:///{tmp_path}/vreg.db",
        "VREG_API_LISTEN": f"127.0.0.1:{port}",
        "VREG_NATS_URL": "nats://127.0.0.1:1",
        "VREG_ISSUER_URL": ISSUER_URL,
        "VREG_LOG_LEVEL": "debug",
    }
    assert (await run(environment, "migrate")).code == 0
    admin = (await run(environment, "bootstrap")).out.strip()
    async with serving(environment, tmp_path / "log"):
        yield Stage(home, f"http://127.0.0.1:{port}", admin, tmp_path / "log")


class OverHttps:
    """Fetches as the emulated clouds do."""

    def __init__(self, world: Clouds) -> None:
        self._world = world

    async def get_json(self, url: str) -> Any:  # noqa: ANN401 - whatever is published
        try:
            async with self._world.http_client() as client:
                answer = await client.get(url)
        except httpx.HTTPError as error:
            raise OSError(url) from error
        assert answer.status_code == 200
        return answer.json()


async def test_a_cloud_checks_tokens_against_what_the_api_publishes_through_a_rotation(
    stage: Stage, tmp_path: Path
) -> None:
    need = IdentityTokenNeed(audience="sts.amazonaws.com")
    async with clouds(tmp_path / "clouds") as world:

        async def checked(token: str) -> Claims:
            return await TokenVerifier(OverHttps(world)).verify(token, SystemClock().now().timestamp())

        token = (await stage.tokens.token("01KAS1G6V5X4T3NQ7R8M2C9B0Z", need)).reveal()
        with pytest.raises(FlawedTokenError) as unpublished:
            await checked(token)
        world.sites.publish(HOST, stage.url)
        before = await checked(token)
        rotated = await stage.vreg("issuer", "rotate", "--overlap", "0")
        assert rotated.exit_code == 0, rotated.output
        assert await checked(token) == before
        newest = read_issuer_keys(stage.tokens.issuer_keys).keys[-1]
        later = signed(newest, Said(ISSUER_URL, "vreg:identity:x", "sts", SystemClock().now(), "1"))
        assert (await checked(later.reveal())).subject == "vreg:identity:x"
    assert unpublished.value.flaw is Flaw.ISSUER_UNREACHABLE
    assert before.subject == "vreg:identity:01KAS1G6V5X4T3NQ7R8M2C9B0Z"
    for part in token.split("."):
        assert part not in stage.log.read_text()


async def test_what_is_served_is_byte_for_byte_what_is_exported(stage: Stage, tmp_path: Path) -> None:
    site = tmp_path / "site"
    runner = CliRunner(env={"VREG_HOME": str(stage.home.path), "VREG_ISSUER_URL": ISSUER_URL})
    assert runner.invoke(app, ["issuer", "export", str(site)]).exit_code == 0
    async with httpx.AsyncClient(trust_env=False) as client:
        for path in (".well-known/openid-configuration", "jwks.json"):
            url = f"{stage.url}/oidc/{path}"
            got, head = await client.get(url), await client.head(url)
            assert got.content == (site / path).read_bytes()
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["Content-Length"] == got.headers["Content-Length"]


async def test_trust_is_told_by_name_and_by_id(stage: Stage) -> None:
    made = await stage.create(ASSUME_ROLE)
    await stage.create(PASSWORD | {"name": "production two"})

    named = await stage.vreg("trust", "Production")
    by_id = await stage.vreg("trust", made["id"])
    unknown = await stage.vreg("trust", "prod")

    assert named.exit_code == by_id.exit_code == 0
    assert named.output == by_id.output
    assert f"vreg:identity:{made['id']}" in named.output
    assert made["external_id"] in named.output
    assert ISSUER_URL in named.output
    assert (unknown.exit_code, unknown.output) == (2, "vreg: there is no identity named 'prod'\n")


async def test_a_token_comes_from_a_file_or_the_environment_and_a_bad_one_is_one_line(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.create(ASSUME_ROLE | {"name": "asked"})
    file = tmp_path / "token"
    file.write_text(stage.admin + "\n")
    nobody = "vreg_01KAS1G6V5X4T3NQ7R8M2C9B0Z_" + "A" * 43

    from_file = await stage.vreg("trust", "asked", "--token-file", file, token="canary\nX: y")
    refused = await stage.vreg("trust", "asked", token=nobody)
    malformed = await stage.vreg("trust", "asked", token="canary\nX: y")

    assert from_file.exit_code == 0
    assert refused.output == "vreg: the access token is unknown, revoked or mistyped\n"
    assert malformed.exit_code == 2
    assert "VREG_API_TOKEN holds no access token" in malformed.output
    assert "canary" not in malformed.output


async def test_an_import_that_no_provider_reads_says_so_without_the_document(
    stage: Stage, tmp_path: Path
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"type": "robot", "key": "canary"}))
    words = ("identity", "import", file, "--name", "x", "--usable-for", '{"hosts": ["harbor.example.com"]}')

    refused = await stage.vreg(*words, "--provider", "basic")
    file.write_text("canary")
    no_json = await stage.vreg(*words)

    assert refused.exit_code == 2
    assert refused.output.startswith("vreg: provider: ")
    assert no_json.output == f"vreg: {file} is not a JSON object\n"
    assert "canary" not in refused.output + stage.log.read_text()
