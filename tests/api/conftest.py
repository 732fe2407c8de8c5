"""Databases to run the api on: SQLite for every test, PostgreSQL too where the database matters."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.api_world import Api, running_api
from tests.support.postgres import PostgresMissingError, PostgresServer, running_postgres
from vreg_api.store.database import Database
from vreg_api.store.schema import migrate
from vreg_shared.catalogue import catalogue
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.secret import Secret


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        with running_postgres() as server:
            yield server
    except PostgresMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database without rows, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "vreg.db"

    async def make() -> None:
        database = Database(Secret(f"sqlite:///{path}"))
        await migrate(database)
        await database.close()

    asyncio.run(make())
    return path


@pytest.fixture
async def api(tmp_path: Path, migrated: Path) -> AsyncIterator[Api]:
    """An api on SQLite."""
    path = tmp_path / "vreg.db"
    shutil.copy(migrated, path)
    async with running_api(f"sqlite:///{path}", is_migrated=True) as running:
        yield running


@pytest.fixture
async def permissive_api(tmp_path: Path, migrated: Path) -> AsyncIterator[Api]:
    """An api on SQLite whose operator permits every auth method there is."""
    path = tmp_path / "vreg.db"
    shutil.copy(migrated, path)
    ambient = frozenset(method.tag for method in catalogue().methods() if method.is_ambient)
    grants = OperatorGrants(ambient, issuer_url="https://registry.example.com/oidc")
    async with running_api(f"sqlite:///{path}", is_migrated=True, grants=grants) as running:
        yield running


@pytest.fixture
async def lending_api(tmp_path: Path, migrated: Path) -> AsyncIterator[Api]:
    """An api on SQLite whose operator lends the machine: what it is in its cloud, and a token file."""
    path = tmp_path / "vreg.db"
    shutil.copy(migrated, path)
    grants = OperatorGrants(
        frozenset({"aws.instance"}), {"irsa": Path("/t")}, "https://registry.example.com/oidc"
    )
    async with running_api(f"sqlite:///{path}", is_migrated=True, grants=grants) as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/vreg.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return await server.create_database()


@pytest.fixture
async def any_api(database_url: str) -> AsyncIterator[Api]:
    """An api on each kind of database."""
    async with running_api(database_url) as running:
        yield running
