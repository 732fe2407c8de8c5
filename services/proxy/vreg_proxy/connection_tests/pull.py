"""Pulling the probe as a client would, past the cache: `/v2/`, tags, a manifest, the first byte of a blob."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Self

from vreg_proxy.connection_tests.reach import failed, of_verdict
from vreg_shared.clock import Clock
from vreg_shared.messages.connection_test import PULL, Probe, Stage, StageReport
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.digest import Digest, InvalidDigestError
from vreg_shared.oci.reference import Reference, RepositoryName, Tag, parse_reference
from vreg_shared.provider import Answer, RegistryKind, Verdict
from vreg_shared.registry_client import BlobInterruptedError, BlobStream, Manifest, RegistryClient

STAGE_SECONDS: Final = 20.0
_LATEST: Final = "latest"
_DEPTH: Final = 3
"""An index may name indexes; one more than anybody builds."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What to pull, by the repository's name as the upstream spells it. No reference: choose a tag."""

    repository: RepositoryName
    reference: Reference | None

    @classmethod
    def of(cls, probe: Probe, upstream: UpstreamRecord, kind: RegistryKind) -> Self:
        """Read a probe; raise InvalidNameError, InvalidTagError or InvalidDigestError."""
        prefixed = RepositoryName.parse(probe.repository).with_prefix(upstream.repository_prefix)
        spelled = kind.upstream_repository(prefixed.value, upstream.host)
        reference = parse_reference(probe.reference) if probe.reference else None
        return cls(RepositoryName.parse(spelled), reference)


class Pull:
    """Tries each in turn. A failed stage ends it, but for the list of tags, which pulls do without."""

    def __init__(self, client: RegistryClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._manifest: Manifest | None = None
        self._tag: Tag | None = None

    async def reports(self, aim: Aim | None) -> AsyncGenerator[StageReport, None]:
        """Give the stages as they end, each of them once."""
        waiting = list(PULL)
        for stage in _order(aim):
            report = await self._timed(stage, aim)
            waiting.remove(stage)
            yield report
            if report.outcome == "failed":
                break
        for stage in waiting:
            yield StageReport(stage=stage, outcome="skipped", reason="earlier_stage_failed")

    async def _timed(self, stage: Stage, aim: Aim | None) -> StageReport:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(STAGE_SECONDS):
                report = await self._try(stage, aim)
        except TimeoutError:
            report = failed(stage, "timeout", f"no end within {STAGE_SECONDS:g} s")
        return report.model_copy(update={"seconds": self._clock.monotonic() - began})

    async def _try(self, stage: Stage, aim: Aim | None) -> StageReport:
        if stage is Stage.REGISTRY:
            return await self._registry()
        if aim is None:
            return failed(Stage.MANIFEST, "probe_missing", "")
        if stage is Stage.TAGS:
            return await self._tags(aim)
        if stage is Stage.MANIFEST:
            return await self._pull_manifest(aim)
        return await self._blob(aim)

    async def _registry(self) -> StageReport:
        verdict = await self._client.ping()
        if verdict.answer is Answer.FOUND:
            return StageReport(stage=Stage.REGISTRY, outcome="passed")
        if verdict.answer is Answer.ABSENT:
            return failed(Stage.REGISTRY, "not_a_registry", verdict.detail)
        return of_verdict(Stage.REGISTRY, verdict, 0.0)

    async def _tags(self, aim: Aim) -> StageReport:
        """List them; where the probe names no tag, one of them is what is pulled."""
        page = await self._client.list_tags(aim.repository, 100)
        if isinstance(page, Verdict):
            report = of_verdict(Stage.TAGS, page, 0.0)
            return report if aim.reference is None else report.model_copy(update={"outcome": "warned"})
        if not page.tags and aim.reference is None:
            return failed(Stage.TAGS, "no_tags", f"{aim.repository} is there, and empty")
        if page.tags:
            self._tag = next((tag for tag in page.tags if tag.value == _LATEST), page.tags[-1])
        count = f"{len(page.tags)}{'' if page.next_page is None else ' and more'}"
        return StageReport(stage=Stage.TAGS, outcome="passed", facts={"tags": count})

    async def _pull_manifest(self, aim: Aim) -> StageReport:
        reference = aim.reference or self._tag
        if reference is None:
            return failed(Stage.MANIFEST, "no_tags", "")
        found = await self._client.get_manifest(aim.repository, reference)
        if isinstance(found, Verdict):
            return of_verdict(Stage.MANIFEST, found, 0.0)
        self._manifest = found
        facts = {
            "image": f"{aim.repository}:{reference}" if isinstance(reference, Tag) else str(aim.repository),
            "digest": str(found.digest),
            "media_type": found.media_type,
        }
        return StageReport(stage=Stage.MANIFEST, outcome="passed", facts=facts)

    async def _blob(self, aim: Aim) -> StageReport:
        digest = await self._some_blob(aim)
        if isinstance(digest, Verdict):
            return of_verdict(Stage.BLOB, digest, 0.0)
        if digest is None:
            return StageReport(stage=Stage.BLOB, outcome="skipped", reason="no_blobs")
        async with self._client.open_blob(aim.repository, digest) as stream:
            if isinstance(stream, Verdict):
                return of_verdict(Stage.BLOB, stream, 0.0)
            return await _first_byte(digest, stream)

    async def _some_blob(self, aim: Aim) -> Digest | Verdict | None:
        """Return the smallest blob of the image, or of the first one that an index names."""
        document = _document(self._manifest)
        for _ in range(_DEPTH):
            children = _digests(document, "manifests")
            if not children:
                return next(iter(_digests(document, "layers")), None) or _config(document)
            child = await self._client.get_manifest(aim.repository, children[0])
            if isinstance(child, Verdict):
                return child
            document = _document(child)
        return None


def _order(aim: Aim | None) -> tuple[Stage, ...]:
    if aim is None:
        return (Stage.REGISTRY, Stage.MANIFEST)
    if aim.reference is None:
        return (Stage.REGISTRY, Stage.TAGS, Stage.MANIFEST, Stage.BLOB)
    return (Stage.REGISTRY, Stage.MANIFEST, Stage.BLOB, Stage.TAGS)


async def _first_byte(digest: Digest, stream: BlobStream) -> StageReport:
    try:
        async with aclosing(stream.chunks) as chunks:  # type: ignore[type-var]  # an async generator, in fact
            async for _ in chunks:
                break
    except BlobInterruptedError as error:
        return failed(Stage.BLOB, error.reason, str(error))
    facts = {"digest": str(digest), "bytes": str(stream.size)}
    return StageReport(stage=Stage.BLOB, outcome="passed", facts=facts)


def _document(manifest: Manifest | None) -> dict[str, Any]:
    """Return a manifest as JSON; one that was read is known to be an object."""
    found = json.loads(manifest.body) if manifest is not None else {}
    return found if isinstance(found, dict) else {}


def _digests(document: dict[str, Any], field: str) -> tuple[Digest, ...]:
    """Return the digests of a list of descriptors, the smallest first."""
    listed = document.get(field)
    known = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    known.sort(key=lambda each: each["size"] if isinstance(each.get("size"), int) else 0)
    return tuple(digest for each in known if (digest := _digest(each)) is not None)


def _config(document: dict[str, Any]) -> Digest | None:
    config = document.get("config")
    return _digest(config) if isinstance(config, dict) else None


def _digest(descriptor: dict[str, Any]) -> Digest | None:
    try:
        return Digest.parse(str(descriptor.get("digest", "")))
    except InvalidDigestError:
        return None
