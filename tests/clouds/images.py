"""Images made from a seed: the same name and sizes give the same bytes, and every client can unpack them."""

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from tests.clouds.aws.control import AwsControl
from tests.clouds.content import ContentStore

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PIECE = 1024 * 1024
_CREATED = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Image:
    """A manifest or index; `children` are an index's manifests, `blobs` everything by digest."""

    media_type: str
    manifest: bytes
    blobs: dict[str, bytes] = field(default_factory=dict)
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)

    @property
    def layers(self) -> tuple[str, ...]:
        """Digests of the layers, lowest first; empty for an index."""
        return tuple(layer["digest"] for layer in json.loads(self.manifest).get("layers", ()))


def digest_of(content: bytes) -> str:
    """Return the sha256 digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_image(
    seed: str,
    *layer_sizes: int,
    architecture: str = "amd64",
    is_docker: bool = False,
    subject: Image | None = None,
    program: bytes | None = None,
) -> Image:
    """Make an image with a layer of about each size: bytes that do not compress, 1000 if none is given.

    `program` is what it runs when it is run.
    """
    layers = [_layer(f"{seed}/{number}", size) for number, size in enumerate(layer_sizes or (1000,))]
    if program is not None:
        layers.append(_packed("hello", program, 0o755))
    config = _json(
        {
            "created": _CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"], "Labels": {"seed": seed}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            "history": [{"created": _CREATED, "created_by": f"seed {seed}"} for _ in layers],
        }
    )
    media_type = DOCKER_MANIFEST if is_docker else MANIFEST
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(_DOCKER_CONFIG if is_docker else _CONFIG, config),
        "layers": [_descriptor(_DOCKER_LAYER if is_docker else _LAYER, layer) for layer, _ in layers],
    }
    if subject is not None:
        manifest["subject"] = _descriptor(subject.media_type, subject.manifest)
    blobs = {digest_of(each): each for each in (config, *(layer for layer, _ in layers))}
    return Image(media_type, _json(manifest), blobs)


def make_index(
    seed: str, *layer_sizes: int, architectures: tuple[str, ...] = ("amd64", "arm64"), is_docker: bool = False
) -> Image:
    """Make a multi-platform image whose platforms have nothing in common."""
    children = tuple(
        make_image(f"{seed}/{name}", *layer_sizes, architecture=name, is_docker=is_docker)
        for name in architectures
    )
    described = [
        {
            **_descriptor(child.media_type, child.manifest),
            "platform": {"architecture": name, "os": "linux"},
        }
        for name, child in zip(architectures, children, strict=True)
    ]
    media_type = DOCKER_LIST if is_docker else INDEX
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": described}
    blobs = {digest: blob for child in children for digest, blob in child.blobs.items()}
    return Image(media_type, _json(document), blobs, children)


def store(
    image: Image, content: ContentStore, put: Callable[[str, Image, str | None], None], *tags: str
) -> str:
    """Add an image's bytes to the content store and `put` each of its manifests; return its digest."""
    for child in image.children:
        store(child, content, put)
    for blob in image.blobs.values():
        content.add(blob)
    digest = content.add(image.manifest)
    for tag in tags or (None,):
        put(digest, image, tag)
    return digest


@dataclass(frozen=True)
class EcrRepository:
    """Where to push in the emulated ECR; the repository must exist."""

    aws: AwsControl
    content: ContentStore
    account: str
    region: str
    name: str

    def push(self, image: Image, *tags: str) -> str:
        """Put the image there under these tags; return its digest."""

        def put(digest: str, image: Image, tag: str | None) -> None:
            self.aws.put_manifest(
                self.account,
                self.region,
                self.name,
                digest=digest,
                media_type=image.media_type,
                blobs=tuple(image.blobs),
                tag=tag,
            )

        return store(image, self.content, put, *tags)


@dataclass(frozen=True)
class EcrPublicRepository:
    """Where to push in the emulated ECR Public; the repository must exist."""

    aws: AwsControl
    content: ContentStore
    name: str

    def push(self, image: Image, *tags: str) -> str:
        """Put the image there under these tags; return its digest."""

        def put(digest: str, image: Image, tag: str | None) -> None:
            self.aws.put_public_manifest(
                self.name, digest=digest, media_type=image.media_type, blobs=tuple(image.blobs), tag=tag
            )

        return store(image, self.content, put, *tags)


class _HasOrigin(Protocol):
    @property
    def origin(self) -> str: ...

    @property
    def auth(self) -> tuple[str, str] | None: ...


async def push_to_registry(registry: _HasOrigin, name: str, image: Image, *tags: str) -> str:
    """Push to a real registry, past any gateway; return the digest. Raises httpx.HTTPStatusError."""
    headers = {}
    if registry.auth is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(registry.auth).encode()).decode()
    async with httpx.AsyncClient(
        base_url=registry.origin, headers=headers, trust_env=False, timeout=60
    ) as client:
        await _push(client, name, image, tags)
    return image.digest


async def _push(client: httpx.AsyncClient, name: str, image: Image, tags: tuple[str, ...]) -> None:
    for child in image.children:
        await _push(client, name, child, ())
    for digest, blob in image.blobs.items():
        if (await client.head(f"/v2/{name}/blobs/{digest}")).is_success:
            continue
        begun = (await client.post(f"/v2/{name}/blobs/uploads/")).raise_for_status()
        upload = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
        kind = {"Content-Type": "application/octet-stream"}
        (await client.put(upload.raw_path.decode(), content=blob, headers=kind)).raise_for_status()
    for reference in tags or (image.digest,):
        kind = {"Content-Type": image.media_type}
        put = await client.put(f"/v2/{name}/manifests/{reference}", content=image.manifest, headers=kind)
        put.raise_for_status()


def _layer(seed: str, size: int) -> tuple[bytes, str]:
    """Return a layer with one file of `size` bytes, stored rather than compressed, and its diff id."""
    source = random.Random(seed)  # noqa: S311 -- made to be repeated, not to be secret
    pieces = [_PIECE] * (size // _PIECE) + [size % _PIECE]  # randbytes has a limit
    content = b"".join(source.randbytes(piece) for piece in pieces)
    return _packed(hashlib.sha256(seed.encode()).hexdigest()[:12], content, 0o644)


def _packed(name: str, content: bytes, mode: int) -> tuple[bytes, str]:
    """Return a layer with this file alone, and its diff id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = len(content), mode, 0
        archive.addfile(entry, io.BytesIO(content))
    plain = packed.getvalue()
    return gzip.compress(plain, compresslevel=0, mtime=0), digest_of(plain)


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
