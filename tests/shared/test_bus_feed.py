"""When a feed stops believing: every gap, and only gaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.bus import Entry
from vreg_shared.bus.follow import Feed, FeedBrokenError
from vreg_shared.bus.session import Message


def delivery(number: int, key: str = "a", value: bytes = b"v", pending: int = 0, **headers: str) -> Message:
    reply = f"$JS.ACK.KV_b.name.1.{number + 100}.{number}.1700000000.{pending}"
    return Message(f"$KV.b.{key}", reply, value, headers, "")


def heartbeat(last: int, **headers: str) -> Message:
    return Message("inbox", "", b"", {"Status": "100", "Nats-Last-Consumer": str(last)} | headers, "100")


def test_the_latest_value_of_each_key_is_taken_once() -> None:
    feed = Feed("$KV.b.")
    for message in (delivery(1, "a", b"1", 2), delivery(2, "b", b"2", 1), delivery(3, "a", b"3")):
        feed.receive(message)
    assert feed.take() == [Entry("a", b"3", 103), Entry("b", b"2", 102)]
    assert feed.take() == []
    assert feed.caught_up


def test_it_is_caught_up_only_once_nothing_is_pending() -> None:
    feed = Feed("$KV.b.")
    feed.receive(delivery(1, pending=1))
    assert not feed.caught_up
    feed.receive(delivery(2, pending=0))
    feed.receive(delivery(3, pending=5))
    assert feed.caught_up


def test_the_newer_form_of_the_servers_counters_is_read_too() -> None:
    feed = Feed("$KV.b.")
    feed.receive(Message("$KV.b.a", "$JS.ACK.hub.hash.KV_b.name.1.7.1.1700000000.0.random", b"v", {}, ""))
    assert feed.take() == [Entry("a", b"v", 7)]
    assert feed.caught_up


@pytest.mark.parametrize("number", [0, 1, 3, -1])
def test_a_delivery_out_of_turn_breaks_it(number: int) -> None:
    feed = Feed("$KV.b.")
    feed.receive(delivery(1))
    feed.receive(delivery(number))
    with pytest.raises(FeedBrokenError):
        feed.take()


@pytest.mark.parametrize("reply", ["", "$JS.ACK", "$JS.ACK.KV_b.name.1.x.y.z.w", "elsewhere"])
def test_a_delivery_without_counters_breaks_it(reply: str) -> None:
    feed = Feed("$KV.b.")
    feed.receive(Message("$KV.b.a", reply, b"v", {}, ""))
    with pytest.raises(FeedBrokenError):
        feed.take()


def test_a_heartbeat_that_counts_more_than_arrived_breaks_it() -> None:
    feed = Feed("$KV.b.")
    feed.receive(delivery(1))
    feed.receive(heartbeat(1))
    feed.take()
    feed.receive(heartbeat(2))
    with pytest.raises(FeedBrokenError, match="delivered 2, 1 arrived"):
        feed.take()


def test_flow_control_is_answered_where_the_server_says() -> None:
    feed = Feed("$KV.b.")
    asked = Message("inbox", "$JS.FC.KV_b.name.x", b"", {"Status": "100"}, "100")
    assert feed.receive(asked) == "$JS.FC.KV_b.name.x"
    stalled = heartbeat(0, **{"Nats-Consumer-Stalled": "$JS.FC.KV_b.name.y"})
    assert feed.receive(stalled) == "$JS.FC.KV_b.name.y"


@pytest.mark.parametrize(
    "headers", [{"KV-Operation": "DEL"}, {"KV-Operation": "PURGE"}, {"Nats-Marker-Reason": "MaxAge"}]
)
def test_a_marker_of_deletion_hands_over_nothing(headers: dict[str, str]) -> None:
    feed = Feed("$KV.b.")
    feed.receive(delivery(1, "a", b"", **headers))
    feed.receive(delivery(2, "b", b""))
    assert feed.take() == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(min_size=1, max_size=3)), max_size=30), st.data())
def test_whatever_is_lost_is_noticed_by_the_next_message(
    changes: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    """Either the taker ends with what the writer wrote last, or the feed says that it is broken."""
    lost = data.draw(st.sets(st.integers(1, max(1, len(changes)))))
    feed, taken = Feed("$KV.b."), {}
    try:
        for number, (key, value) in enumerate(changes, start=1):
            if number not in lost:
                feed.receive(delivery(number, key, value))
            if data.draw(st.booleans()):
                taken |= {entry.key: entry.value for entry in feed.take()}
        feed.receive(heartbeat(len(changes)))
        taken |= {entry.key: entry.value for entry in feed.take()}
    except FeedBrokenError:
        assert lost
    else:
        assert taken == dict(changes)
