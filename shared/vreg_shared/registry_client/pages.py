"""One page of an upstream's list: read whole, understood, and with the way to the next one."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from vreg_shared.provider import Verdict
from vreg_shared.registry_client.links import PageLinkRejectedError, next_page
from vreg_shared.registry_client.manifests import BODY_SECONDS
from vreg_shared.registry_client.transport import RequestFailedError, read_body, unavailable

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
Things = TypeVar("Things")


async def read_page(
    response: aiohttp.ClientResponse, url: URL, read: Callable[[bytes], Things]
) -> tuple[Things, str | None] | Verdict:
    """Return what `read` makes of the body, and the link to the next page; `read` may fail a request."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await read_body(response, MAX_PAGE_BYTES)
        return read(body), next_page(response.headers.getall("Link", []), url)
    except RequestFailedError as error:
        return error.verdict
    except PageLinkRejectedError as error:
        return unavailable("page_link_rejected", str(error)).verdict
    except TimeoutError:
        response.close()
        return unavailable("timeout", "the list did not arrive in time").verdict
