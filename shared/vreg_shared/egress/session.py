"""The one outbound dialer: an aiohttp session that cannot connect where the policy says no.

Names are resolved once, every address is checked, and the checked addresses are the ones connected to. Each
request passes the same gate, so a redirect, realm or page link gets no other treatment.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from vreg_shared.egress.addresses import Address
from vreg_shared.egress.destination import EgressRefusedError, literal_address
from vreg_shared.egress.policy import EgressPolicy
from vreg_shared.egress.proxy import EgressProxy
from vreg_shared.errors import VregError

CONNECT_SECONDS: Final = 5.0
"""For TCP and TLS with one address; also for the proxy's CONNECT."""
POOL_SECONDS: Final = 20.0
"""For a free connection, resolving and connecting together."""
PROGRESS_SECONDS: Final = 30.0
"""Between two reads. There is no total: a large blob may take as long as bytes keep coming."""
TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, connect=POOL_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=PROGRESS_SECONDS
)
MAX_CONNECTIONS: Final = 128
READ_BUFFER_BYTES: Final = 256 * 1024
MAX_HEADER_FIELD_BYTES: Final = 16 * 1024
MAX_HEADER_COUNT: Final = 100
_DNS_SECONDS: Final = 10


class ConnectionLostError(VregError):
    """The connection ended before the answer began; nobody has tried again yet."""


class InvalidAuthorityError(VregError):
    """A certificate authority to trust is not PEM."""


class _CheckedResolver(AbstractResolver):
    """Resolves a name and lets through either all of its addresses or none."""

    def __init__(self, policy: EgressPolicy, inner: AbstractResolver) -> None:
        self._policy = policy
        self._inner = inner

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        # The parameter's type differs between aiohttp's releases; the value is passed on as it came.
        found = await self._inner.resolve(host, port, family)  # type: ignore[arg-type]
        proxy = self._policy.proxy
        if proxy is None or not proxy.is_itself(host, port):
            for result in found:
                self._policy.check_address(host, _address(result["host"]))
        return found

    async def close(self) -> None:
        await self._inner.close()


def _address(text: str) -> Address:
    address = literal_address(text)
    if address is None:  # a zone: link-local
        raise EgressRefusedError(f"the name resolves to {text}, which is link-local")
    return address


def _gate(policy: EgressPolicy) -> aiohttp.ClientMiddlewareType:
    """Check and route every request, whoever sends it.

    aiohttp repeats a GET by itself when a kept-alive connection turns out closed. Its signal for that is
    the exception's class, so another class leaves repeating to the one place that counts tries.
    """

    async def gate(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        destination = policy.check_url(request.url)
        if policy.proxy is not None and policy.carried(destination):
            request.update_proxy(policy.proxy.url, None, _proxy_headers(policy.proxy))
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise ConnectionLostError(f"{destination} closed the connection without an answer") from error

    return gate


def _proxy_headers(proxy: EgressProxy) -> CIMultiDict[str] | None:
    if proxy.authorization is None:
        return None
    return CIMultiDict({"Proxy-Authorization": proxy.authorization.reveal()})


def tls_context(*extra_roots: str | None) -> ssl.SSLContext:
    """Return a verifying client context, TLS 1.2 or later: the system's roots and the given PEM texts.

    Raises InvalidAuthorityError.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for pem in extra_roots:
        if pem:
            _trust(context, pem)
    return context


def _trust(context: ssl.SSLContext, pem: str) -> None:
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise InvalidAuthorityError(
            "the certificate authority is not PEM text; paste the whole file"
        ) from error


def open_session(
    policy: EgressPolicy,
    *,
    private_ca: str | None = None,
    resolver: Callable[[], AbstractResolver] | None = None,
    timeout: aiohttp.ClientTimeout = TIMEOUT,
) -> aiohttp.ClientSession:
    """Return a session whose every request passes `policy`; the caller closes it.

    Roots of trust are the system's, the operator's VREG_CA_BUNDLE and `private_ca` (PEM). The session
    keeps no cookies, decodes no bodies, ignores proxy variables and netrc, and never repeats a request.
    Callers pass `allow_redirects=False` and `URL(..., encoded=True)`. Raises InvalidAuthorityError.
    """
    inner = resolver() if resolver is not None else aiohttp.ThreadedResolver(asyncio.get_running_loop())
    connector = aiohttp.TCPConnector(
        ssl=tls_context(policy.ca_pem, private_ca),
        resolver=_CheckedResolver(policy, inner),
        ttl_dns_cache=_DNS_SECONDS,
        limit=MAX_CONNECTIONS,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        middlewares=(_gate(policy),),
        timeout=timeout,
        read_bufsize=READ_BUFFER_BYTES,
        max_field_size=MAX_HEADER_FIELD_BYTES,
        max_headers=MAX_HEADER_COUNT,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        headers={"User-Agent": "vreg", "Accept-Encoding": "identity"},
    )
