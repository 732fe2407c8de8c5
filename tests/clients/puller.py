"""A client small enough to run a hundred of: pulls as containerd does and checks every digest."""

import hashlib
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

_ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CHUNK = 1024 * 1024


class PullFailedError(Exception):
    """The registry did not give what was asked for, or gave other bytes."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one pull brought: the digest behind the reference, and the bytes of all its blobs."""

    digest: str
    blob_bytes: int


class Puller:
    """Pulls from one registry with one access token, over connections of its own."""

    def __init__(self, registry: str, token: str, *, seconds: float = 120) -> None:
        self._base = f"http://{registry}/v2"
        self._session = aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth("vreg", token)},
            timeout=aiohttp.ClientTimeout(total=seconds),
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def pull(self, repository: str, reference: str) -> Pulled:
        """Pull a whole image, every platform of it; raise PullFailedError or aiohttp.ClientError."""
        body, digest = await self.manifest(repository, reference)
        document = json.loads(body)
        size = 0
        for child in document.get("manifests", ()):
            size += (await self.pull(repository, child["digest"])).blob_bytes
        blobs = [document["config"]] if "config" in document else []
        for blob in (*blobs, *document.get("layers", ())):
            size += await self.blob(repository, blob["digest"])
        return Pulled(digest, size)

    async def manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        """Return a manifest's bytes and digest."""
        async with self._session.get(
            f"{self._base}/{repository}/manifests/{reference}", headers={"Accept": ", ".join(_ACCEPTED)}
        ) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise PullFailedError(f"{repository}:{reference}: {answer.status} {body[:300]!r}")
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            if answer.headers["Docker-Content-Digest"] != digest:
                raise PullFailedError(f"{repository}:{reference} says it is another digest than its bytes")
            if ":" in reference and reference != digest:
                raise PullFailedError(f"{repository}@{reference} holds other bytes")
            return body, digest

    async def blob(self, repository: str, digest: str) -> int:
        """Read a blob to its end and return its size."""
        hasher, size = hashlib.new(digest.partition(":")[0]), 0
        async with self._session.get(f"{self._base}/{repository}/blobs/{digest}") as answer:
            if answer.status != 200:
                raise PullFailedError(f"{repository}@{digest}: {answer.status} {await answer.text()}")
            async for chunk in answer.content.iter_chunked(_CHUNK):
                hasher.update(chunk)
                size += len(chunk)
        if hasher.hexdigest() != digest.partition(":")[2]:
            raise PullFailedError(f"{repository}@{digest} ended complete with other bytes")
        return size

    async def status(self, path: str) -> int:
        """Return the status of a GET below `/v2/`."""
        async with self._session.get(f"{self._base}/{path}") as answer:
            await answer.read()
            return answer.status
