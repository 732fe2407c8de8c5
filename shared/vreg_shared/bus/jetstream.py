"""The few words of JetStream we speak, as the server's JSON: publish, make a stream, make a consumer.

Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from vreg_shared.bus.errors import BusConflictError, BusHinderedError, BusRefusedError, BusUnavailableError
from vreg_shared.bus.session import Message, Session

HEARTBEAT_SECONDS: Final = 0.5
_API: Final = "$JS.API"
_CALL_SECONDS: Final = 2.0
_INACTIVE_SECONDS: Final = 5.0
_NANOSECONDS: Final = 1_000_000_000
_FIRST_SERVER_FAULT: Final = 500
_WRONG_LAST_SEQUENCE: Final = 10071
_FEED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANOSECONDS),
        "inactive_threshold": int(_INACTIVE_SECONDS * _NANOSECONDS),
        "mem_storage": True,
        "num_replicas": 1,
    }
)
"""Every feed: nothing is acknowledged, and the server forgets it soon after we are gone."""
_KEY: Final = re.compile(r"[A-Za-z0-9_=/-]+(?:\.[A-Za-z0-9_=/-]+)*")


class MissingStreamError(BusUnavailableError):
    """The bucket or stream does not exist yet: its creator has not connected since the store was lost."""


def value_subject(bucket: str, key: str) -> str:
    """Return where the value of `key` is published; raise BusRefusedError unless it is a plain key."""
    if _KEY.fullmatch(key) is None:
        raise BusRefusedError(f"{key!r} cannot be a key of {bucket}: letters, digits and -_=/ between dots")
    return f"$KV.{bucket}.{key}"


async def publish(session: Session, subject: str, payload: bytes, message_id: str) -> None:
    """Store one message, once for each `message_id` within the server's dedupe window (2 minutes)."""
    headers = {"Nats-Msg-Id": message_id}
    answer = await session.call(subject, payload, deadline=_CALL_SECONDS, headers=headers)
    _parsed(answer, subject)


async def claim(session: Session, subject: str, payload: bytes, revision: int, seconds: int) -> int:
    """Store a value for some seconds, if the latest of its subject is still `revision` (0: there is none).

    Returns the new revision; raises BusConflictError.
    """
    headers = {"Nats-Expected-Last-Subject-Sequence": str(revision), "Nats-TTL": f"{seconds}s"}
    answer = await session.call(subject, payload, deadline=_CALL_SECONDS, headers=headers)
    return int(_parsed(answer, subject)["seq"])


def value_of(message: Message) -> bytes | None:
    """Return the value, or None for a marker of deletion or expiry: absence never deletes."""
    if "KV-Operation" in message.headers or "Nats-Marker-Reason" in message.headers:
        return None
    return message.payload or None


async def create_stream(session: Session, configuration: Mapping[str, Any]) -> None:
    """Make a stream, or give an older one today's configuration.

    It is looked at first: the server counts a stream's room again before it notices that it has it already.
    """
    name, payload = configuration["name"], json.dumps(configuration).encode()
    try:
        present = (await _ask(session, f"STREAM.INFO.{name}", b""))["config"]
    except MissingStreamError:
        await _ask(session, f"STREAM.CREATE.{name}", payload)
    else:
        if any(present.get(field, False) != wanted for field, wanted in configuration.items()):
            await _ask(session, f"STREAM.UPDATE.{name}", payload)


async def stream_birth(session: Session, name: str) -> str:
    """Return when a stream was made; another birth is another stream, whatever its name."""
    return str((await _ask(session, f"STREAM.INFO.{name}", b""))["created"])


@dataclass(frozen=True, slots=True)
class Consumer:
    """An ephemeral feed of one bucket: latest of every key first, then each change."""

    stream: str
    name: str
    pending: int


async def create_reader(session: Session, stream: str, subjects: str, inbox: str, start: int) -> Consumer:
    """Have the server feed `inbox` with all that a stream holds from number `start` on, and what follows.

    It sends no more than it is answered for by flow control, so a slow reader is not drowned.
    """
    name = f"vreg-{secrets.token_hex(8)}"
    configuration = {
        "name": name,
        "deliver_policy": "by_start_sequence" if start > 1 else "all",
        **({"opt_start_seq": start} if start > 1 else {}),
        "deliver_subject": inbox,
        "filter_subject": subjects,
        **_FEED,
    }
    payload = json.dumps({"stream_name": stream, "config": configuration, "action": "create"}).encode()
    answer = await _ask(session, f"CONSUMER.CREATE.{stream}.{name}.{subjects}", payload)
    return Consumer(stream, name, int(answer.get("num_pending", 0)))


async def create_consumer(session: Session, bucket: str, key_filter: str, inbox: str) -> Consumer:
    """Have the server feed `inbox`. The name is always new, so no older consumer can be in its way."""
    stream, name, subjects = f"KV_{bucket}", f"vreg-{secrets.token_hex(8)}", f"$KV.{bucket}.{key_filter}"
    configuration = {
        "name": name,
        "deliver_policy": "last_per_subject",
        "deliver_subject": inbox,
        "filter_subject": subjects,
        **_FEED,
    }
    payload = json.dumps({"stream_name": stream, "config": configuration, "action": "create"}).encode()
    answer = await _ask(session, f"CONSUMER.CREATE.{stream}.{name}.{subjects}", payload)
    return Consumer(stream, name, int(answer.get("num_pending", 0)))


async def _ask(session: Session, verb: str, payload: bytes) -> Mapping[str, Any]:
    subject = f"{_API}.{verb}"
    return _parsed(await session.call(subject, payload, deadline=_CALL_SECONDS), subject)


def _parsed(answer: Message, subject: str) -> Mapping[str, Any]:
    """Return the server's JSON, or raise what its error means to us."""
    try:
        parsed = json.loads(answer.payload)
        error = parsed.get("error")
    except (ValueError, AttributeError) as malformed:
        raise BusRefusedError(f"{subject}: the server's answer is not JSON") from malformed
    if not error:
        return dict(parsed)
    if error.get("err_code") == _WRONG_LAST_SEQUENCE:
        raise BusConflictError(f"{subject}: {error.get('description', 'changed meanwhile')}")
    code, reason = int(error.get("code", 0)), f"{subject}: {error.get('description', 'refused')}"
    if code == 404:  # noqa: PLR2004 - as in HTTP
        raise MissingStreamError(reason)
    if code >= _FIRST_SERVER_FAULT:
        raise BusHinderedError(reason)
    raise BusRefusedError(reason)
