"""The egress gateway: an HTTP CONNECT proxy behind which services answer under their real host names.

TLS ends here, with a certificate of the test authority for the name that was asked for; then uvicorn's own
protocol takes the connection over, so that there is no second hop and keep-alive, HEAD and flow control are
those of a real server. Whatever has no service does not exist: 502, as if the name did not resolve.
"""

import asyncio
import base64
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from tests.clouds.authority import Authority
from tests.clouds.clock import CloudClock
from tests.clouds.connection import Connection
from tests.clouds.faults import ON_CONNECT, Faults, Harm
from tests.clouds.front import Front
from tests.clouds.protocol import ServerProtocol, served
from tests.clouds.request_log import RequestLog
from tests.clouds.wire import Service

_MAX_HEAD = 8192
_CONNECT = re.compile(rb"CONNECT ([^ ]+):(\d{1,5}) HTTP/1\.[01]\r\n", re.ASCII)
_PROXY_AUTHORIZATION = re.compile(rb"\r\nproxy-authorization: *([^\r\n]*)\r\n", re.IGNORECASE)
_HANDSHAKE_SECONDS = 10.0
_STOP_SECONDS = 5.0

FindService = Callable[[str], Service | None]


class Gateway:
    """`find` names the service of a lower-case host, or None. Run between `start` and `stop`, on one loop."""

    def __init__(
        self, find: FindService, authority: Authority, faults: Faults, log: RequestLog, clock: CloudClock
    ) -> None:
        self._find = find
        self._authority = authority
        self._faults = faults
        self._log = log
        self._clock = clock
        self._configs: dict[str, Config] = {}
        self._state = ServerState()
        self._tunnels: set[_Tunnel] = set()
        self._connects: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._login: bytes | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Tunnel(self), "127.0.0.1", port, backlog=1024)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and reset what is open."""
        if self._server is not None:
            self._server.close()
        for tunnel in tuple(self._tunnels):
            tunnel.abort()
        tasks = [*self._state.tasks, *(tunnel.task for tunnel in self._tunnels if tunnel.task is not None)]
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)

    def connects(self, host: str = "*") -> int:
        """Return how many CONNECTs named a host that matches the glob, refused ones included."""
        return sum(count for name, count in self._connects.items() if fnmatchcase(name, host))

    def open_connections(self, host: str = "*") -> int:
        """Return how many TLS connections to such hosts are open now."""
        return sum(1 for tunnel in self._tunnels if tunnel.leads_to(host))

    def cut(self, host: str = "*") -> int:
        """Reset all open connections to such hosts; return how many there were."""
        leading = [tunnel for tunnel in self._tunnels if tunnel.leads_to(host)]
        for tunnel in leading:
            tunnel.abort()
        return len(leading)

    def require_login(self, username: str, password: str) -> None:
        """Answer 407 from now on to whoever does not name himself with Proxy-Authorization."""
        self._login = b"Basic " + base64.b64encode(f"{username}:{password}".encode())

    def clear(self) -> None:
        """Forget the CONNECTs counted so far."""
        self._connects.clear()

    def refusal(self, host: str, port: int, head: bytes) -> bytes | None:
        """Count a CONNECT; return the status line to refuse it with, if it is to be refused."""
        self._connects[host] += 1
        if self._login is not None:
            given = _PROXY_AUTHORIZATION.search(head)
            if given is None or not hmac.compare_digest(given[1], self._login):
                return b'407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="gateway"'
        if port != 443 or _is_address(host):
            return b"403 Forbidden"
        if self._find(host) is None:
            return b"502 Bad Gateway"
        return None

    async def lead(self, tunnel: "_Tunnel", host: str) -> None:
        """Give a client that asked for `host` what it asked for, unless a fault stands in the way."""
        service = self._find(host)
        assert service is not None
        harms = {fault.harm for fault in self._faults.take(ON_CONNECT, service.name, host)}
        if Harm.SILENT in harms:
            return
        if Harm.UNREACHABLE in harms:
            tunnel.refuse(b"502 Bad Gateway")
            return
        context = self._authority.context(host)
        if Harm.UNTRUSTED in harms:
            context = self._authority.stranger(host)
        elif Harm.OUTDATED in harms:
            context = self._authority.expired(host)
        await tunnel.serve(host, context, self._config(service), self._state)

    def opened(self, tunnel: "_Tunnel") -> None:
        """Own a new client connection."""
        self._tunnels.add(tunnel)

    def closed(self, tunnel: "_Tunnel") -> None:
        """Let go of a client connection that ended."""
        self._tunnels.discard(tunnel)

    def _config(self, service: Service) -> Config:
        if service.name not in self._configs:
            self._configs[service.name] = served(Front(service, self._faults, self._log, self._clock))
        return self._configs[service.name]


class _Tunnel(asyncio.Protocol):
    """One client: its CONNECT, the TLS handshake, and then an HTTP server's protocol in its place."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._gateway.opened(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended()

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.task is None and b"\r\n\r\n" in self._head:
            match = _CONNECT.match(self._head)
            if match is None:
                self.refuse(b"400 Bad Request")
                return
            host, port = match[1].decode().lower().strip("[]"), int(match[2])
            refusal = self._gateway.refusal(host, port, self._head)
            if refusal is not None:
                self.refuse(refusal)
                return
            self.task = asyncio.get_running_loop().create_task(self._lead(host))
        elif len(self._head) > _MAX_HEAD:
            self.refuse(b"431 Request Header Fields Too Large")

    async def _lead(self, host: str) -> None:
        try:
            await self._gateway.lead(self, host)
        except (OSError, ConnectionError):
            self.abort()  # a handshake that failed is the client's to report
            self.ended()

    def refuse(self, status: bytes) -> None:
        """Answer the CONNECT with a refusal."""
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self._transport.close()

    async def serve(self, host: str, context: object, config: Config, state: ServerState) -> None:
        """Agree, speak TLS, and hand over; raise OSError when the client does not like what it sees."""
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        landing = _Landing()
        transport = await asyncio.get_running_loop().start_tls(
            self._transport,
            landing,
            context,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
        )
        if transport is None or landing.is_lost:
            self.ended()
            return
        self._connection = Connection(host, transport)
        server = ServerProtocol(config, state, {"connection": self._connection}, self.ended)
        server.connection_made(transport)
        transport.set_protocol(server)
        if landing.early:
            server.data_received(bytes(landing.early))

    def leads_to(self, pattern: str) -> bool:
        """Whether TLS is up and the host matches the glob."""
        return self._connection is not None and fnmatchcase(self._connection.host, pattern)

    def abort(self) -> None:
        """Reset, whatever stage this is at."""
        if self._connection is not None:
            self._connection.reset()
        elif self._transport is not None:
            self._transport.abort()

    def ended(self) -> None:
        """Let go: the client is gone."""
        if self._connection is not None:
            self._connection.closed.set()
        self._gateway.closed(self)


class _Landing(asyncio.Protocol):
    """Holds what arrives between the end of the handshake and the handing over."""

    def __init__(self) -> None:
        self.early = bytearray()
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.early += data

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_lost = True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
