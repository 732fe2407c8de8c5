"""`python -m vreg_api [serve|migrate|bootstrap]`: do it, or say in one line why not."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import uvicorn

from vreg_api.settings import ApiSettings
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_api.store.schema import migrate, require_current
from vreg_api.strict_http import StrictHttp
from vreg_api.wiring import open_app, open_world
from vreg_shared.errors import VregError
from vreg_shared.settings import SettingsError, load
from vreg_shared.telemetry import configure_logging

TRY_AGAIN: Final = 1
REFUSED: Final = 2
"""A person must change something first."""
DRAIN_SECONDS: Final = 8
_USAGE: Final = "use: python -m vreg_api [serve|migrate|bootstrap]"
_PRIVATE_UMASK: Final = 0o077
"""The database's files are for us alone."""


def main(arguments: list[str]) -> int:
    """Do what is asked; return the exit code."""
    os.umask(_PRIVATE_UMASK)
    command = _COMMANDS.get(arguments[0] if arguments else "serve")
    if command is None or len(arguments) > 1:
        sys.stderr.write(f"vreg_api: {_USAGE}\n")
        return REFUSED
    try:
        command(load(ApiSettings))
    except DatabaseUnavailableError as error:
        sys.stderr.write(f"vreg_api: VREG_DATABASE_URL: {error}\n".replace("\n", " ").rstrip() + "\n")
        return TRY_AGAIN
    except VregError as error:
        sys.stderr.write(f"vreg_api: {error}\n")
        return REFUSED
    return 0


def serve(settings: ApiSettings) -> None:
    """Serve until told to stop; raise VregError if that cannot begin."""
    application = open_app(settings)
    asyncio.run(_with_database(settings, require_current))
    _check_certificate(settings)
    listener = _bind(settings)
    configure_logging("api", settings.log_level, settings.log_format)
    for chatty in ("sqlalchemy", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=StrictHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_certfile=settings.api_tls_certificate,
        ssl_keyfile=settings.api_tls_key,
    )
    signal.signal(signal.SIGTERM, _already_stopped)
    uvicorn.Server(config).run(sockets=[listener])


def bring_up_to_date(settings: ApiSettings) -> None:
    """Bring the database's schema up to date; raise VregError."""
    asyncio.run(_with_database(settings, migrate))


def bootstrap(settings: ApiSettings) -> None:
    """Print the first admin token, alone, or nothing if there is a token already; raise VregError."""
    token = asyncio.run(_first_token(settings))
    if token is not None:
        sys.stdout.write(token + "\n")


async def _first_token(settings: ApiSettings) -> str | None:
    world, _ = open_world(settings)
    try:
        await require_current(world.database)
        token = await world.access_tokens.bootstrap()
    finally:
        await world.database.close()
    return token.reveal() if token is not None else None


async def _with_database(settings: ApiSettings, act: Callable[[Database], Awaitable[None]]) -> None:
    database = Database(settings.database_url)
    try:
        await act(database)
    finally:
        await database.close()


def _check_certificate(settings: ApiSettings) -> None:
    if settings.api_tls_certificate is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.api_tls_certificate, settings.api_tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            "VREG_API_TLS_CERTIFICATE and VREG_API_TLS_KEY: not a PEM certificate and its key"
        ) from error


def _bind(settings: ApiSettings) -> socket.socket:
    address = settings.api_listen
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
    except OSError as error:
        raise SettingsError(
            f"VREG_API_LISTEN: cannot listen on {address}: {error.strerror}; "
            "choose another address or stop what uses it"
        ) from error
    return listener


def _already_stopped(_signal: int, _frame: FrameType | None) -> None:
    """Uvicorn raises the signal again once all is closed; then there is nothing left to do."""


_COMMANDS: Final = {"serve": serve, "migrate": bring_up_to_date, "bootstrap": bootstrap}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
