"""`/metrics` on an address of its own, where clients do not come. Any worker answers for all of the host."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from vreg_shared.metrics import CONTENT_TYPE
from vreg_shared.settings import Listen


@asynccontextmanager
async def serving_metrics(listen: Listen | None, text: Callable[[], Awaitable[str]]) -> AsyncIterator[None]:
    """Serve while the block runs. The workers of a host share the address; one of them gets each request."""
    if listen is None:
        yield
        return

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=(await text()).encode(), headers={"content-type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, listen.host, listen.port, reuse_port=True, shutdown_timeout=1.0).start()
        yield
    finally:
        await runner.cleanup()
