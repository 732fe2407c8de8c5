"""A database's address as people write it, made into one our drivers understand."""

from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from vreg_shared.errors import VregError
from vreg_shared.secret import Secret

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

_MAX_PORT: Final = 65535
_OPTIONS: Final = {
    "sqlite+aiosqlite": frozenset[str](),
    "postgresql+asyncpg": frozenset({"host", "port", "ssl", "sslmode"}),
}


class InvalidDatabaseUrlError(VregError):
    """The address is of no database we know; the text never repeats it, for it may hold a password."""


def parse_database_url(text: Secret) -> URL:
    """Read an address; raise InvalidDatabaseUrlError."""
    try:
        url = make_url(text.reveal())
    except (ArgumentError, ValueError) as error:
        raise InvalidDatabaseUrlError("is not the address of a database of SQLite or PostgreSQL") from error
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise InvalidDatabaseUrlError("is not the address of a database of SQLite or PostgreSQL")
    if url.port is not None and not 0 < url.port <= _MAX_PORT:
        raise InvalidDatabaseUrlError(f"has a port that is not one: at most {_MAX_PORT}")
    if not url.database or url.database == ":memory:":
        raise InvalidDatabaseUrlError("names no database")
    if not set(url.query) <= _OPTIONS[driver]:
        known = ", ".join(sorted(_OPTIONS[driver])) or "none"
        raise InvalidDatabaseUrlError(f"has an option that is not known; known: {known}")
    return _with_driver_options(url.set(drivername=driver))


def _with_driver_options(url: URL) -> URL:
    """`sslmode` is what everybody writes; asyncpg calls it `ssl`."""
    if "sslmode" not in url.query:
        return url
    mode = url.query["sslmode"]
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
