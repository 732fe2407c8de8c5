"""The schema's version: brought up to date by `migrate`, checked at start and never changed by serving."""

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from vreg_api.store.database import Database
from vreg_shared.errors import VregError

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_PACKAGED: Final = _PACKAGE / "_migrations"
_CHECKED_OUT: Final = _PACKAGE.parent.parent.parent / "migrations"
_MIGRATION_LOCK: Final = 0x76726567  # "vreg"


class SchemaError(VregError):
    """The database's schema is not the one this version works with; the text says what to do."""


async def migrate(database: Database, revision: str = "head") -> None:
    """Bring the schema up to `revision`; raise SchemaError if it is newer than we know."""
    async with database.write() as tx:
        if not database.is_sqlite:
            await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        found = await tx.run_sync(_current)
        if found is not None and found not in _known():
            raise SchemaError(_newer(found))
        await tx.run_sync(_upgrade, revision)


async def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to `revision`, with the data that does not fit it lost."""
    async with database.write() as tx:
        await tx.run_sync(_downgrade, revision)


async def require_current(database: Database) -> None:
    """Return quietly if the schema is ours; raise SchemaError or DatabaseUnavailableError."""
    async with database.read() as tx:
        found = await tx.run_sync(_current)
    known = _known()
    if found == known[0]:
        return
    if found is not None and found not in known:
        raise SchemaError(_newer(found))
    state = "has no schema yet" if found is None else f"has the older schema {found}"
    raise SchemaError(f"the database {state}; run `python -m vreg_api migrate`")


def _newer(found: str) -> str:
    return (
        f"the database has the schema {found}, which this version does not know; "
        "run the newer vreg that made it, or restore a backup"
    )


def _known() -> tuple[str, ...]:
    """Return every revision, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    config = Config()
    folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKED_OUT
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: sa.Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _downgrade(connection: sa.Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.downgrade(config, revision)
