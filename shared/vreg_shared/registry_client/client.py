"""Speaks to one upstream's `/v2/`: every answer is the thing asked for or a verdict, never an exception."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from vreg_shared.clock import Clock
from vreg_shared.egress import MAX_CONNECTIONS, EgressPolicy, EgressRefusedError, open_session, read_url
from vreg_shared.lease import Lease
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import MANIFEST_ACCEPT, OCI_INDEX
from vreg_shared.oci.reference import Reference, RepositoryName
from vreg_shared.provider import Answer, Verdict
from vreg_shared.rate_limit import RateLimit, read_rate_limit
from vreg_shared.registry_client.blobs import blob_stream
from vreg_shared.registry_client.content_range import content_length
from vreg_shared.registry_client.judgement import is_success, judged, needs_a_body, without_secrets
from vreg_shared.registry_client.ladder import Ladder, Request
from vreg_shared.registry_client.manifests import (
    body_size,
    checked_descriptor,
    read_manifest,
    told_by_head,
)
from vreg_shared.registry_client.pages import read_page
from vreg_shared.registry_client.redirects import Arrival
from vreg_shared.registry_client.referrers import NOT_OFFERED, offers_referrers, referrers_of
from vreg_shared.registry_client.results import (
    BlobStream,
    Manifest,
    ManifestDescriptor,
    ReferrersPage,
    TagPage,
)
from vreg_shared.registry_client.tags import tags_of, tags_path
from vreg_shared.registry_client.target import Credentials, CredentialUnavailableError, Target
from vreg_shared.registry_client.transport import (
    RequestFailedError,
    Transport,
    discard,
    is_encoded,
    read_error_body,
    unavailable,
)

ANSWER_SECONDS: Final = 45.0
"""Until an answer begins, hops and tries and tokens included."""
MAX_BODIES: Final = MAX_CONNECTIONS * 3 // 4
"""Blobs at once: however many are on their way, there are connections left for short questions."""
TURN_SECONDS: Final = 300.0
"""For a blob's turn. Those before it move on or end, so it comes."""


def open_upstream_session(
    policy: EgressPolicy, target: Target, private_ca: str | None = None
) -> aiohttp.ClientSession:
    """Return a session that reaches this upstream, its realm and its storage; the caller closes it."""
    return open_session(policy.scoped(target.egress_scope()), private_ca=private_ca)


def _nobody(_rate_limit: RateLimit) -> None:
    """Listen to nothing."""


