"""Events as a token-broker or a proxy would publish them, with the numbers and hashes of a journal."""

import hashlib

from tests.support.clock import ManualClock
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import AuditEvent, audit_event
from vreg_shared.signing import SigningKey


class AuditWriter:
    """Signs one event after the other; `lines` are all of them."""

    def __init__(self, key: SigningKey, clock: ManualClock, instance: str = "broker-1") -> None:
        self.lines: list[AuditEvent] = []
        self._key = key
        self._clock = clock
        self._instance = instance
        self._previous = "0" * 64

    def event(self, kind: str = "exchange.outcome", subject: str = "idn1", **facts: object) -> AuditEvent:
        place = {"sequence": len(self.lines) + 1, "previous": self._previous}
        made = audit_event(
            writer=Service.TOKEN_BROKER,
            instance=self._instance,
            kind=kind,
            subject=subject,
            time=self._clock.now(),
            data=facts | {"journal": place},
            signing_key=self._key,
        )
        self._previous = hashlib.sha256(made.line().encode()).hexdigest()
        self.lines.append(made)
        return made
