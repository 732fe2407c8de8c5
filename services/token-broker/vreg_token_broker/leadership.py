"""Which of several brokers is active: whoever holds a key that ends by itself.

It saves exchanges and decides nothing else: generations keep leases in order whoever makes them. So a leader
that has lost the bus, where nobody could tell it of another, goes on; one that hears of another stops.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from vreg_shared.bus import BusConflictError, BusError, BusPermissionError, BusRefusedError, Entry
from vreg_shared.clock import Clock
from vreg_shared.messages.record import RecordRejectedError, SignedRecord, decode, encode
from vreg_shared.signing import SigningKey

BUCKET: Final = "vreg_leader"
KEY: Final = "broker"
TENURE_SECONDS: Final = 5
"""How long a claim holds: who ends without a word is followed within two seconds more."""
RENEW_SECONDS: Final = 1.5
RETRY_SECONDS: Final = 0.5
_log = structlog.get_logger(__name__)


class Elects(Protocol):
    """The part of the bus that is needed."""

    @property
    def connected(self) -> bool:
        """Whether the bus is there now."""
        ...

    async def claim(self, bucket: str, key: str, value: bytes, *, revision: int, seconds: int) -> int:
        """Store a value in the place of `revision`; raise BusConflictError or another BusError."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A broker that may lead. `holder` is of its state folder, which no two processes share."""

    broker: str
    holder: str


@dataclass(frozen=True, slots=True)
class _Tenure:
    """What the key says. An unreadable one is nobody's."""

    revision: int
    holder: str = ""
    is_given_up: bool = False


class Leadership:
    """Call `run` once, and `heard` for every entry of the bucket."""

    def __init__(self, bus: Elects, signing_key: SigningKey, candidate: Candidate, clock: Clock) -> None:
        self._bus = bus
        self._signing_key = signing_key
        self._candidate = candidate
        self._clock = clock
        self._seen = _Tenure(0)
        self._revision = 0
        self._is_cut_off = False
        self._is_forbidden = False
        self._until = float("-inf")
        self._elected = asyncio.Event()
        self._deposed = asyncio.Event()
        self._moved = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def seconds_left(self) -> float:
        """For how long no other broker can be leading; 0 when one may."""
        return max(self._until - self._clock.monotonic(), 0.0) if self._elected.is_set() else 0.0

    @property
    def is_leading(self) -> bool:
        """Whether no other broker can be leading: only then may leases be published and askers answered."""
        return self.seconds_left > 0

    @property
    def may_exchange(self) -> bool:
        """Whether an exchange would not be another broker's business, as far as we can know."""
        return self.is_leading or (self._is_cut_off and not self._bus.connected)

    async def wait_elected(self) -> None:
        """Return once this broker leads."""
        await self._elected.wait()

    async def wait_deposed(self) -> None:
        """Return once another broker leads."""
        await self._deposed.wait()

    async def wait_turn(self) -> None:
        """Return once an exchange may be made."""
        while not self.may_exchange:
            self._moved.clear()
            await self._moved.wait()

    async def heard(self, entry: Entry) -> None:
        """Take note of who holds the key."""
        self._seen = self._read(entry)
        is_left_over = self._is_ours(self._seen) and not self._elected.is_set()
        if self._is_vacant(self._seen) or is_left_over:
            self._wake.set()

    async def reconnected(self) -> None:
        """Take note that the bus is there again."""
        self._wake.set()

    async def run(self) -> None:
        """Stand for election, and hold on once elected, until cancelled."""
        while True:
            self._wake.clear()
            await self._stand()
            self._moved.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS if self._elected.is_set() else RETRY_SECONDS):
                    await self._wake.wait()

    async def resign(self) -> None:
        """Let another lead at once; call it when `run` has ended."""
        replaceable = self._replaceable() if self._elected.is_set() and self._bus.connected else ()
        self._elected.clear()
        for revision in replaceable:
            try:
                await self._claim(revision, is_given_up=True)
            except BusConflictError:
                continue
            except BusError as error:
                _log.info("leadership_ends_by_itself", reason=str(error))
            return

    async def _stand(self) -> None:
        self._is_cut_off = self._is_without_bus()
        if not self._bus.connected:
            return
        try:
            if await self._hold():
                self._is_forbidden = False
                self._win()
            elif self._elected.is_set() and (self._is_others(self._seen) or not self.is_leading):
                self._lose()
        except (BusPermissionError, BusRefusedError) as error:
            if not self._is_forbidden:
                _log.error(
                    "leadership_refused", reason=str(error), remedy="no broker leads until it is mended"
                )
            self._is_forbidden = True
        except BusError as error:
            # Whether the claim was stored is not known: what is heard of the key tells.
            _log.debug("leadership_not_confirmed", reason=str(error))
            self._is_cut_off = self._is_without_bus()

    def _is_without_bus(self) -> bool:
        """Whether the bus was lost while nobody else could be leading.

        Who notices later was paused, and cannot tell for how long.
        """
        return not self._bus.connected and (self._is_cut_off or self.is_leading)

    async def _hold(self) -> bool:
        """Claim the key in the place of what we know of, or of nothing, for it may have ended."""
        for revision in self._replaceable():
            asked = self._clock.monotonic()
            try:
                self._revision = await self._claim(revision, is_given_up=False)
            except BusConflictError:
                continue
            self._until = asked + TENURE_SECONDS
            return True
        return False

    def _replaceable(self) -> tuple[int, ...]:
        """Return the revisions whose place we may take."""
        own = {self._revision} if self._elected.is_set() else set()
        seen = {self._seen.revision} if self._is_vacant(self._seen) or self._is_ours(self._seen) else set()
        return *sorted(own | seen - {0}, reverse=True), 0

    async def _claim(self, revision: int, *, is_given_up: bool) -> int:
        body = json.dumps(
            {
                "broker": self._candidate.broker,
                "holder": self._candidate.holder,
                "is_given_up": is_given_up,
            }
        )
        version = int(self._clock.now().timestamp() * 1000)
        record = encode(SignedRecord(KEY, version, deleted=False, body=body), self._signing_key, BUCKET)
        return await self._bus.claim(BUCKET, KEY, record, revision=revision, seconds=TENURE_SECONDS)

    def _win(self) -> None:
        if not self._elected.is_set():
            _log.info("broker_leads", broker=self._candidate.broker)
        self._deposed.clear()
        self._elected.set()

    def _lose(self) -> None:
        _log.warning("broker_leads_no_more", broker=self._candidate.broker)
        self._elected.clear()
        self._deposed.set()

    def _read(self, entry: Entry) -> _Tenure:
        try:
            said = json.loads(decode(entry.value, self._signing_key.verifying, BUCKET, KEY).body)
            return _Tenure(entry.revision, str(said["holder"]), bool(said["is_given_up"]))
        except (RecordRejectedError, ValueError, KeyError, TypeError):
            return _Tenure(entry.revision, is_given_up=True)

    def _is_ours(self, tenure: _Tenure) -> bool:
        return tenure.holder == self._candidate.holder

    def _is_vacant(self, tenure: _Tenure) -> bool:
        return tenure.revision > 0 and tenure.is_given_up and tenure.revision != self._revision

    def _is_others(self, tenure: _Tenure) -> bool:
        return tenure.revision > 0 and not tenure.is_given_up and not self._is_ours(tenure)
