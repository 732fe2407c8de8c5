"""T21: upstreams that send more than anybody asked for, or for ever. Each is refused honestly and cheaply."""

import asyncio
import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from tests.faults.figures import tell
from tests.faults.history import Pull, lies, recorded, unexplained
from tests.faults.pull_path import REPOSITORY, Client, Upstream, digest_of, pull_path
from tests.proxy.proxy_process import Keys
from tests.support.fake_registry import image_manifest
from tests.support.fake_server import Reply, Seen
from tests.support.wait import eventually
from vreg_shared.oci.media_types import MAX_MANIFEST_BYTES, OCI_MANIFEST
from vreg_shared.registry_client.pages import MAX_PAGE_BYTES
from vreg_shared.registry_client.registry_tokens import MAX_TOKEN_BYTES
from vreg_shared.registry_client.tags import MAX_TAGS
from vreg_shared.registry_client.transport import MAX_HEADER_BYTES

MIB = 1024 * 1024
MOST_MEMORY = 32 * MIB
BUDGET_SECONDS: Final = 60.0
"""For any question but a blob, which may take as long as its bytes keep coming."""
BOMB: Final = gzip.compress(bytes(64 * MIB))
"""64 KiB that would be a thousand times as much."""
_TYPE: Final = ("Content-Type", OCI_MANIFEST)
_HUGE: Final = 48 * MIB


def _manifest(size: int) -> bytes:
    """Return a manifest of just this size, padded with what every JSON may hold."""
    manifest = image_manifest(b"a layer")
    return manifest + b" " * (size - len(manifest))


def _token(size: int) -> bytes:
    frame = json.dumps({"token": "", "expires_in": 300}).encode()
    return json.dumps({"token": "t" * (size - len(frame)), "expires_in": 300}).encode()


def _listing(size: int) -> bytes:
    frame = json.dumps({"name": REPOSITORY, "tags": ["1"]}).encode()
    return frame + b" " * (size - len(frame))


def _names(count: int) -> bytes:
    return json.dumps({"name": REPOSITORY, "tags": [f"t{number}" for number in range(count)]}).encode()


