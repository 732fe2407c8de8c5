"""A tag is resolved once: whatever its upstream does meanwhile, the bytes are those of the digest told."""

import itertools
from collections.abc import Iterator

from tests.proxy.proxy_world import ProxyWorld
from tests.proxy.test_pulls import BY_TAG
from tests.support.fake_registry import FakeRegistry, image_manifest
from tests.support.fake_server import Reply, Seen
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST

FLIPS = 1000
GENUINE = [image_manifest(name) for name in (b"one", b"two", b"three")]
FORGED = image_manifest(b"forged")
STATUSES = {200, 502, 503}


def manifest(body: bytes, promised: bytes) -> Reply:
    return Reply(
        200, (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", str(Digest.of(promised)))), body
    )


def flips() -> Iterator[Reply]:
    """Move the tag with every answer; some answers promise another digest than their bytes have."""
    for number in itertools.count():
        genuine = GENUINE[number % len(GENUINE)]
        yield manifest(FORGED if number % 7 == 0 else genuine, promised=genuine)


async def test_a_tag_that_moves_between_head_and_get_is_never_served_unverified(world: ProxyWorld) -> None:
    replies = flips()
    asked: list[Seen] = []

    def flipping(seen: Seen) -> Reply:
        asked.append(seen)
        return next(replies)

    await world.upstream("a", FakeRegistry(override=flipping), tag_validity_seconds=0, stale_for=())
    world.registry("main", "a")
    token = world.access()
    statuses = set()
    for number in itertools.count():
        answer = await world.get(BY_TAG, token, method="HEAD" if number % 5 == 0 else "GET")
        statuses.add(answer.status)
        assert answer.status in STATUSES
        if answer.status == 200 and answer.body:
            assert answer.body in GENUINE
            assert answer.headers["docker-content-digest"] == str(Digest.of(answer.body))
        if len(asked) >= FLIPS:
            break
    assert {seen.method for seen in asked} == {"HEAD", "GET"}
    assert 200 in statuses
