"""The archive's hash chain: each link names the one before, so that nothing is altered or lost unseen.

Anybody can verify an export with the writers' public keys and nothing else; see docs/audit.md.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vreg_shared.canonical import canonical_json
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import AuditEvent, AuditEventRejectedError, parse, verify
from vreg_shared.signing import VerifyingKey

START: Final = "0" * 64
"""What the first link names as the one before it."""
Keys = Mapping[Service, VerifyingKey]


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One archived event; `event` is its JSON text as its writer published it."""

    sequence: int
    previous_hash: str
    hash: str
    event: str


@dataclass(slots=True)
class Verified:
    """How far a chain was followed; give it to `flaws` again to go on from there."""

    sequence: int = 0
    hash: str = START
    writers: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By source: the number of its last event here, and the SHA-256 of that event's text."""


def exported(link: ChainLink) -> str:
    """Return a link as a line of an export, whatever line ends Unicode knows."""
    told = {
        "sequence": link.sequence,
        "previous_hash": link.previous_hash,
        "hash": link.hash,
        "event": json.loads(link.event),
    }
    return _compact(told)


def imported(line: str) -> ChainLink:
    """Read a line of an export; raise ValueError."""
    told = json.loads(line)
    try:
        number, previous, own, event = (told[name] for name in ("sequence", "previous_hash", "hash", "event"))
    except (KeyError, TypeError) as error:
        message = "it is no line of an export"
        raise ValueError(message) from error
    if not (isinstance(number, int) and isinstance(previous, str) and isinstance(own, str)):
        message = "it is no line of an export"
        raise ValueError(message)  # noqa: TRY004 - what a text says, not what a caller passed
    return ChainLink(number, previous, own, _compact(event))


def _compact(value: object) -> str:
    """Spell JSON as writers do."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def link_hash(sequence: int, previous_hash: str, event: str) -> str:
    """Return the hash of a link; raise ValueError if the event is no JSON."""
    link = {"sequence": sequence, "previous_hash": previous_hash, "event": json.loads(event)}
    return hashlib.sha256(canonical_json(link)).hexdigest()


def flaws(links: Iterable[ChainLink], keys: Keys, verified: Verified) -> Iterator[str]:
    """Yield what is wrong with links in their order, each named by its number; move `verified` along."""
    for link in links:
        if link.sequence != verified.sequence + 1:
            yield _misplaced(link.sequence, verified.sequence)
        elif link.previous_hash != verified.hash:
            yield f"event {link.sequence} does not follow event {verified.sequence}: one of them was replaced"
        yield from _flaws_of(link, keys, verified)
        verified.sequence, verified.hash = link.sequence, link.hash


def _misplaced(sequence: int, expected_after: int) -> str:
    if sequence <= expected_after:
        return f"event {sequence} stands after event {expected_after}"
    missing = (
        f"{expected_after + 1}"
        if sequence == expected_after + 2
        else f"{expected_after + 1} to {sequence - 1}"
    )
    return f"event {missing} is missing"


def _flaws_of(link: ChainLink, keys: Keys, verified: Verified) -> Iterator[str]:
    try:
        if link_hash(link.sequence, link.previous_hash, link.event) != link.hash:
            yield f"event {link.sequence} was altered: its hash does not fit"
        event = parse(link.event)
        verify(event, keys[event.writer])
    except (AuditEventRejectedError, ValueError, KeyError) as error:
        yield f"event {link.sequence} was altered: {error}"
        return
    yield from _flaws_at_writer(link, event, verified)


def _flaws_at_writer(link: ChainLink, event: AuditEvent, verified: Verified) -> Iterator[str]:
    """Compare with the event its writer numbered before it, if that came just before."""
    number, previous = writer_place(event.data)
    if not number:
        return
    last, last_hash = verified.writers.get(event.source, (0, ""))
    if number == last + 1 and last and previous != last_hash:
        yield f"event {link.sequence} does not follow event {last} of {event.source}"
    verified.writers[event.source] = (number, hashlib.sha256(link.event.encode()).hexdigest())


def writer_place(facts: Mapping[str, Any]) -> tuple[int, str]:
    """Return the number its writer gave an event, and the hash of the one before; 0 if it does not count."""
    place = facts.get("journal")
    if not isinstance(place, Mapping):
        return 0, ""
    number, previous = place.get("sequence"), place.get("previous")
    return (number, previous) if isinstance(number, int) and isinstance(previous, str) else (0, "")
