"""An api in this process: its real rooms and a real database, before a fake bus, asked over ASGI."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self

import httpx

from tests.support.clock import ManualClock
from tests.support.fake_record_bus import FakeRecordBus
from vreg_api.app import create_app
from vreg_api.authentication import Actor
from vreg_api.store.database import Database
from vreg_api.store.schema import migrate
from vreg_api.world import Means, World, make_world
from vreg_shared.catalogue import Catalogue, catalogue
from vreg_shared.key_files import Service
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.sealing import SealingKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey

ECR_HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ASSUME_ROLE = {
    "name": "production",
    "auth_method": {
        "method": "aws.assume_role",
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "canary-secret-access-key",
        "role_arn": "arn:aws:iam::123456789012:role/vreg-pull",
    },
    "usable_for": {"partition": "aws", "accounts": ["123456789012"]},
}
PASSWORD = {
    "name": "harbor robot",
    "auth_method": {"method": "basic.password", "username": "robot$vreg", "password": "canary-password"},
    "usable_for": {"hosts": ["harbor.example.com"]},
}


ROOT = Actor("root", "root", "admin")


class Api:
    """A caller of the api, as its first admin."""

    def __init__(
        self,
        database_url: str,
        *,
        grants: OperatorGrants | None = None,
        of: Catalogue | None = None,
        audit_retention: timedelta | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.bus = FakeRecordBus()
        self.signing_key = SigningKey.generate()
        self.broker_key = SealingKey.generate()
        self.writers = {service: SigningKey.generate() for service in Service if service is not Service.API}
        self.database = Database(Secret(database_url))
        self.world: World = make_world(
            Means(
                database=self.database,
                bus=self.bus,
                signing_key=self.signing_key,
                broker_key=self.broker_key.public,
                catalogue=of or catalogue(),
                clock=self.clock,
                instance="test",
                grants=grants or OperatorGrants(),
                writers={service: key.verifying for service, key in self.writers.items()},
                audit_retention=audit_retention,
            )
        )
        self.admin_token = ""
        transport = httpx.ASGITransport(create_app(self.world))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://api", trust_env=False)

    async def bootstrapped(self) -> Self:
        token = await self.world.access_tokens.bootstrap()
        assert token is not None
        self.admin_token = token.reveal()
        self.client.headers["Authorization"] = f"Bearer {self.admin_token}"
        return self

    async def call(
        self, method: str, path: str, *, json: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Call below `/api/v1`."""
        return await self.client.request(method, f"/api/v1{path}", headers=headers, json=json)

    async def token(self, role: str, registry_ids: list[str] | None = None) -> dict[str, str]:
        """Make an access token, and return the header that shows it."""
        wish = {"name": role, "role": role, "registry_ids": registry_ids}
        return {"Authorization": f"Bearer {(await self.create('access_tokens', wish))['token']}"}

    async def create(self, noun: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self.call("POST", f"/{noun}", json=body)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def change(self, noun: str, one: Mapping[str, Any], body: Mapping[str, Any]) -> httpx.Response:
        """PATCH what was read as `one`."""
        match = {"If-Match": f'"{one["version"]}"'}
        return await self.call("PATCH", f"/{noun}/{one['id']}", json=body, headers=match)

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """Run the relay while the block runs."""
        async with _running(self.world.relay.run()):
            yield

    @asynccontextmanager
    async def archiving(self) -> AsyncIterator[None]:
        """Run the relay, the archive and what counts refusals while the block runs."""
        world = self.world
        async with (
            _running(world.relay.run()),
            _running(world.archiver.run()),
            _running(world.pull_archiver.run()),
            _running(world.refusals.run()),
        ):
            yield


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


@asynccontextmanager
async def running_api(
    database_url: str,
    *,
    is_migrated: bool = False,
    grants: OperatorGrants | None = None,
    of: Catalogue | None = None,
    audit_retention: timedelta | None = None,
) -> AsyncIterator[Api]:
    """Give a migrated api with its first admin, and close it; `of` is what it knows of providers."""
    api = Api(database_url, grants=grants, of=of, audit_retention=audit_retention)
    try:
        if not is_migrated:
            await migrate(api.database)
        async with api.world.connection_tests.running():
            yield await api.bootstrapped()
    finally:
        await api.client.aclose()
        await api.database.close()
