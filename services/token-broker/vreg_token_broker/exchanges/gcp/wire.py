"""Two ways to ask: Google's services through the egress gate, and the machine's own metadata in clear.

Each call has deadlines and a size limit, is made once, and follows no redirect. The keeper tries again.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

from vreg_shared.egress import EgressPolicy, EgressScope, open_session
from vreg_shared.registry_client.failures import failure_of
from vreg_token_broker.exchange import Unavailable
from vreg_token_broker.exchanges.gcp.answers import Answer, GcpUnavailableError

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
METADATA_SECONDS: Final = 3.0
MAX_ANSWER_BYTES: Final = 64 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=CONNECT_SECONDS + READ_SECONDS, connect=CONNECT_SECONDS, sock_read=READ_SECONDS
)
_METADATA_TIMEOUT: Final = aiohttp.ClientTimeout(total=2 * METADATA_SECONDS, sock_read=METADATA_SECONDS)
# Private Service Connect gives Google's own names private addresses.
_GOOGLE: Final = EgressScope(
    ("oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"), may_be_private=True
)


class Wire:
    """Asks within one climb."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self, step: str, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Return the answer, whatever its status; raise GcpUnavailableError when there is none."""
        place = URL(url, encoded=True)
        try:
            async with self._session.request(
                method, place, headers=headers, data=body, allow_redirects=False
            ) as response:
                text = await _read(step, response)
        except Exception as error:
            failure = failure_of(error, place)
            if failure is None:
                raise
            outcome = Unavailable(failure.reason, f"{step}: {failure.detail}")
            raise GcpUnavailableError(outcome) from None
        named = {name.lower(): value for name, value in response.headers.items()}
        return Answer(step, response.status, named, text)


@asynccontextmanager
async def to_google(egress: EgressPolicy) -> AsyncIterator[Wire]:
    """Open a wire to Google's token services: the operator's proxy and authorities, and no other's."""
    async with open_session(egress.scoped(_GOOGLE), timeout=_TIMEOUT) as session:
        yield Wire(session)


@asynccontextmanager
async def to_metadata() -> AsyncIterator[Wire]:
    """Open a wire to the machine's own metadata: link-local and in clear, so past every proxy and gate.

    Its addresses are constants or what the platform told this process, never what a person typed.
    """
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=_METADATA_TIMEOUT,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    ) as session:
        yield Wire(session)


async def _read(step: str, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            detail = f"{step}: the answer is longer than {MAX_ANSWER_BYTES} bytes"
            raise GcpUnavailableError(Unavailable("unexpected_answer", detail))
    return bytes(body)
