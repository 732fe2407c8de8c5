"""Upstreams and disks that give something else than what was asked for."""

import random

from tests.support.fake_blob_source import FakeBlobSource


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def corrupted(chance: random.Random) -> FakeBlobSource:
    """Return an upstream that gives something else than its blob, in one of six ways."""
    blob = chance.randbytes(chance.choice([1, 2, 100, 5_000, 70_000, 200_000]))
    place = chance.randrange(len(blob))
    extra = chance.randbytes(chance.randrange(1, 1000))
    sent, said = {
        "flip": (flip(blob, place), None),
        "truncate": (blob[:place], None),
        "append": (blob + extra, None),
        "longer": (blob + extra, len(blob) + len(extra)),
        "shorter": (blob[:place], place),
        "swap": (chance.randbytes(len(blob)) + b"x", len(blob) + 1),
    }[chance.choice(["flip", "truncate", "append", "longer", "shorter", "swap"])]
    piece = chance.choice([1_000, 16_384, 100_000])
    honours = chance.random() < 0.8
    return FakeBlobSource(blob, sent=sent, said_size=said, piece=piece, honours_range=honours)
