"""What every auth method of every provider keeps to, those yet to be written included."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.clouds.faults import Fault, Harm
from tests.contract.kit import Exchanging, Part, Setting, provider_methods
from tests.support.logs import captured_logs
from tests.support.spellings import hits
from vreg_shared.catalogue import catalogue
from vreg_shared.provider import Answer, Verdict
from vreg_token_broker.exchange import Issued, Refused, Unavailable
from vreg_token_broker.flights import EXCHANGE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_exchange_gives_a_credential_that_reads_the_image(part: Part) -> None:
    issued = await part.issued()
    assert issued.principal
    assert issued.not_after is None or issued.not_after > datetime.now(UTC)
    assert issued.credential.presentation is catalogue().kind(part.prepared.kind).presentation
    credentials = Exchanging(part, issued)
    assert await part.pull(credentials) == part.prepared.digest
    assert credentials.replaced == 0


async def test_the_next_exchange_gives_another_life(part: Part) -> None:
    first, second = await part.issued(), await part.issued()
    if first.not_after is None:
        assert second == Issued(
            first.credential, second.issued_at, None, first.principal, second.request_ids
        ), "what never ends is the person's own secret"
    else:
        assert second.not_after is not None
        assert second.not_after >= first.not_after
        assert second.issued_at >= first.issued_at


async def test_a_credential_that_ended_is_replaced_by_one_exchange_and_the_pull_goes_on(part: Part) -> None:
    issued = await part.issued()
    part.stage.end_credentials()
    credentials = Exchanging(part, issued)
    assert await part.pull(credentials) == part.prepared.digest
    assert credentials.replaced == (0 if issued.not_after is None else 1)


async def test_a_no_is_refused_with_a_reason_and_a_remedy_and_never_absent_or_anonymous(part: Part) -> None:
    issued = await part.issued()
    part.stage.refuse(part.prepared)
    outcome = await part.climb()
    if isinstance(outcome, Issued):
        verdict = await part.pull(Exchanging(part, issued))
        assert isinstance(verdict, Verdict), "nobody said no"
        assert verdict.answer in {Answer.REFUSED, Answer.HIDDEN}, verdict
        return
    assert isinstance(outcome, Refused), outcome
    assert outcome.remedy
    provider = next(each for each in catalogue().providers if each.name == part.provider)
    rows = {rule.reason for rule in provider.refusals if rule.is_refused and rule.cause}
    assert outcome.reason in rows, "a refusal that a person caused is a row of the provider's table"


async def test_a_cloud_that_is_unwell_is_unavailable_and_never_refuses(part: Part) -> None:
    for service in part.prepared.services:
        for status in (500, 503):
            part.setting.clouds.faults.clear()
            part.setting.clouds.faults.add(Fault(Harm.FAIL, service=service, status=status, times=None))
            outcome = await part.climb()
            assert isinstance(outcome, Unavailable), (service, outcome)


async def test_a_cut_connection_is_unavailable(part: Part) -> None:
    for service in part.prepared.services:
        part.setting.clouds.faults.clear()
        part.setting.clouds.faults.add(Fault(Harm.DROP, service=service, times=None))
        outcome = await part.climb()
        assert isinstance(outcome, Unavailable), (service, outcome)


async def test_a_certificate_of_a_stranger_gets_no_secret(part: Part) -> None:
    local = part.setting.clouds.local
    for service in (each for each in part.prepared.services if each not in local):
        part.setting.clouds.faults.clear()
        part.setting.clouds.faults.add(Fault(Harm.UNTRUSTED, service=service, times=None))
        outcome = await part.climb()
        assert isinstance(outcome, Unavailable), (service, outcome)
        assert outcome.reason == "tls_failed", (service, outcome)


async def test_a_throttled_exchange_is_unavailable_for_that_reason(part: Part) -> None:
    for service in part.prepared.services:
        part.setting.clouds.faults.clear()
        part.setting.clouds.faults.add(Fault(Harm.THROTTLE, service=service, retry_after=7, times=None))
        outcome = await part.climb()
        assert isinstance(outcome, Unavailable), (service, outcome)
        assert outcome.reason == "throttled", (service, outcome)
        assert outcome.retry_after in {None, 7.0}


async def test_a_fault_that_passed_leaves_nothing_behind(part: Part) -> None:
    for service in part.prepared.services:
        part.setting.clouds.faults.add(Fault(Harm.FAIL, service=service, times=1))
        assert isinstance(await part.climb(), Unavailable), service
        assert await part.pull(Exchanging(part, await part.issued())) == part.prepared.digest


async def test_a_changed_credential_works_at_once_and_the_old_one_is_refused(part: Part) -> None:
    before = part.prepared
    await part.issued()
    part.prepared = part.stage.replace(before)
    assert await part.pull(Exchanging(part, await part.issued())) == part.prepared.digest
    outcome = await part.climb(before)
    if isinstance(outcome, Issued):
        part.prepared = before
        verdict = await part.pull(Exchanging(part, outcome))
        assert isinstance(verdict, Verdict)
        assert verdict.answer in {Answer.REFUSED, Answer.HIDDEN}
    else:
        assert isinstance(outcome, Refused)


async def test_no_secret_shows_whatever_happens(part: Part) -> None:
    secrets, shown = set(part.prepared.secrets), []
    with captured_logs("contract") as logs:
        issued = await part.issued()
        secrets |= {issued.credential.secret.reveal()}
        shown += [repr(issued), str(issued), repr(part.order(part.prepared)), repr(part.lease(issued))]
        for harm in (Harm.FAIL, Harm.THROTTLE, Harm.DROP):
            part.setting.clouds.faults.clear()
            for service in part.prepared.services:
                part.setting.clouds.faults.add(Fault(harm, service=service, times=None))
            shown.append(repr(await part.climb()))
        part.setting.clouds.faults.clear()
        part.stage.refuse(part.prepared)
        shown += [repr(await part.climb()), repr(await part.pull(Exchanging(part, issued)))]
    shown.append(logs.getvalue())
    secrets |= set(part.setting.identity_tokens.given)
    named = {f"secret {number}": secret for number, secret in enumerate(sorted(secrets))}
    assert hits(named, "\n".join(shown).encode()) == []


@pytest.mark.parametrize("rung", [0, 1, 2], ids=["first", "second", "third"])
async def test_a_cloud_that_says_nothing_ends_within_the_exchanges_own_deadline(
    setting: Setting, rung: int
) -> None:
    """All methods at once, for each takes as long as its deadlines; one rung of each is silent."""
    parts = [setting.cast(provider, tag) for provider, tag in provider_methods()]
    asked = [part for part in parts if len(part.prepared.services) > rung]
    for service in {part.prepared.services[rung] for part in asked}:
        setting.clouds.faults.add(Fault(Harm.LATENCY, service=service, seconds=120, times=None))
    async with asyncio.timeout(EXCHANGE_SECONDS):
        outcomes = await asyncio.gather(*(part.climb() for part in asked))
    for part, outcome in zip(asked, outcomes, strict=True):
        assert isinstance(outcome, Unavailable), (part.prepared.method.tag, outcome)
        assert outcome.reason == "timeout", (part.prepared.method.tag, outcome)