class RegistryClient:
    """One upstream, any number of requests at once. Repository names are as the upstream spells them.

    A verdict that a fresh credential may change costs one refresh and one more try, no more. Whatever the
    registry itself says of a rate limit is told to `on_rate_limit`. The constructor raises
    EgressRefusedError for a host that no URL can hold.
    """

    def __init__(
        self,
        target: Target,
        session: aiohttp.ClientSession,
        credentials: Credentials,
        clock: Clock,
        on_rate_limit: Callable[[RateLimit], None] = _nobody,
    ) -> None:
        self._target = target
        _ = target.origin
        self._credentials = credentials
        self._ladder = Ladder(target, Transport(session), clock)
        self._bodies = asyncio.Semaphore(MAX_BODIES)
        self._on_rate_limit = on_rate_limit

    async def ping(self) -> Verdict:
        """Prove the credential at `/v2/`: `found` when it is accepted."""
        outcome = await self._ask(Request("GET", self._url("/v2/")))
        if isinstance(outcome, Verdict):
            return outcome
        await discard(outcome.response)
        return Verdict(Answer.FOUND, "ok")

    async def head_manifest(
        self, repository: RepositoryName, reference: Reference
    ) -> ManifestDescriptor | Verdict:
        """Resolve a reference without its body, or with it where HEAD does not tell all three facts."""
        outcome = await self._ask(self._manifest_request("HEAD", repository, reference))
        if isinstance(outcome, Verdict):
            return outcome
        if outcome.response.method == "HEAD":
            outcome.response.release()
            told = told_by_head(outcome.response)
            if told is None:
                manifest = await self.get_manifest(repository, reference)
                return manifest if isinstance(manifest, Verdict) else manifest.descriptor
            return checked_descriptor(told, reference)
        manifest = await read_manifest(outcome.response, reference)
        return manifest if isinstance(manifest, Verdict) else manifest.descriptor

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> Manifest | Verdict:
        """Return a manifest of at most 4 MiB whose digest we computed, and which is the one asked for."""
        outcome = await self._ask(self._manifest_request("GET", repository, reference))
        return outcome if isinstance(outcome, Verdict) else await read_manifest(outcome.response, reference)

    async def head_blob(self, repository: RepositoryName, digest: Digest) -> int | Verdict:
        """Return a blob's size in bytes."""
        outcome = await self._ask(self._blob_request("HEAD", repository, digest, 0))
        if isinstance(outcome, Verdict):
            return outcome
        size = body_size(outcome.response)
        is_head = outcome.response.method == "HEAD"
        _leave(outcome.response)
        if size is None and is_head:
            outcome = await self._ask(self._blob_request("GET", repository, digest, 0))
            if isinstance(outcome, Verdict):
                return outcome
            size = body_size(outcome.response)
            outcome.response.close()
        return size if size is not None else unavailable("length_unknown").verdict

    @asynccontextmanager
    async def open_blob(
        self, repository: RepositoryName, digest: Digest, offset: int = 0
    ) -> AsyncIterator[BlobStream | Verdict]:
        """Open a blob from `offset`; leaving the context ends the request.

        The stream's own `offset` is 0 when the upstream ignored the range. Its bytes are not compared
        with the digest: who writes them does that.
        """
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._bodies.acquire()
        except TimeoutError:
            yield unavailable("too_many_blobs", f"{MAX_BODIES} others are on their way").verdict
            return
        try:
            async with self._opened_blob(repository, digest, offset) as answer:
                yield answer
        finally:
            self._bodies.release()

    async def list_tags(
        self,
        repository: RepositoryName,
        n: int | None = None,
        last: str | None = None,
        *,
        page: str | None = None,
    ) -> TagPage | Verdict:
        """Return a page of tags: after `last`, or the `page` that an earlier one named as its next."""
        url = self._page_url(page if page is not None else tags_path(repository, n, last))
        if isinstance(url, Verdict):
            return url
        outcome = await self._ask(Request("GET", url, repository.value, {"Accept": "application/json"}))
        if isinstance(outcome, Verdict):
            return outcome
        read = await read_page(outcome.response, url, tags_of)
        return read if isinstance(read, Verdict) else TagPage(*read)

    async def list_referrers(
        self, repository: RepositoryName, subject: Digest, *, page: str | None = None
    ) -> ReferrersPage | Verdict | None:
        """Return a page of what refers to `subject`, or the `page` that an earlier one named as its next.

        None means that this registry has no referrers API, or hides it behind its word for "absent".
        """
        url = self._page_url(page if page is not None else f"/v2/{repository}/referrers/{subject}")
        if isinstance(url, Verdict):
            return url
        request = Request("GET", url, repository.value, {"Accept": OCI_INDEX}, NOT_OFFERED)
        outcome = await self._ask(request)
        if isinstance(outcome, Verdict):
            return outcome
        if not offers_referrers(outcome.response):
            await discard(outcome.response)
            return None
        read = await read_page(outcome.response, url, referrers_of)
        return read if isinstance(read, Verdict) else ReferrersPage(*read)

    @asynccontextmanager
    async def _opened_blob(
        self, repository: RepositoryName, digest: Digest, offset: int
    ) -> AsyncIterator[BlobStream | Verdict]:
        outcome = await self._ask(self._blob_request("GET", repository, digest, offset))
        if isinstance(outcome, Verdict):
            yield outcome
            return
        try:
            yield await self._stream(outcome.response, repository, digest, offset)
        finally:
            _leave(outcome.response)

    async def _stream(
        self, response: aiohttp.ClientResponse, repository: RepositoryName, digest: Digest, offset: int
    ) -> BlobStream | Verdict:
        if is_encoded(response):
            return unavailable("body_encoded").verdict
        size = content_length(response.headers.get("Content-Length"))
        if size is None and response.status == HTTPStatus.OK:
            told = await self.head_blob(repository, digest)
            if isinstance(told, Verdict):
                return told
            size = told
        return blob_stream(response, offset, size)

    async def _ask(self, request: Request) -> Arrival | Verdict:
        """Ask with the current lease; when the verdict calls for it, once more with a new one."""
        try:
            lease = await self._credentials.current()
            outcome = await self._attempt(request, lease)
            if isinstance(outcome, Verdict) and outcome.refreshable and lease is not None:
                outcome = await self._attempt(request, await self._credentials.replace(lease.generation))
        except CredentialUnavailableError as error:
            return error.verdict
        return outcome

    async def _attempt(self, request: Request, lease: Lease | None) -> Arrival | Verdict:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._judged(request, lease)
        except RequestFailedError as error:
            return error.verdict
        except TimeoutError:
            return unavailable("timeout", f"{self._target.host} did not answer in time").verdict

    async def _judged(self, request: Request, lease: Lease | None) -> Arrival | Verdict:
        arrival = await self._ladder.send(request, lease)
        self._hear(arrival)
        ranged = "Range" in request.headers
        if is_success(arrival, ranged=ranged):
            return arrival
        if arrival.response.status in request.telling and not arrival.redirected:
            return arrival
        if request.method == "HEAD" and needs_a_body(arrival):
            arrival.response.release()
            return await self._judged(replace(request, method="GET"), lease)
        body = await read_error_body(arrival.response)
        return judged(
            self._target.kind, arrival, without_secrets(body, arrival, lease), anonymous=lease is None
        )

    def _hear(self, arrival: Arrival) -> None:
        """Tell of a rate limit. Storage has limits of its own, which are not the upstream's."""
        rate_limit = None if arrival.redirected else read_rate_limit(arrival.response.headers)
        if rate_limit is not None:
            self._on_rate_limit(rate_limit)

    def _manifest_request(self, method: str, repository: RepositoryName, reference: Reference) -> Request:
        url = self._url(f"/v2/{repository}/manifests/{reference}")
        return Request(method, url, repository.value, {"Accept": MANIFEST_ACCEPT})

    def _blob_request(self, method: str, repository: RepositoryName, digest: Digest, offset: int) -> Request:
        headers = {"Accept": "*/*"} | ({"Range": f"bytes={offset}-"} if offset else {})
        return Request(method, self._url(f"/v2/{repository}/blobs/{digest}"), repository.value, headers)

    def _page_url(self, page: str) -> URL | Verdict:
        """Return the URL of a page, whose path may be an upstream's own words."""
        if not page.startswith("/v2/"):
            return unavailable("page_link_rejected", "a page of a list is below /v2/").verdict
        try:
            return self._url(page)
        except EgressRefusedError as error:
            return unavailable("page_link_rejected", str(error)).verdict

    def _url(self, path: str) -> URL:
        return read_url(f"https://{self._target.host}{path}")


def _leave(response: aiohttp.ClientResponse) -> None:
    """Keep the connection when its answer was read to the end; otherwise end it."""
    if response.method == "HEAD" or response.content.at_eof():
        response.release()
    else:
        response.close()
