"""Every change in one place: what the bus must hear of it, and what the audit will say."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from pydantic import BaseModel

from vreg_api import problems
from vreg_api.authentication import Actor
from vreg_api.diff import changes
from vreg_api.store import outbox, tombstones
from vreg_api.store.database import Transaction
from vreg_shared.clock import Clock
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import AuditEvent, audit_event
from vreg_shared.messages.audit_facts import (
    ConfigChanged,
    ConfigCreated,
    ConfigDeleted,
    ConfigPurged,
    Facts,
    Who,
)
from vreg_shared.messages.record import MAX_RECORD_BYTES
from vreg_shared.signing import SigningKey

_MAX_BODY_BYTES: Final = MAX_RECORD_BYTES // 2
"""A record travels as JSON text within JSON: quoting may make it longer."""

Action = Literal["created", "changed", "deleted", "purged"]
_FACTS: Final = MappingProxyType(
    {"created": ConfigCreated, "changed": ConfigChanged, "deleted": ConfigDeleted, "purged": ConfigPurged}
)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one thing: `fields` names what changed, `before` and `after` are its rows."""

    action: Action
    noun: str
    key: str
    name: str
    version: int
    fields: tuple[str, ...] = ()
    before: object | None = None
    after: object | None = None


class Ledger:
    """Writes the outbox row of a change, and its tombstone, in the transaction that makes the change."""

    def __init__(self, signing_key: SigningKey, instance: str, clock: Clock) -> None:
        self._signing_key = signing_key
        self._instance = instance
        self._clock = clock

    async def record(self, tx: Transaction, actor: Actor, change: Change, body: BaseModel | None) -> None:
        """Let the bus hear of a change; `body` is the record as it is now, None if deleted.

        Raises ProblemError when the record is too large for the bus.
        """
        if body is None:
            await tombstones.add(tx, change.key, change.version, self._clock.now())
        elif len(body.model_dump_json().encode()) > _MAX_BODY_BYTES:
            limit = f"{_MAX_BODY_BYTES // 1024} KiB"
            raise problems.invalid(
                "body", "too_large", f"the {change.noun} as a whole is larger than {limit}"
            )
        await outbox.add(tx, change.key, self._told(actor, change).line())

    async def note(self, tx: Transaction, subject: str, facts: Facts) -> AuditEvent:
        """Let the audit hear of something that is no change of a record; return the event."""
        event = self._event(subject, facts)
        await outbox.add(tx, outbox.NO_RECORD, event.line())
        return event

    def _told(self, actor: Actor, change: Change) -> AuditEvent:
        facts = _FACTS[change.action](
            actor=Who(access_id=actor.access_id, name=actor.name),
            noun=change.noun,
            name=change.name,
            version=change.version,
            fields=change.fields,
            changes=changes(change.before, change.after),
        )
        return self._event(change.key, facts)

    def _event(self, subject: str, facts: Facts) -> AuditEvent:
        return audit_event(
            writer=Service.API,
            instance=self._instance,
            kind=facts.kind,
            subject=subject,
            time=self._clock.now(),
            data=facts.told(),
            signing_key=self._signing_key,
        )
