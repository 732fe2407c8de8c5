"""Audit events about exchanges: signed, chained, durable before anything follows, and without a secret."""

import asyncio
import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vreg_shared.clock import Clock
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import AuditEvent, AuditEventRejectedError, audit_event, verify
from vreg_shared.messages.audit_facts import (
    ExchangeIntent,
    ExchangeLateOutcome,
    ExchangeOutcome,
    ExchangeRefused,
    LeaseWithdrawn,
)
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey, VerifyingKey
from vreg_shared.telemetry import redact_text
from vreg_token_broker.journal import START, AuditUnavailableError, Journal, Link, Position, hash_of

INTENT: Final = ExchangeIntent.kind
OUTCOME: Final = ExchangeOutcome.kind
LATE_OUTCOME: Final = ExchangeLateOutcome.kind
REFUSED: Final = ExchangeRefused.kind
WITHDRAWN: Final = LeaseWithdrawn.kind
_FINGERPRINT_BYTES: Final = 16
_log = structlog.get_logger(__name__)


class Ledger:
    """Writes events to the journal, one at a time, in a thread of its own.

    A cancelled `record` goes on in its thread: an event may exist that nobody heard of, never the reverse.
    """

    def __init__(self, journal: Journal, signing_key: SigningKey, instance: str, clock: Clock) -> None:
        self._journal = journal
        self._signing_key = signing_key
        self._fingerprint_key = _fingerprint_key(signing_key)
        self._instance = instance
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._written = asyncio.Event()

    async def open(self) -> int:
        """Open the journal and close what was left open; return how many exchanges ended unheard.

        An intent without an outcome is of a broker that died between the two: whether the cloud gave
        anything is not known, and the journal says so. Raises AuditUnavailableError.
        """
        await self._run(self._journal.open)
        unheard = await self._run(self._unheard)
        for intent in unheard:
            known = {name: value for name, value in intent.data.items() if name != "journal"}
            facts = known | {"outcome": "unknown", "reason": "broker_ended"}
            with suppress(AuditUnavailableError):  # logged; the next start closes it
                await self.record(OUTCOME, intent.subject, facts)
        return len(unheard)

    async def record(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        """Return once the event is on disk; raise AuditUnavailableError. `facts` are JSON values."""

        def line_of(link: Link) -> bytes:
            event = audit_event(
                writer=Service.TOKEN_BROKER,
                instance=self._instance,
                kind=kind,
                subject=subject,
                time=self._clock.now(),
                data=_clean(facts) | {"journal": {"sequence": link.sequence, "previous": link.previous_hash}},
                signing_key=self._signing_key,
            )
            return event.line().encode()

        try:
            await self._run(lambda: self._journal.append(line_of))
        except AuditUnavailableError as error:
            _log.critical("audit_unavailable", kind=kind, subject=subject, reason=str(error))
            raise
        self._written.set()

    def fingerprint(self, credential: Secret) -> str:
        """Return 128 bits that tell equal credentials from different ones and say nothing else of them."""
        digest = hmac.new(self._fingerprint_key, credential.reveal().encode(), hashlib.sha256).digest()
        return digest[:_FINGERPRINT_BYTES].hex()

    async def read(self, after: Position, limit: int) -> list[tuple[Position, bytes]]:
        """Return durable events after a position, as they are written."""
        lines: list[tuple[Position, bytes]] = await self._run(lambda: self._journal.read(after, limit))
        return lines

    async def forget(self, published: Position) -> None:
        """Let go of old events that were published."""
        await self._run(lambda: self._journal.forget(published))

    async def wait_written(self) -> None:
        """Return once something was written since the last call returned."""
        await self._written.wait()
        self._written.clear()

    async def close(self) -> None:
        """Finish what is being written and close the journal."""
        await self._run(self._journal.close)
        self._thread.shutdown(wait=False)

    def _unheard(self) -> list[AuditEvent]:
        open_intents: dict[str, AuditEvent] = {}
        for line in self._journal.recent():
            try:
                event = AuditEvent.model_validate_json(line)
            except ValueError:
                _log.exception("journal_line_unreadable")
                continue
            exchange_id = str(event.data.get("exchange_id", ""))
            if event.type == f"vreg.{INTENT}":
                open_intents[exchange_id] = event
            elif event.type == f"vreg.{OUTCOME}":
                open_intents.pop(exchange_id, None)
        return list(open_intents.values())

    async def _run(self, work: Any) -> Any:  # noqa: ANN401 - passes through what the work returns
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def problems(lines: list[bytes], verifying_key: VerifyingKey) -> list[str]:
    """Return what is wrong with a journal's lines, oldest first: altered, missing, moved or forged events.

    The first line may be any, since old files go; it is believed to follow what it says it follows.
    """
    found: list[str] = []
    expected: Link | None = None
    for line in lines:
        try:
            event = AuditEvent.model_validate_json(line)
            place = event.data["journal"]
            link = Link(int(place["sequence"]), str(place["previous"]))
            verify(event, verifying_key)
        except (ValueError, KeyError, TypeError, AuditEventRejectedError) as error:
            after = expected.sequence if expected is not None else 1
            found.append(f"event {after} was altered: {type(error).__name__}")
            expected = Link(after + 1, hash_of(line))
            continue
        if expected is not None and link != expected:
            found.append(
                f"event {link.sequence} does not follow the event before it ({expected.sequence - 1})"
            )
        if expected is None and link.sequence == 1 and link.previous_hash != START:
            found.append("event 1 does not begin the chain")
        expected = Link(link.sequence + 1, hash_of(line))
    return found


def _clean(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts without what looks like a credential: providers put odd things into their error texts."""
    cleaned: dict[str, Any] = json.loads(
        json.dumps(facts),
        object_hook=lambda inner: {name: _clean_value(value) for name, value in inner.items()},
    )
    return cleaned


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return [_clean_value(each) for each in value]
    return value


def _fingerprint_key(signing_key: SigningKey) -> bytes:
    hkdf = HKDF(SHA256(), length=32, salt=None, info=b"vreg/audit/token-fingerprint")
    return hkdf.derive(signing_key.key.private_bytes_raw())
