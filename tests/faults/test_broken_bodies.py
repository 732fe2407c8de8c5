"""F18: connections that end in the middle of blobs. Clients see clean streams; hardly a byte comes twice."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.edition import amount, seeded
from tests.faults.figures import tell
from tests.faults.history import failures, recorded
from tests.faults.pull_path import PullPath, pull_path, wrongly_committed
from tests.proxy.proxy_process import Keys
from tests.support.toxics import Direction, Toxic

BLOBS = amount(4, 100)
SIZE = 8 * 1024 * 1024
CUTS = 5
"""At least so many in each blob."""
MOST_AGAIN = 0.015
"""Of all bytes: one in a hundred, and half of one for TLS and the handshakes of so many new connections."""


@pytest.mark.parametrize("ending", ["reset", "end"])
async def test_connections_end_in_every_blob_and_no_client_notices(
    tmp_path: Path, keys: Keys, ending: str
) -> None:
    seed, dice = seeded()
    with recorded(tmp_path, seed) as history:
        async with pull_path(tmp_path, keys, history) as path:
            path.only.toxics.afflict_each(lambda: _short_lived(dice, ending))
            await _pull_all(path, dice)
            assert not failures(history)
            assert not wrongly_committed(path.cache)
            assert path.only.toxics.cuts >= CUTS * BLOBS
            extra = path.only.toxics.passed[Direction.DOWN] / (BLOBS * SIZE) - 1
            tell("G11", f"failed pulls of {BLOBS}, {path.only.toxics.cuts} cuts ({ending})", 0, "0")
            tell("G11", f"bytes that came again ({ending})", f"{extra:.2%}", "≤ 1 %")
            assert extra <= MOST_AGAIN


def _short_lived(dice: random.Random, ending: str) -> Toxic:
    """Let a connection live for a part of a blob, so that none can be had over fewer than CUTS + 1."""
    life = dice.randrange(SIZE // (CUTS + 2), SIZE // (CUTS + 1))
    return Toxic(reset_after=life) if ending == "reset" else Toxic(end_after=life)


async def _pull_all(path: PullPath, dice: random.Random) -> None:
    """Pull them in four lanes, as four layers of an image; the upstream lets go of what was pulled."""

    async def lane(number: int) -> None:
        async with path.client(f"client-{number}") as client:
            for _ in range(BLOBS // 4):
                digest = path.only.add_blob(dice.randbytes(SIZE))
                await client.blob(digest)
                path.only.forget_blob(digest)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(lane(number))
