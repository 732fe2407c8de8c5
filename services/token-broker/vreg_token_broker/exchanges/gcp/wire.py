"""Two ways to ask: Google's services through the egress gate, and the machine's own metadata in clear.

Each call has deadlines and a size limit, is made once, and follows no redirect. The keeper tries again.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

from vreg_shared.egress import EgressPolicy, EgressScope, open_session
from vreg_token_broker.answers import body_of, headers_of, no_answer
from vreg_token_broker.exchanges.gcp.answers import Answer

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
METADATA_SECONDS: Final = 3.0
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
        """Return the answer, whatever its status; raise NoAnswerError when there is none."""
        place = URL(url, encoded=True)
        try:
            async with self._session.request(
                method, place, headers=headers, data=body, allow_redirects=False
            ) as response:
                given = await body_of(response, step)
        except Exception as error:
            raise no_answer(step, place, error) from error
        return Answer(step, response.status, headers_of(response.headers), given)


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
