import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.api_world import Api, running_api
from tests.support.postgres import PostgresServer
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_api.store.schema import SchemaError, downgrade, migrate, require_current
from vreg_api.store.tables import MEMBERSHIPS, METADATA, UPSTREAMS, VIRTUAL_REGISTRIES
from vreg_api.store.url import InvalidDatabaseUrlError, parse_database_url
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.secret import Secret


async def tables(database: Database) -> set[str]:
    async with database.read() as tx:
        return set(await tx.run_sync(lambda connection: sa.inspect(connection).get_table_names()))


async def test_migrations_lead_up_and_down_again(database_url: str) -> None:
    database = Database(Secret(database_url))
    try:
        with pytest.raises(SchemaError, match="no schema yet; run `python -m vreg_api migrate`"):
            await require_current(database)
        await migrate(database)
        await require_current(database)
        assert await tables(database) == {*METADATA.tables, "alembic_version"}
        await migrate(database)  # again changes nothing
        await downgrade(database, "base")
        assert await tables(database) == {"alembic_version"}
        await migrate(database)
        await require_current(database)
    finally:
        await database.close()


async def test_the_migrations_make_the_tables_that_the_code_declares(database_url: str) -> None:
    database = Database(Secret(database_url))
    try:
        await migrate(database)
        async with database.read() as tx:
            found = await tx.run_sync(_described)
        assert found == {
            table.name: (
                {(column.name, bool(column.nullable)) for column in table.columns},
                {(tuple(each.parent.name for each in key.elements), key.referred_table.name)
                 for key in table.foreign_key_constraints},
                {tuple(column.name for column in each.columns)
                 for each in table.constraints if isinstance(each, sa.UniqueConstraint)},
                {tuple(column.name for column in index.columns) for index in table.indexes},
            )
            for table in METADATA.tables.values()
        }  # fmt: skip
    finally:
        await database.close()


def _described(connection: sa.Connection) -> dict[str, tuple[set[object], ...]]:
    inspector = sa.inspect(connection)
    return {
        name: (
            {(column["name"], bool(column["nullable"])) for column in inspector.get_columns(name)},
            {
                (tuple(key["constrained_columns"]), key["referred_table"])
                for key in inspector.get_foreign_keys(name)
            },
            {tuple(each["column_names"]) for each in inspector.get_unique_constraints(name)},
            {
                tuple(each["column_names"])
                for each in inspector.get_indexes(name)
                if not each.get("duplicates_constraint")
            },
        )
        for name in METADATA.tables
    }


_OLD_UPSTREAM = (
    "INSERT INTO upstreams (id, name, name_key, description, kind, host, repository_prefix, stale_policy,"
    " tag_validity_seconds, enabled, cache_epoch, version, created_at, updated_at)"
    " VALUES (:id, :name, :name, '', 'oci', 'r.example', '', :policy, 300, true, 0, 1,"
    " '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
)


async def test_a_policy_of_one_word_becomes_its_cases_and_a_word_again(database_url: str) -> None:
    database = Database(Secret(database_url))
    policies = {"a": "never", "b": "on_unavailable", "c": "always"}
    try:
        await migrate(database, "0001")
        async with database.write() as tx:
            for identifier, policy in policies.items():
                await tx.execute(
                    sa.text(_OLD_UPSTREAM), {"id": identifier, "name": identifier, "policy": policy}
                )
            await tx.execute(
                sa.text(
                    "INSERT INTO virtual_registries VALUES"
                    " ('r', 'team', '', false, 1, '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
                )
            )
            await tx.execute(sa.text("INSERT INTO memberships VALUES ('r', 'a', 0, '[]', '[]', 'stop')"))
        await migrate(database)
        async with database.read() as tx:
            found = {row.id: row for row in await tx.execute(sa.select(UPSTREAMS))}
            changes = (await tx.execute(sa.select(VIRTUAL_REGISTRIES.c.on_source_change))).scalars().all()
            members = (await tx.execute(sa.select(MEMBERSHIPS.c.upstream_id))).scalars().all()
        for identifier, policy in policies.items():
            told = UpstreamRecord.model_validate(
                {"id": "x", "name": "x", "kind": "oci", "host": "h", "stale_policy": policy}
            )
            assert tuple(found[identifier].stale_for) == told.stale_for
            assert found[identifier].max_stale_seconds is None
        assert (changes, members) == (["allow"], ["a"])
        async with database.write() as tx:
            narrowed = sa.update(UPSTREAMS).where(UPSTREAMS.c.id == "b").values(stale_for=["network"])
            await tx.execute(narrowed)
        await downgrade(database, "0001")
        async with database.read() as tx:
            words = (await tx.execute(sa.text("SELECT id, stale_policy FROM upstreams ORDER BY id"))).all()
        assert [tuple(row) for row in words] == [("a", "never"), ("b", "never"), ("c", "always")]
    finally:
        await database.close()


