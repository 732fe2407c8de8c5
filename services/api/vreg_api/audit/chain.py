"""What the archive makes of an event before it keeps it: whose it is, and what it is found by. Pure."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vreg_shared.canonical import canonical_json
from vreg_shared.messages.audit import AuditEvent, AuditEventRejectedError, parse, verify
from vreg_shared.messages.audit_chain import Keys, writer_place
from vreg_shared.signing import SignatureInvalidError, SigningKey, VerifyingKey

_COLUMN_LIMIT: Final = 200
_MAX_NUMBER: Final = 2**63 - 1
_THINGS: Final = ("identity", "upstream", "registry", "access")
_FIELDS: Final = {f"{noun}_id": noun for noun in _THINGS} | {"access_id": "access"}


@dataclass(frozen=True, slots=True)
class Filed:
    """An event that may be archived: its text as published, and what it is found by."""

    event: AuditEvent
    text: str
    source_sequence: int | None
    actor: str | None
    outcome: str | None
    concerned: tuple[str, ...]


def filed(text: str, keys: Keys, bus_subject: str | None = None) -> Filed:
    """Return what may be archived; raise AuditEventRejectedError unless its writer signed and sent it."""
    event = parse(text)
    if bus_subject is not None and bus_subject != event.bus_subject:
        raise AuditEventRejectedError(
            f"audit event {event.id} came on {bus_subject}, not on {event.bus_subject}"
        )
    key = keys.get(event.writer)
    if key is None:
        raise AuditEventRejectedError(f"there is no public key of {event.writer.value}")
    verify(event, key)
    number, _ = writer_place(event.data)
    return Filed(
        event=event,
        text=text,
        source_sequence=number if 0 < number <= _MAX_NUMBER else None,
        actor=_actor(event.data),
        outcome=_plain(event.data.get("outcome")),
        concerned=tuple(sorted(set(_concerned(event)))),
    )


def _actor(facts: Mapping[str, Any]) -> str | None:
    actor = facts.get("actor")
    return _plain(actor.get("name")) if isinstance(actor, Mapping) else None


def _concerned(event: AuditEvent) -> Iterator[str]:
    """Yield the keys of the things an event names, and of who did it."""
    noun, _, identifier = event.subject.partition(".")
    if noun in _THINGS and identifier:
        yield event.subject[:_COLUMN_LIMIT]
    for name, noun in _FIELDS.items():
        if value := _plain(event.data.get(name)):
            yield f"{noun}.{value}"
    actor = event.data.get("actor")
    if isinstance(actor, Mapping) and (value := _plain(actor.get("access_id"))):
        yield f"actor.{value}"


def _plain(value: object) -> str | None:
    """Return text that any database takes in a column."""
    if not isinstance(value, str) or not value:
        return None
    return value.replace("\0", "")[:_COLUMN_LIMIT]


def head_signature(sequence: int, head_hash: str, key: SigningKey) -> str:
    """Sign the last link, so that nobody who can only write the database can shorten the chain."""
    return base64.b64encode(key.sign(_head_bytes(sequence, head_hash))).decode()


def is_our_head(sequence: int, head_hash: str, signature: str, key: VerifyingKey) -> bool:
    """Whether the api signed this last link."""
    try:
        key.verify(base64.b64decode(signature, validate=True), _head_bytes(sequence, head_hash))
    except (binascii.Error, ValueError, SignatureInvalidError):
        return False
    return True


def _head_bytes(sequence: int, head_hash: str) -> bytes:
    return b"vreg/audit-head/1" + canonical_json({"sequence": sequence, "hash": head_hash})
