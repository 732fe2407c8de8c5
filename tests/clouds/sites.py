"""Web sites behind the gateway: a server on loopback under a public name, or a few documents."""

from dataclasses import dataclass

import aiohttp

from tests.clouds.forward import Forward
from tests.clouds.wire import Request, Response, Service


@dataclass(frozen=True)
class Documents:
    """A static site, as a public bucket serves it; `by_path` holds texts of JSON."""

    name: str
    by_path: dict[str, str]

    async def answer(self, request: Request) -> Response:
        """Answer a GET."""
        text = self.by_path.get(request.plain_path)
        if text is None or request.method not in {"GET", "HEAD"}:
            return Response(404, (("Content-Type", "text/plain"),), b"not found\n")
        return Response(200, (("Content-Type", "application/json"),), text.encode())

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        return Response(429, () if retry_after is None else (("Retry-After", str(retry_after)),))

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status)


class Sites:
    """What a test may publish under a name that no cloud owns."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._services: dict[str, Service] = {}

    def open(self, session: aiohttp.ClientSession) -> None:
        """Give it the session that requests are passed on with."""
        self._session = session

    def service(self, host: str) -> Service | None:
        """Return what answers under a host name."""
        return self._services.get(host)

    def publish(self, host: str, origin: str) -> None:
        """Let `https://host` lead to a server on loopback, such as vreg's own api."""
        assert self._session is not None
        self._services[host] = Forward(f"site:{host}", origin, self._session)

    def serve(self, host: str, documents: dict[str, str]) -> None:
        """Let `https://host` serve these documents, by path."""
        self._services[host] = Documents(f"site:{host}", documents)

    def withdraw(self, host: str) -> None:
        """Let the name not resolve any more."""
        self._services.pop(host, None)