def _headers(total: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"X-{number}", "h" * 8000) for number in range(total // 8000 + 1))


MANIFEST_BOMBS: Final[dict[str, Reply]] = {
    "a byte too large": Reply(headers=(_TYPE,), body=_manifest(MAX_MANIFEST_BYTES + 1)),
    "a byte too large, chunked": Reply(
        headers=(_TYPE,), body=_manifest(MAX_MANIFEST_BYTES + 1), is_chunked=True
    ),
    "a byte too large, without a length": Reply(
        headers=(_TYPE,), body=_manifest(MAX_MANIFEST_BYTES + 1), length=None
    ),
    "huge": Reply(headers=(_TYPE,), body=_manifest(_HUGE)),
    "encoded": Reply(headers=(_TYPE, ("Content-Encoding", "gzip")), body=BOMB),
    "encoded twice": Reply(headers=(_TYPE, ("Content-Encoding", "gzip, gzip")), body=BOMB),
    "headers too large": Reply(headers=(_TYPE, *_headers(MAX_HEADER_BYTES)), body=_manifest(1000)),
    "a header too large": Reply(headers=(_TYPE, ("X", "h" * 70_000)), body=_manifest(1000)),
    "too many headers": Reply(
        headers=(_TYPE, *((f"X-{number}", "") for number in range(2000))), body=_manifest(1000)
    ),
    "nested too deeply": Reply(headers=(_TYPE,), body=b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a huge error": Reply(500, body=b"e" * _HUGE),
    "a huge error, chunked": Reply(404, body=b"e" * _HUGE, is_chunked=True),
    "an encoded error": Reply(403, headers=(("Content-Encoding", "gzip"),), body=BOMB),
    "a huge redirect": Reply(307, headers=(("Location", "/v2/"),), body=b"r" * _HUGE),
}
TAGS_BOMBS: Final[dict[str, Reply]] = {
    "a byte too large": Reply(body=_listing(MAX_PAGE_BYTES + 1)),
    "huge and chunked": Reply(body=_listing(_HUGE), is_chunked=True),
    "a tag too many": Reply(body=_names(MAX_TAGS + 1)),
    "encoded": Reply(headers=(("Content-Encoding", "gzip"),), body=BOMB),
    "pages without end": Reply(
        headers=(("Link", f'</v2/{REPOSITORY}/tags/list?last=t1>; rel="next"'),), body=_listing(100)
    ),
    "a link too long": Reply(
        headers=(("Link", f'</v2/{REPOSITORY}/tags/list?last={"t" * 9000}>; rel="next"'),), body=_listing(100)
    ),
}
TOKEN_BOMBS: Final[dict[str, Reply]] = {
    "a byte too large": Reply(body=_token(MAX_TOKEN_BYTES + 1)),
    "huge and chunked": Reply(body=_token(_HUGE), is_chunked=True),
    "encoded": Reply(headers=(("Content-Encoding", "gzip"),), body=BOMB),
    "a huge error": Reply(401, body=b"e" * _HUGE),
}
BLOB_BOMBS: Final[dict[str, Reply]] = {
    "encoded": Reply(headers=(("Content-Encoding", "gzip"),), body=BOMB),
    "longer than it says": Reply(body=b"b" * _HUGE, length=1000),
    "says it is larger than any disk": Reply(body=b"b" * MIB, length=10**17),
    "without a length at all": Reply(body=b"b" * _HUGE, is_chunked=True),
}


async def test_each_cap_and_a_byte_is_refused_and_takes_no_memory(tmp_path: Path, keys: Keys) -> None:
    with recorded(tmp_path) as history:
        async with pull_path(tmp_path, keys, history) as path, path.client() as client:
            registry = path.only.registry
            await client.manifest(path.only.add_manifest("warm", _manifest(MAX_MANIFEST_BYTES)))
            before, grown = path.memory(), {}
            for kind, bombs in (
                ("manifest", MANIFEST_BOMBS),
                ("tags", TAGS_BOMBS),
                ("token", TOKEN_BOMBS),
                ("blob", BLOB_BOMBS),
            ):
                for name, bomb in bombs.items():
                    registry.auth = "bearer" if kind == "token" else "none"
                    registry.realm = f"https://127.0.0.1:{path.only.toxics.port}/token"
                    registry.override = met = _Answering(kind, bomb)
                    await eventually(lambda met=met, kind=kind, name=name: _is_met(client, met, kind, name))
                    grown[f"{kind}: {name}"] = path.memory() - before
            registry.override, registry.auth = None, "none"
            await eventually(lambda: _is_well(client, path.only.add_manifest("well", _manifest(2000))))
        assert not lies(history)
        assert not unexplained(history, 404, 403, 401, 502, 503)
    worst = max(grown, key=lambda name: grown[name])
    tell(
        "T21",
        f"bombs refused: {len(grown)}; resident growth, most after {worst}",
        _mib(grown[worst]),
        "≤ 32 MiB",
    )
    assert grown[worst] <= MOST_MEMORY, grown


async def test_what_is_just_as_large_as_allowed_is_served(tmp_path: Path, keys: Keys) -> None:
    with recorded(tmp_path) as history:
        async with pull_path(tmp_path, keys, history) as path, path.client() as client:
            digest = path.only.add_manifest("1", _manifest(MAX_MANIFEST_BYTES))
            assert (await client.manifest(digest)).is_right
            path.only.registry.override = _Answering("tags", Reply(body=_listing(MAX_PAGE_BYTES)))
            assert (await client.tags()).status == 200


@pytest.mark.full
async def test_answers_that_drip_for_ever_are_ended(tmp_path: Path, keys: Keys) -> None:
    with recorded(tmp_path) as history:
        kinds = ("manifest", "tags", "token", "error")
        async with pull_path(tmp_path, keys, history, others=kinds) as path:
            before = path.memory()
            for kind in kinds:
                _drip(path.upstreams[kind], kind)
            pulls = await asyncio.gather(*(_dripped(path.client(kind, kind), kind) for kind in kinds))
            grown = path.memory() - before
        assert not [pull for pull in pulls if pull.status not in {502, 503}]
        for kind, pull in zip(kinds, pulls, strict=True):
            tell("T21", f"{kind} at 1 B/s: ended after", f"{pull.seconds:.0f} s", f"≤ {BUDGET_SECONDS:.0f} s")
            assert pull.seconds <= BUDGET_SECONDS
        tell("T21", "answers at 1 B/s: resident growth", _mib(grown), "≤ 32 MiB")


def _drip(upstream: Upstream, kind: str) -> None:
    """Let an answer's head come at once and its body a byte a second."""
    bodies = {
        "manifest": Reply(headers=(_TYPE,), body=_manifest(50_000), is_chunked=True),
        "tags": Reply(body=_listing(50_000), is_chunked=True),
        "token": Reply(body=_token(50_000), is_chunked=True),
        "error": Reply(500, body=b"e" * 50_000, is_chunked=True),
    }
    upstream.registry.auth = "bearer" if kind == "token" else "none"
    upstream.registry.realm = f"https://127.0.0.1:{upstream.toxics.port}/token"
    upstream.registry.override = _Answering(
        "manifest" if kind == "error" else kind, replace(bodies[kind], drip=1.0)
    )


async def _dripped(client: Client, kind: str) -> Pull:
    async with client:
        return await _asked(client, kind, kind)


@dataclass
class _Answering:
    """Answers so what is of this kind, and counts how often."""

    kind: str
    reply: Reply
    met: int = 0

    def __call__(self, seen: Seen) -> Reply | None:
        part = {"manifest": "/manifests/", "tags": "/tags/", "token": "/token", "blob": "/blobs/"}[self.kind]
        if part not in seen.path:
            return None
        self.met += 1
        return self.reply


async def _is_met(client: Client, answering: _Answering, kind: str, name: str) -> bool:
    """Ask; whether the upstream was asked too, for one that failed is left in peace for a moment."""
    pull = await _asked(client, kind, name)
    assert not pull.is_right, (kind, name, pull)
    return answering.met > 0


async def _asked(client: Client, kind: str, name: str) -> Pull:
    if kind == "tags":
        return await client.tags()
    if kind == "blob":
        return await client.blob(digest_of(name.encode()))
    return await client.manifest(digest_of(f"{kind} {name}".encode()))


async def _is_well(client: Client, digest: str) -> bool:
    return (await client.manifest(digest)).is_right


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
