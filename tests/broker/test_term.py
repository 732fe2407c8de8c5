"""A broker that leads keeps leases once it knows all that is configured, and until another leads."""

import asyncio
from dataclasses import dataclass, field

from tests.broker.world import settle
from vreg_token_broker.wiring import Term


@dataclass
class Part:
    """Anything that a term is made of; notes what was done with it."""

    known: asyncio.Event = field(default_factory=asyncio.Event)
    done: list[str] = field(default_factory=list)

    async def run(self, stopping: asyncio.Event) -> None:
        self.done.append("began")
        await stopping.wait()
        self.done.append("ended")

    async def wait_synced(self) -> None:
        await self.known.wait()

    async def answer(self) -> None:
        self.done.append("answers")
        await asyncio.Event().wait()

    def forget_waiting(self) -> None:
        self.done.append("forgot")


async def test_nothing_is_exchanged_before_leases_upstreams_and_identities_are_known() -> None:
    keeping, followers, ended = Part(), [Part(), Part(), Part()], asyncio.Event()
    serving = asyncio.create_task(Term(keeping, Part(), followers, [Part().answer], Part()).serve(ended))
    for follower in followers:
        await settle()
        assert keeping.done == []
        follower.known.set()
    await settle()
    assert keeping.done == ["began"]
    ended.set()
    await serving
    assert keeping.done == ["began", "ended"]


async def test_a_term_that_ends_before_anything_is_known_ends() -> None:
    keeping, answering, ended = Part(), Part(), asyncio.Event()
    serving = asyncio.create_task(Term(keeping, Part(), [Part()], [answering.answer], Part()).serve(ended))
    await settle()
    assert answering.done == ["answers"]
    ended.set()
    await serving
    assert keeping.done == ["began", "ended"]
