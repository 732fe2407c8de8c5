"""The bus through its own door, on a real server with the real permissions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.following import Reader, in_background
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import (
    Bus,
    BusConflictError,
    BusPermissionError,
    BusRefusedError,
    BusUnavailableError,
    Entry,
    NoResponderError,
    RequestFailedError,
)
from vreg_shared.errors import VregError
from vreg_shared.key_files import Service
from vreg_shared.secret import Secret
from vreg_shared.topology import MAX_PAYLOAD_BYTES, inbox_prefix

Say = Callable[[bytes], Awaitable[None]]
API, BROKER, PROXY = Service.API, Service.TOKEN_BROKER, Service.PROXY


@asynccontextmanager
async def answering(
    bus: Bus, handler: Callable[[bytes], Awaitable[bytes]], asker: Bus, deadline: float = 30
) -> AsyncIterator[None]:
    """Have `bus` answer refresh requests, and return once it does."""

    async def answered() -> bool:
        try:
            await asker.request("vreg.broker.refresh", b"ready?", deadline=1)
        except NoResponderError:
            return False
        except (BusUnavailableError, RequestFailedError):
            return True
        return True

    async with in_background(bus.respond("vreg.broker.refresh", handler, "broker", deadline=deadline)):
        await eventually(answered)
        yield


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with running_nats_server(tmp_path) as running:
        yield running


@pytest.fixture
async def api(server: NatsServer) -> AsyncIterator[Bus]:
    async with server.bus(API) as bus:
        yield bus


@pytest.fixture
async def broker(server: NatsServer) -> AsyncIterator[Bus]:
    async with server.bus(BROKER) as bus:
        yield bus


@pytest.fixture
async def proxy(server: NatsServer) -> AsyncIterator[Bus]:
    async with server.bus(PROXY) as bus:
        yield bus


async def test_a_follower_gets_a_snapshot_then_changes_of_its_keys_alone(api: Bus, proxy: Bus) -> None:
    reader = Reader()
    await api.put("vreg_config", "upstream.1", b"one")
    await api.put("vreg_config", "registry.1", b"another noun")
    async with in_background(proxy.follow("vreg_config", "upstream.*", reader.on_entry, reader.on_synced)):
        await eventually(lambda: reader.snapshots == 1)
        assert reader.values == {"upstream.1": b"one"}
        await api.put("vreg_config", "upstream.2", b"two")
        await eventually(lambda: reader.values == {"upstream.1": b"one", "upstream.2": b"two"})
    assert reader.snapshots == 1


async def test_an_empty_bucket_is_synced_too(proxy: Bus) -> None:
    reader = Reader()
    async with in_background(proxy.follow("vreg_config", "upstream.*", reader.on_entry, reader.on_synced)):
        await eventually(lambda: reader.snapshots == 1)
    assert reader.values == {}


async def test_a_slow_follower_gets_the_latest_value_and_is_not_cut_off(api: Bus, proxy: Bus) -> None:
    handed_over: list[bytes] = []
    gate = asyncio.Event()

    async def slowly(entry: Entry) -> None:
        handed_over.append(entry.value)
        await gate.wait()

    async with in_background(proxy.follow("vreg_config", "upstream.*", slowly)):
        await api.put("vreg_config", "upstream.1", b"first")
        await eventually(lambda: handed_over == [b"first"])
        for number in range(500):
            await api.put("vreg_config", "upstream.1", str(number).encode())
        gate.set()
        await eventually(lambda: handed_over[-1] == b"499")
    assert len(handed_over) < 100


async def test_large_values_by_the_hundred_are_followed_under_flow_control(api: Bus, proxy: Bus) -> None:
    reader = Reader()
    value = b"x" * 200_000
    for number in range(300):
        await api.put("vreg_config", f"upstream.{number}", value)
    async with in_background(proxy.follow("vreg_config", "upstream.*", reader.on_entry, reader.on_synced)):
        await eventually(lambda: reader.snapshots, deadline=20)
    assert len(reader.values) == 300
    assert reader.snapshots == 1


async def test_what_a_follower_raises_is_raised_to_its_owner(api: Bus, proxy: Bus) -> None:
    async def fail(_: Entry) -> None:
        raise ValueError("a bug")

    await api.put("vreg_config", "upstream.1", b"one")
    with pytest.raises(ValueError, match="a bug"):
        await proxy.follow("vreg_config", "upstream.*", fail)


async def test_of_many_who_claim_a_free_key_one_gets_it(broker: Bus) -> None:
    async def claim(number: int) -> int:
        try:
            await broker.claim("vreg_leader", "broker", str(number).encode(), revision=0, seconds=5)
        except BusConflictError:
            return 0
        return 1

    assert sum(await asyncio.gather(*(claim(number) for number in range(15)))) == 1


async def test_a_claim_is_renewed_by_who_knows_its_revision_and_by_nobody_else(broker: Bus) -> None:
    first = await broker.claim("vreg_leader", "broker", b"mine", revision=0, seconds=5)
    second = await broker.claim("vreg_leader", "broker", b"mine", revision=first, seconds=5)
    for stale in (0, first, second + 1):
        with pytest.raises(BusConflictError):
            await broker.claim("vreg_leader", "broker", b"another's", revision=stale, seconds=5)


async def test_a_claim_ends_by_itself_counted_from_its_last_renewal(broker: Bus, server: NatsServer) -> None:
    first = await broker.claim("vreg_leader", "broker", b"mine", revision=0, seconds=1)
    await broker.claim("vreg_leader", "broker", b"mine", revision=first, seconds=3600)
    await server.restart()
    assert await server.value("vreg_leader", "broker") == b"mine"
    await broker.claim("vreg_leader", "broker", b"mine", revision=first + 1, seconds=1)

    async def is_free() -> bool:
        return await server.value("vreg_leader", "broker") is None

    await eventually(is_free)
    await broker.claim("vreg_leader", "broker", b"next", revision=0, seconds=1)


async def test_a_follower_is_told_the_revision_that_a_claim_takes_the_place_of(broker: Bus) -> None:
    heard: list[Entry] = []

    async def hear(entry: Entry) -> None:
        heard.append(entry)

    revision = await broker.claim("vreg_leader", "broker", b"mine", revision=0, seconds=60)
    async with in_background(broker.follow("vreg_leader", "broker", hear)):
        await eventually(lambda: heard)
        assert heard == [Entry("broker", b"mine", revision)]
        await broker.claim("vreg_leader", "broker", b"next", revision=heard[0].revision, seconds=60)


async def test_who_may_not_write_a_key_cannot_claim_it(api: Bus, proxy: Bus) -> None:
    for bus in (api, proxy):
        with pytest.raises(BusPermissionError):
            await bus.claim("vreg_leader", "broker", b"mine", revision=0, seconds=1)


async def test_a_claim_without_a_bus_is_unavailable(server: NatsServer, broker: Bus) -> None:
    await broker.wait_connected()
    await server.kill()
    with pytest.raises(BusUnavailableError):
        await broker.claim("vreg_leader", "broker", b"mine", revision=0, seconds=1)


@pytest.mark.parametrize("key", ["", "a b", "a.", ".a", "a..b", "a.*", ">", "a\r\nb", "ü"])
async def test_a_key_that_is_not_plain_is_refused(api: Bus, key: str) -> None:
    with pytest.raises(BusRefusedError, match="cannot be a key"):
        await api.put("vreg_config", key, b"")


async def test_a_value_too_large_is_refused_and_the_connection_stays(
    api: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in (MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, MAX_PAYLOAD_BYTES * 3):
        with pytest.raises(BusRefusedError, match="more than the bus carries"):
            await api.put("vreg_config", "upstream.1", b"x" * size)
    await api.put("vreg_config", "upstream.1", b"x" * (MAX_PAYLOAD_BYTES - 1024))
    assert "bus connection lost" not in capsys.readouterr().out


async def test_a_request_is_answered_by_its_responder(broker: Bus, proxy: Bus) -> None:
    async def answer(payload: bytes) -> bytes:
        return payload.upper()

    async with answering(broker, answer, proxy):
        replies = await asyncio.gather(
            *(proxy.request("vreg.broker.refresh", b"r%d" % n, deadline=5) for n in range(100))
        )
    assert replies == [b"R%d" % n for n in range(100)]


async def test_a_request_that_nobody_serves_fails_at_once_as_such(proxy: Bus) -> None:
    with pytest.raises(NoResponderError, match=r"vreg\.broker\.refresh"):
        await proxy.request("vreg.broker.refresh", b"", deadline=60)


async def test_a_handlers_failure_reaches_the_asker_without_its_inner_text(broker: Bus, proxy: Bus) -> None:
    async def fail(payload: bytes) -> bytes:
        if payload == b"ours":
            raise VregError("the role may not be assumed")
        raise ValueError("hunter2")

    async with answering(broker, fail, proxy):
        with pytest.raises(RequestFailedError, match="the role may not be assumed"):
            await proxy.request("vreg.broker.refresh", b"ours", deadline=5)
        with pytest.raises(RequestFailedError, match="internal error") as caught:
            await proxy.request("vreg.broker.refresh", b"bug", deadline=5)
    assert "hunter2" not in str(caught.value)


async def test_a_handler_that_takes_too_long_is_ended_and_the_asker_told(broker: Bus, proxy: Bus) -> None:
    ended = asyncio.Event()

    async def hang(_: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with answering(broker, hang, proxy, deadline=0.2):
        with pytest.raises(RequestFailedError, match="no answer within"):
            await proxy.request("vreg.broker.refresh", b"", deadline=5)
    assert ended.is_set()


async def test_the_asker_gives_up_at_its_own_deadline(broker: Bus, proxy: Bus) -> None:
    async def hang(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with answering(broker, hang, proxy):
        with pytest.raises(BusUnavailableError, match="within"):
            await proxy.request("vreg.broker.refresh", b"", deadline=0.2)


async def test_more_requests_than_can_be_worked_on_are_told_so(broker: Bus, proxy: Bus) -> None:
    gate = asyncio.Event()

    async def wait(payload: bytes) -> bytes:
        if payload != b"ready?":
            await gate.wait()
        return b"done"

    async with answering(broker, wait, proxy):
        asked = [
            asyncio.create_task(proxy.request("vreg.broker.refresh", b"", deadline=20)) for _ in range(300)
        ]
        await eventually(lambda: sum(task.done() for task in asked) == 300 - 256)
        gate.set()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RequestFailedError)]
    assert len(refused) == 300 - 256
    assert outcomes.count(b"done") == 256


def answering_all(
    bus: Bus, handler: Callable[[bytes], Awaitable[bytes]]
) -> AbstractAsyncContextManager[object]:
    return in_background(bus.respond("vreg.proxy.x", handler, ""))


async def test_everybody_who_listens_is_heard_and_who_fails_or_dawdles_is_left_out(
    server: NatsServer, api: Bus, proxy: Bus
) -> None:
    async def first(_: bytes) -> bytes:
        return b"first"

    async def second(_: bytes) -> bytes:
        return b"second"

    async def fail(_: bytes) -> bytes:
        raise RequestFailedError("not now")

    async def dawdle(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b"never"

    async def answers() -> list[bytes]:
        try:
            return sorted(await api.gather("vreg.proxy.x", b"", deadline=5, quiet=0.1))
        except BusUnavailableError:
            return []

    async def are_both() -> bool:
        return await answers() == [b"first", b"second"]

    async with (
        server.bus(PROXY) as another,
        answering_all(proxy, first),
        answering_all(another, second),
        answering_all(another, fail),
        answering_all(another, dawdle),
    ):
        await eventually(are_both)


async def test_asking_everybody_where_nobody_listens_fails_at_once_as_such(api: Bus) -> None:
    with pytest.raises(NoResponderError, match=r"vreg\.proxy\.x"):
        await api.gather("vreg.proxy.x", b"", deadline=60, quiet=60)


async def test_asking_everybody_where_all_fail_is_no_empty_answer(api: Bus, proxy: Bus) -> None:
    async def fail(_: bytes) -> bytes:
        raise RequestFailedError("not now")

    async def error() -> str:
        with pytest.raises(BusUnavailableError) as raised:
            await api.gather("vreg.proxy.x", b"", deadline=0.3, quiet=0.1)
        return str(raised.value)

    async def is_nobody_answered() -> bool:
        return "nobody answered" in await error()

    async with answering_all(proxy, fail):
        await eventually(is_nobody_answered)


async def test_an_answer_is_never_written_where_the_asker_points(
    server: NatsServer, broker: Bus, proxy: Bus
) -> None:
    calls = 0

    async def answer(_: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return b"forged"

    await broker.put("vreg_leases", "lease.1", b"true")
    async with answering(broker, answer, proxy), server.as_operator() as operator:
        before = calls
        await operator.publish("vreg.broker.refresh", b"", reply="$KV.vreg_leases.lease.1")
        await operator.flush()
        await proxy.request("vreg.broker.refresh", b"", deadline=5)
    assert calls == before + 1
    assert await server.value("vreg_leases", "lease.1") == b"true"


async def test_an_audit_event_published_twice_under_one_id_is_stored_once(
    api: Bus, server: NatsServer
) -> None:
    for _ in range(3):
        await api.publish("vreg.audit.api.x", b"fact", message_id="one")
    assert await server.stream_state("VREG_AUDIT", "messages") == 1


async def test_the_same_value_may_be_put_again_and_counts_as_a_change(api: Bus, proxy: Bus) -> None:
    values: list[bytes] = []

    async def on_entry(entry: Entry) -> None:
        values.append(entry.value)

    async with in_background(proxy.follow("vreg_config", "upstream.*", on_entry)):
        for number, value in enumerate((b"a", b"b", b"a")):
            await api.put("vreg_config", "upstream.1", value)
            await eventually(lambda wanted=number + 1: len(values) == wanted)
    assert values == [b"a", b"b", b"a"]


async def test_a_wrong_nkey_is_never_connected_and_says_why(
    server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = NatsServer(server.home / "other").nkeys[API].seed
    async with Bus(server.url, stranger, "stranger", inbox_prefix(API)) as bus:
        with pytest.raises(BusUnavailableError):
            await bus.put("vreg_config", "upstream.1", b"", deadline=0.5)
        assert not bus.connected
    assert "does not know this service's nkey" in capsys.readouterr().out


def test_a_seed_that_is_none_is_refused_before_anything_starts() -> None:
    with pytest.raises(BusPermissionError, match="nkey"):
        Bus("nats://127.0.0.1:1", Secret("nonsense"), "x", "vreg.inbox.api")


async def test_what_the_body_raises_comes_out_as_itself(server: NatsServer) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with server.bus(API):
            raise ValueError("mine")


async def test_a_callback_that_fails_by_a_bug_ends_the_body_too(server: NatsServer) -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    bus = server.bus(API)
    bus.on_connected(fail)
    with pytest.raises(ValueError, match="a bug"):
        async with bus:
            await asyncio.Event().wait()


async def test_a_claim_on_a_bucket_that_was_lost_has_it_made_again(server: NatsServer) -> None:
    async with server.bus(BROKER) as bus:
        await bus.ensure_bucket("vreg_leader")
        await bus.wait_connected()
        await server.delete_stream("KV_vreg_leader")

        async def is_claimed() -> bool:
            try:
                await bus.claim("vreg_leader", "broker", b"mine", revision=0, seconds=5)
            except BusUnavailableError:
                return False
            return True

        await eventually(is_claimed)


def telling(bus: Bus, teller: Callable[[bytes, Say], Awaitable[None]]) -> AbstractAsyncContextManager[object]:
    return in_background(bus.tell("vreg.broker.test", teller, "token-broker", deadline=5))


async def said(api: Bus, *, deadline: float = 10) -> list[bytes]:
    await api.wait_connected()
    async with aclosing(api.converse("vreg.broker.test", b"tell", deadline=deadline)) as answers:
        return [answer async for answer in answers]


async def test_a_conversation_has_every_answer_in_order_and_an_end(api: Bus, broker: Bus) -> None:
    async def count(question: bytes, say: Say) -> None:
        for number in range(100):
            await say(question + str(number).encode())

    async def is_told() -> bool:
        try:
            return await said(api) == [f"tell{number}".encode() for number in range(100)]
        except NoResponderError:
            return False

    async with telling(broker, count):
        await eventually(is_told)


async def test_a_conversation_that_breaks_off_tells_why_after_what_was_said(api: Bus, broker: Bus) -> None:
    async def fail(_: bytes, say: Say) -> None:
        await say(b"first")
        raise RequestFailedError("the disk is full")

    heard: list[bytes] = []

    async def is_told_why() -> bool:
        heard.clear()
        await api.wait_connected()
        try:
            async with aclosing(api.converse("vreg.broker.test", b"", deadline=10)) as answers:
                async for answer in answers:
                    heard.append(answer)  # noqa: PERF401 - what was heard before it broke off counts
        except NoResponderError:
            return False
        except RequestFailedError as error:
            return "the disk is full" in str(error)
        return False

    async with telling(broker, fail):
        await eventually(is_told_why)
    assert heard == [b"first"]


async def test_a_conversation_has_a_deadline_as_a_whole(api: Bus, broker: Bus) -> None:
    async def dawdle(_: bytes, say: Say) -> None:
        await say(b"first")
        await asyncio.Event().wait()

    async def is_given_up() -> bool:
        try:
            await said(api, deadline=0.3)
        except NoResponderError:
            return False
        except BusUnavailableError as error:
            return "had not ended" in str(error)
        return False

    async with telling(broker, dawdle):
        await eventually(is_given_up)


async def test_a_conversation_with_nobody_fails_at_once(api: Bus) -> None:
    with pytest.raises(NoResponderError):
        await said(api, deadline=60)
