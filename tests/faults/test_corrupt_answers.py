"""F19, T16: answers that are not what they say. Nothing bad is kept, and nobody gets a bad body complete."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.faults.edition import amount, seeded
from tests.faults.figures import tell
from tests.faults.history import Pull, lies, recorded, unexplained
from tests.faults.pull_path import (
    REPOSITORY,
    Client,
    PullPath,
    committed,
    digest_of,
    pull_path,
    wrongly_committed,
)
from tests.proxy.proxy_process import Keys
from tests.support.fake_registry import image_manifest
from tests.support.fake_server import Reply, Seen
from tests.support.wait import eventually

CORRUPTIONS = amount(60, 1000)
LANES = 40
"""Corruptions at once: an answer that breaks off is asked for again, with pauses."""

Spoil = Callable[[Reply, random.Random], Reply]


def _flip(reply: Reply, dice: random.Random) -> Reply:
    body = bytearray(reply.body)
    body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
    return replace(reply, body=bytes(body))


def _place(reply: Reply, dice: random.Random) -> int:
    return dice.randrange(len(reply.body))


def _beginning(reply: Reply, dice: random.Random) -> bytes:
    return reply.body[: _place(reply, dice)]


SPOILERS: Final[dict[str, Spoil]] = {
    "one bit is another": _flip,
    "breaks off": lambda reply, dice: replace(reply, cut=_place(reply, dice)),
    "shorter, and says so": lambda reply, dice: replace(reply, body=_beginning(reply, dice)),
    "longer, and says so": lambda reply, dice: replace(reply, body=reply.body + dice.randbytes(9)),
    "longer than it says": lambda reply, dice: replace(
        reply, body=reply.body + dice.randbytes(9), length=len(reply.body)
    ),
    "says less than it is": lambda reply, dice: replace(reply, length=_place(reply, dice)),
    "says more than it is": lambda reply, dice: replace(
        reply, length=len(reply.body) + dice.randrange(1, 999)
    ),
    "says nonsense of its length": lambda reply, dice: replace(
        reply, length=dice.choice(("-1", "abc", "1e3", "99999999999999999999", "+5", "5, 6"))
    ),
    "another thing": lambda reply, dice: replace(reply, body=dice.randbytes(len(reply.body))),
    "nothing": lambda reply, _: replace(reply, body=b""),
    "ends short with the connection": lambda reply, dice: replace(
        reply, body=_beginning(reply, dice), length=None
    ),
    "spoilt, and ends with the connection": lambda reply, dice: replace(_flip(reply, dice), length=None),
    "chunked and short": lambda reply, dice: replace(reply, body=_beginning(reply, dice), is_chunked=True),
    "chunked and breaks off": lambda reply, dice: replace(reply, is_chunked=True, cut=_place(reply, dice)),
    "chunked and longer": lambda reply, dice: replace(
        reply, body=reply.body + dice.randbytes(9), is_chunked=True
    ),
}


@dataclass
class _Corruption:
    """One thing that is spoilt until it is healed. Its spoilt answer is the same each time."""

    way: str
    kind: str
    reference: str
    digest: str
    spoilt: Reply
    served: int = 0

    @property
    def path(self) -> str:
        return f"/v2/{REPOSITORY}/{self.kind}/{self.reference}"

    def answer(self, seen: Seen) -> Reply:
        """Answer, from the offset that is asked for, with a range that looks right."""
        self.served += seen.method == "GET"
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        if not start or start >= len(self.spoilt.body) or self.spoilt.length != "true":
            return self.spoilt
        size = len(self.spoilt.body)
        span = ("Content-Range", f"bytes {start}-{size - 1}/{size}")
        cut = None if self.spoilt.cut is None else max(0, self.spoilt.cut - start)
        return replace(self.spoilt, status=206, headers=(span,), body=self.spoilt.body[start:], cut=cut)


@dataclass
class _Liar:
    """Answers in the registry's place for what is spoilt at the moment."""

    spoilt: dict[str, _Corruption] = field(default_factory=dict)

    def __call__(self, seen: Seen) -> Reply | None:
        corruption = self.spoilt.get(seen.path)
        return corruption.answer(seen) if corruption is not None else None


async def test_whatever_is_spoilt_is_neither_kept_nor_given_out_and_then_is_pulled_right(
    tmp_path: Path, keys: Keys
) -> None:
    seed, dice = seeded()
    ways: Counter[str] = Counter()
    with recorded(tmp_path, seed) as history:
        async with pull_path(tmp_path, keys, history) as path:
            liar = path.only.registry.override = _Liar()
            waiting = [_corruption(path, dice, number) for number in range(CORRUPTIONS)]

            async def lane() -> None:
                async with path.client() as client:
                    while waiting:
                        corruption = waiting.pop()
                        await _meet(client, liar, corruption)
                        ways[corruption.way] += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(LANES):
                    group.create_task(lane())
            bad = wrongly_committed(path.cache)
            assert not lies(history)
            assert not unexplained(history, 502, 503)
            assert not bad
            assert len(committed(path.cache)) >= CORRUPTIONS
    assert set(ways) == set(SPOILERS) | {"HEAD names another digest"}, ways
    tell("G12", f"of {CORRUPTIONS} corruptions (seed {seed}): bad bodies complete", 0, "0")
    tell("G12", f"of {CORRUPTIONS} corruptions: bad commits", len(bad), "0")


def _corruption(path: PullPath, dice: random.Random, number: int) -> _Corruption:
    """Have a thing and an answer for it that is not it: a blob, or a manifest by digest or by tag."""
    kind = ("blob", "manifest", "tag", "head")[number % 4]
    if kind == "blob":
        body = dice.randbytes(dice.choice((2, 1000, 70_000, 300_000)))
        way = dice.choice(list(SPOILERS)) if number >= 4 * len(SPOILERS) else list(SPOILERS)[number // 4]
        path.only.add_blob(body)
        return _Corruption(
            way, "blobs", digest_of(body), digest_of(body), SPOILERS[way](Reply(body=body), dice)
        )
    body = image_manifest(dice.randbytes(20))
    digest = path.only.add_manifest(f"tag-{number}", body)
    good = path.only.registry.manifests[REPOSITORY, digest]
    headers = (("Content-Type", good[0]), ("Docker-Content-Digest", digest))
    if kind == "head":
        other = (headers[0], ("Docker-Content-Digest", digest_of(b"another")))
        spoilt = Reply(headers=other, body=body)
        return _Corruption("HEAD names another digest", "manifests", f"tag-{number}", digest, spoilt)
    way = dice.choice(list(SPOILERS))
    reference = digest if kind == "manifest" else f"tag-{number}"
    spoilt = SPOILERS[way](Reply(headers=headers, body=body), dice)
    return _Corruption(way, "manifests", reference, digest, spoilt)


async def _meet(client: Client, liar: _Liar, corruption: _Corruption) -> None:
    """Pull until the spoilt answer was met, then until the right one is: a silent upstream has its pauses."""
    liar.spoilt[corruption.path] = corruption

    async def pulled() -> Pull:
        if corruption.kind == "blobs":
            return await client.blob(corruption.reference)
        return await client.manifest(corruption.reference)

    async def is_met() -> bool:
        pull = await pulled()
        assert not (pull.is_right and pull.digest != corruption.digest), (corruption.way, pull)
        return corruption.served > 0

    async def is_right() -> bool:
        pull = await pulled()
        return pull.is_right and pull.digest == corruption.digest

    await eventually(is_met, deadline=60)
    del liar.spoilt[corruption.path]
    await eventually(is_right, deadline=60)
