"""Every change in one place: what the bus must hear of it, and what the audit will say."""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel

from vreg_api import problems
from vreg_api.authentication import Actor
from vreg_api.store import outbox, tombstones
from vreg_api.store.database import Transaction
from vreg_shared.clock import Clock
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import audit_event
from vreg_shared.messages.record import MAX_RECORD_BYTES
from vreg_shared.signing import SigningKey

_MAX_BODY_BYTES: Final = MAX_RECORD_BYTES // 2
"""A record travels as JSON text within JSON: quoting may make it longer."""

Action = Literal["created", "changed", "deleted", "purged"]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one thing. `fields` names what changed; values are nobody's business."""

    action: Action
    noun: str
    key: str
    name: str
    version: int
    fields: tuple[str, ...] = ()


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
        await outbox.add(tx, change.key, self._event(actor, change))

    def _event(self, actor: Actor, change: Change) -> str:
        event = audit_event(
            writer=Service.API,
            instance=self._instance,
            kind=f"config.{change.action}",
            subject=change.key,
            time=self._clock.now(),
            data={
                "actor": {"access_id": actor.access_id, "name": actor.name},
                "noun": change.noun,
                "name": change.name,
                "version": change.version,
                "fields": list(change.fields),
            },
            signing_key=self._signing_key,
        )
        return event.model_dump_json()
