"""Is a part ready? Asked on the address it listens on, from this machine."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

import httpx

from vreg_shared.settings import Listen

Readiness = Callable[[], Awaitable[bool]]
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
_ANSWER_SECONDS = 2.0


def still_runs(after: float) -> Readiness:
    """Ready after so many seconds: for a part that has no address to be asked on."""

    async def wait() -> bool:
        await asyncio.sleep(after)
        return True

    return wait


def answers_http(listen: Listen, *, is_tls: bool) -> Readiness:
    """Ready when `GET /readyz` says 200."""
    scheme = "https" if is_tls else "http"
    url = f"{scheme}://{_bracketed(_reachable(listen))}:{listen.port}/readyz"

    async def ask() -> bool:
        # The certificate is for the name that clients use; we say nothing and believe only "ready".
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=_ANSWER_SECONDS) as client:  # noqa: S501
            with suppress(httpx.HTTPError):
                return (await client.get(url)).status_code == HTTPStatus.OK
        return False

    return ask


def answers_nats(listen: Listen) -> Readiness:
    """Ready when it greets with INFO, as a NATS server does."""

    async def ask() -> bool:
        with suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(_reachable(listen), listen.port)
                try:
                    return await reader.readexactly(5) == b"INFO "
                finally:
                    writer.close()
        return False

    return ask


def _reachable(listen: Listen) -> str:
    return _ANYWHERE.get(listen.host, listen.host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