async def test_many_may_migrate_at_once(database_url: str) -> None:
    databases = [Database(Secret(database_url)) for _ in range(4)]
    try:
        await asyncio.gather(*(migrate(each) for each in databases))
        await require_current(databases[0])
    finally:
        for each in databases:
            await each.close()


async def test_a_schema_from_the_future_is_left_alone(database_url: str) -> None:
    database = Database(Secret(database_url))
    try:
        await migrate(database)
        async with database.write() as tx:
            await tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaError, match="9999, which this version does not know"):
            await require_current(database)
        with pytest.raises(SchemaError, match="run the newer vreg"):
            await migrate(database)
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///vreg.db", "sqlite+aiosqlite:///vreg.db"),
        ("sqlite+aiosqlite:////var/vreg.db", "sqlite+aiosqlite:////var/vreg.db"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:***@h/d"),
        ("postgresql://u:p@h:5432/d?sslmode=require", "postgresql+asyncpg://u:***@h:5432/d?ssl=require"),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, driver: str) -> None:
    assert parse_database_url(Secret(text)).render_as_string(hide_password=True) == driver


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:canary@h/d",
        "postgresql://u:canary@h",
        "://canary",
        "postgresql://u:canary@h:port/d",
        "postgresql://u:canary@h:99999/d",
        "postgresql://h/d?canary=1",
        "http://canary",
    ],
)
def test_another_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError) as refused:
        parse_database_url(Secret(text))
    assert "canary" not in str(refused.value)


async def test_a_locked_database_is_unavailable_and_nothing_else(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_api.store.database._BUSY_MILLISECONDS", 100)
    other = sqlite3.connect(tmp_path / "vreg.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        await api.database.close()  # so that new connections wait but 100 ms
        answer = await api.call("POST", "/virtual_registries", json={"slug": "team"})
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert answer.status_code == 503
    assert answer.json()["code"] == "database_unavailable"
    assert answer.headers["Retry-After"]
    assert (await api.call("POST", "/virtual_registries", json={"slug": "team"})).status_code == 201


@pytest.mark.postgres
async def test_the_api_outlives_its_database(postgres: PostgresServer) -> None:
    async with running_api(await postgres.create_database()) as api:
        postgres.stop()
        try:
            gone = await api.call("GET", "/identities")
            assert gone.status_code == 503
            assert gone.json()["code"] == "database_unavailable"
            assert (await api.client.get("/readyz")).status_code == 503
            assert (await api.client.get("/livez")).status_code == 200
        finally:
            postgres.start()
        assert (await api.call("GET", "/identities")).status_code == 200
        assert (await api.client.get("/readyz")).status_code == 200


@pytest.mark.postgres
async def test_a_server_that_lets_us_not_in_is_unavailable(postgres: PostgresServer) -> None:
    right = postgres.url("postgres")
    for url in (
        postgres.url("no_such_database"),
        right.replace("canary", "wrong"),
        f"{right}?sslmode=require",
    ):
        database = Database(Secret(url))
        with pytest.raises(DatabaseUnavailableError) as raised:
            await require_current(database)
        assert "canary" not in str(raised.value)
        await database.close()


async def test_a_file_that_is_no_database_is_unavailable_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "vreg.db"
    path.write_bytes(b"somebody's letters " * 100)
    database = Database(Secret(f"sqlite:///{path}"))
    for act in (migrate, require_current):
        with pytest.raises(DatabaseUnavailableError, match="not a database"):
            await act(database)
    await database.close()
    assert path.read_bytes() == b"somebody's letters " * 100


async def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/such/folder/x.db", "postgresql://u:canary@127.0.0.1:1/x"):
        database = Database(Secret(url))
        with pytest.raises(DatabaseUnavailableError) as raised:
            await require_current(database)
        assert "canary" not in str(raised.value)
        await database.close()
