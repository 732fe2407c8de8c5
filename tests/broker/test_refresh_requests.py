"""Only a leader answers what it knows: anybody else's knowledge may have been overtaken."""

from dataclasses import dataclass

from vreg_shared.lease import Generation
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_token_broker.keeper import Told
from vreg_token_broker.refresh_requests import RefreshRequests

REQUEST = RefreshRequest(upstream_id="ups1").model_dump_json().encode()
GENERATION = Generation(1, 100, "a")


@dataclass
class Office:
    """Who leads and who knows; `is_brief` is a tenure that ends while the answer is found."""

    is_leading: bool = True
    is_brief: bool = False
    asked: int = 0

    async def ask(self, upstream_id: str, refused: Generation | None) -> Told:
        assert (upstream_id, refused) == ("ups1", None)
        self.asked += 1
        self.is_leading = self.is_leading and not self.is_brief
        return Told(GENERATION)

    async def reply(self) -> RefreshReply:
        return RefreshReply.model_validate_json(await RefreshRequests(self, self).answer(REQUEST))


async def test_a_leader_answers() -> None:
    reply = await Office().reply()
    assert (reply.outcome, reply.generation) == ("issued", str(GENERATION))


async def test_who_does_not_lead_says_so_and_does_nothing() -> None:
    office = Office(is_leading=False)
    reply = await office.reply()
    assert (reply.outcome, reply.reason, reply.retry_after) == ("unavailable", "not_leading", 1.0)
    assert office.asked == 0


async def test_who_ceased_to_lead_meanwhile_does_not_tell_what_it_found() -> None:
    reply = await Office(is_brief=True).reply()
    assert (reply.outcome, reply.reason, reply.generation) == ("unavailable", "not_leading", None)
