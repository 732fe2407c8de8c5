"""Every answer, on every policy, to every question: only the rules lead to a lower upstream of the same name.

The cases are generated. Each has a registry and a repository of its own, so that what is remembered of one
does not decide another, and so that the lower upstream's log tells whose question reached it.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import pytest

from tests.proxy.proxy_world import Answer, ProxyWorld
from tests.support.fake_registry import FakeRegistry, error_reply, image_manifest
from tests.support.fake_server import DROP, SILENCE, FakeServer, Reply
from tests.support.registry_world import lease_for
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.messages.upstream import STALE_CASES, UNANSWERED, StaleCase
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Presentation

OURS: Final = image_manifest(b"ours")
THEIRS: Final = image_manifest(b"theirs")
THEIR_LAYER: Final = b"a layer of theirs" * 1000
VALIDITY: Final = 60

POLICIES: Final[tuple[tuple[StaleCase, ...], ...]] = ((), UNANSWERED, STALE_CASES)
THINGS: Final = ("new tag", "new digest", "new blob", "new tags", "known tag", "known digest", "known tags")


@dataclass(frozen=True)
class Saying:
    """What the upper upstream says to everything, which case it is, and whether it may ever lead on."""

    case: StaleCase
    reply: Reply | None = None
    leads_on: str = "never"
    has_identity: bool = False


SAYINGS = {
    "401": Saying("auth", error_reply(401, "UNAUTHORIZED"), leads_on="hidden"),
    "403": Saying("auth", error_reply(403, "DENIED"), leads_on="hidden"),
    "404": Saying("deleted", error_reply(404, "NAME_UNKNOWN"), leads_on="always"),
    "429": Saying("throttled", error_reply(429, "TOOMANYREQUESTS")),
    "500": Saying("server_error", error_reply(500, "UNKNOWN")),
    "502": Saying("server_error", Reply(502, (), b"bad gateway")),
    "503": Saying("server_error", error_reply(503, "UNAVAILABLE")),
    "timeout": Saying("network", SILENCE),
    "reset": Saying("network", DROP),
    "TLS error": Saying("network"),
    "short body": Saying("network", Reply(200, (("Content-Type", OCI_MANIFEST),), THEIRS, cut=20)),
    "garbage": Saying("server_error", Reply(200, (), b"no json, no image")),
    "credential refused": Saying("auth", error_reply(401, "UNAUTHORIZED"), has_identity=True),
    "no credential": Saying("network", error_reply(500, "UNKNOWN"), has_identity=True),
}


@dataclass(frozen=True)
class Case:
    number: int
    on_hidden: str
    stale_for: tuple[StaleCase, ...]
    thing: str

    @property
    def upstream_id(self) -> str:
        return f"upper-{POLICIES.index(self.stale_for)}"

    @property
    def repository(self) -> str:
        return f"case{self.number}/app"

    @property
    def path(self) -> str:
        kind = self.thing.partition(" ")[2]
        place = f"/v2/r{self.number}/{self.repository}"
        if kind == "tags":
            return f"{place}/tags/list"
        if kind == "blob":
            return f"{place}/blobs/{Digest.of(THEIR_LAYER)}"
        if kind == "digest":
            return f"{place}/manifests/{Digest.of(OURS if self.is_known else THEIRS)}"
        return f"{place}/manifests/1"

    @property
    def is_known(self) -> bool:
        """Whether the upper upstream gave it before."""
        return self.thing.startswith("known")


def cases() -> Iterator[Case]:
    generated = itertools.product(("stop", "continue"), POLICIES, THINGS)
    for number, (on_hidden, stale_for, thing) in enumerate(generated):
        yield Case(number, on_hidden, stale_for, thing)


def expected(case: Case, saying: Saying) -> str:
    """Say whose answer the client may get: `ours`, `theirs` or `nobody's`."""
    leads_on = saying.leads_on == "always" or (saying.leads_on == "hidden" and case.on_hidden == "continue")
    stale_case: StaleCase = "deleted" if leads_on else saying.case
    if case.thing == "known digest":
        return "ours"
    if case.is_known and stale_case in case.stale_for:
        return "ours"
    return "theirs" if leads_on else "nobody's"


def leads_to_lower(case: Case, saying: Saying) -> bool:
    """Whether the lower upstream is asked: a list goes on after an earlier one of ours, for it is merged."""
    merges = case.thing == "known tags" and expected(case, saying) == "ours"
    return merges or expected(case, saying) == "theirs"


def given(case: Case, answer: Answer) -> str:
    if answer.status != 200 or not answer.is_complete:
        return "nobody's"
    if case.thing.endswith("tags"):
        return "ours" if "ours" in json.loads(answer.body)["tags"] else "theirs"
    return {OURS: "ours", THEIRS: "theirs", THEIR_LAYER: "theirs"}[answer.body]


async def lower(world: ProxyWorld) -> FakeServer:
    registry = FakeRegistry()
    for case in cases():
        registry.add_manifest(case.repository, "1", THEIRS)
        registry.add_blob(case.repository, THEIR_LAYER)
    server = await world.upstream("lower", registry)
    world.registry("below", "lower")
    return server


async def upper(world: ProxyWorld, *, has_identity: bool, ends_soon: bool) -> FakeRegistry:
    """Start the upper upstream, under one id a policy, with what is to be known of it."""
    registry = FakeRegistry()
    server = await world.upstream("template", registry)
    template = (
        world.configured.snapshot()
        .upstreams["template"]
        .model_copy(
            update={"tag_validity_seconds": VALIDITY, "identity_id": "identity" if has_identity else None}
        )
    )
    if has_identity:
        ends = world.clock.now() + timedelta(seconds=VALIDITY if ends_soon else 10 * VALIDITY)
        lease = lease_for(server.authority, Presentation.BASIC)
        world.put_lease(replace(lease, scope=f"identity/{server.authority}", not_after=ends))
    for case in cases():
        record = template.model_copy(update={"id": case.upstream_id, "stale_for": case.stale_for})
        if record.id not in world.configured.snapshot().upstreams:
            world.put("upstream", record)
        first = MembershipRecord.model_validate({"upstream_id": record.id, "on_hidden": case.on_hidden})
        world.registry(f"r{case.number}", first, "lower")
        if case.is_known:
            registry.add_manifest(case.repository, "ours" if case.thing == "known tags" else "1", OURS)
    return registry


@pytest.mark.parametrize("said", SAYINGS)
async def test_nothing_but_absent_or_permitted_hidden_reaches_the_lower_upstream(
    world: ProxyWorld, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying = SAYINGS[said]
    below = await lower(world)
    above = await upper(world, has_identity=saying.has_identity, ends_soon=said == "no credential")
    token = world.access()
    for case in cases():
        if case.is_known:
            assert given(case, await world.get(case.path, token)) == "ours"
    assert (await world.get("/v2/below/case0/app/tags/list", token)).status == 200
    world.clock.advance(VALIDITY + 1)
    above.override = lambda _: saying.reply
    world.broker.answer = _refused if said == "credential refused" else None
    if said == "TLS error":
        for identifier in {case.upstream_id for case in cases()}:
            record = world.configured.snapshot().upstreams[identifier]
            world.put("upstream", record.model_copy(update={"private_ca": None}))
    monkeypatch.setattr(
        "vreg_shared.registry_client.client.ANSWER_SECONDS", 1.0 if said == "timeout" else 10.0
    )
    below.seen.clear()
    answers = await asyncio.gather(*(world.get(case.path, token) for case in cases()))
    wrong = [
        (case, answer.status, answer.body[:200])
        for case, answer in zip(cases(), answers, strict=True)
        if given(case, answer) != expected(case, saying)
        or (answer.status == 404 and saying.leads_on == "never")
    ]
    assert wrong == []
    asked = {seen.path.split("/")[2] for seen in below.seen}
    assert asked == {f"case{case.number}" for case in cases() if leads_to_lower(case, saying)}


def _refused(_request: RefreshRequest) -> RefreshReply:
    return RefreshReply(outcome="refused", reason="access_denied")
