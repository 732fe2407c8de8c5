"""Parts of a broker's world that tests put together: records, keys, fakes, and time that a test moves."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from tests.support.clock import ManualClock
from vreg_shared.auth_method import AuthMethod, Objection
from vreg_shared.catalogue import catalogue
from vreg_shared.lease import Lease, RegistryCredential
from vreg_shared.messages.identity import IdentityRecord, seal_context
from vreg_shared.messages.lease import key_of, seal_lease
from vreg_shared.messages.record import SignedRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.provider import Presentation
from vreg_shared.providers.aws.auth_methods import AccessKey
from vreg_shared.providers.basic.auth_methods import Password
from vreg_shared.sealing import SealingKey, seal
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import ExchangeOrder, Issued, Outcome
from vreg_token_broker.generations import Generations
from vreg_token_broker.journal import AuditUnavailableError
from vreg_token_broker.lease_book import LeaseBook, Plan
from vreg_token_broker.orders import Orders
from vreg_token_broker.records import FoundLeases
from vreg_token_broker.refresher import Exchanges, Refresher, RefresherWorld

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
OTHER_HOST = "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
ACCESS_KEY = AccessKey(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=Secret("canary-secret-key"))
PASSWORD = Password(username="robot", password=Secret("canary-password"))
USABLE_FOR = {"partition": "aws", "accounts": ["123456789012", "210987654321"]}


def identity(
    sealing_key: SealingKey,
    method: AuthMethod = ACCESS_KEY,
    *,
    identity_id: str = "idn1",
    usable_for: dict[str, Any] | None = None,
    version: int = 1,
) -> IdentityRecord:
    """Return a record as the api makes it, secrets sealed to the broker."""
    usable = USABLE_FOR if usable_for is None else usable_for
    secrets = method.secrets_json()
    assert secrets is not None
    context = seal_context(identity_id, method.tag, usable, version)
    return IdentityRecord(
        id=identity_id,
        name=f"name of {identity_id}",
        method=method.tag,
        settings=method.plain_settings(),
        usable_for=usable,
        external_id=f"vreg-external-{identity_id}",
        sealed_secrets=seal(secrets, sealing_key.public, context),
        credential_version=version,
    )


def upstream(upstream_id: str = "ups1", host: str = HOST, **changes: object) -> UpstreamRecord:
    """Return a record as the api makes it."""
    known = {"id": upstream_id, "name": f"name of {upstream_id}", "kind": "ecr", "host": host}
    return UpstreamRecord.model_validate(known | {"identity_id": "idn1"} | changes)


class FakeExchange:
    """Answers what a test tells it to; by default issues a new credential that lives for `life`."""

    def __init__(self, clock: ManualClock, life: float | None = 12 * 3600.0) -> None:
        self.clock = clock
        self.life = life
        self.orders: list[ExchangeOrder] = []
        self.next_outcomes: list[Outcome | Exception] = []
        self.standing_outcome: Outcome | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        self.orders.append(order)
        number = len(self.orders)
        await self.gate.wait()
        if self.next_outcomes:
            outcome = self.next_outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        return self.standing_outcome or self.issued(f"token-{number}")

    def issued(self, secret: str) -> Issued:
        now = self.clock.now()
        not_after = None if self.life is None else now + timedelta(seconds=self.life)
        credential = RegistryCredential("AWS", Secret(secret), Presentation.BASIC)
        return Issued(credential, now, not_after, "arn:aws:iam::123456789012:user/vreg", ("req-1",))


@dataclass
class FakeLedger:
    """Keeps events in memory; `is_full` is a disk that takes no more."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    is_full: bool = False

    async def record(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        if self.is_full:
            raise AuditUnavailableError("the disk is full")
        self.events.append((kind, subject, facts))

    def fingerprint(self, credential: Secret) -> str:
        return f"fingerprint of {len(credential.reveal())} characters"

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]


@dataclass
class FakePublisher:
    """Remembers what was published, taken back and repeated."""

    leases: list[Lease] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def publish(self, lease: Lease) -> None:
        self.leases.append(lease)

    def withdraw(self, scope: str, instant_ms: int) -> None:
        assert instant_ms > 0
        self.withdrawn.append(scope)

    def repeat(self, scope: str) -> None:
        self.repeated.append(scope)

    def found(self, key: str, version: int, raw: bytes) -> None:
        del key, version, raw

    def withdraw_key(self, key: str, instant_ms: int) -> None:
        raise AssertionError(key, instant_ms)


class AlwaysLeads:
    """There is no other broker."""

    is_leading = True
    seconds_left = 5.0

    async def wait_turn(self) -> None:
        return


class ManualWaits:
    """Waiting that ends when the event is set or the test has moved the clock far enough."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        due = asyncio.Event()
        if seconds is not None:
            self._sleepers.append((self._clock.monotonic() + seconds, due))
        waiting = [asyncio.ensure_future(each.wait()) for each in (event, due)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            self._sleepers = [(at, other) for at, other in self._sleepers if other is not due]

    def next_due(self) -> float | None:
        """Return in how many seconds the next sleeper wakes."""
        moments = [at for at, _ in self._sleepers]
        return min(moments) - self._clock.monotonic() if moments else None

    async def advance(self, seconds: float) -> None:
        """Move time on, waking everybody at their own moment on the way."""
        end = self._clock.monotonic() + seconds
        while True:
            await settle()
            following = self.next_due()
            if following is None or self._clock.monotonic() + following > end:
                break
            self._clock.advance(max(following, 0.0))
            for at, due in self._sleepers:
                if at <= self._clock.monotonic() + 1e-9:
                    due.set()
        self._clock.advance(max(end - self._clock.monotonic(), 0.0))
        await settle()


async def settle() -> None:
    """Let every task run until all wait for something."""
    for _ in range(60):
        await asyncio.sleep(0)


class SettableGrants:
    """What the operator permits, as a test changes it: everything, or nothing for one reason."""

    def __init__(self) -> None:
        self.objection: Objection | None = None

    def objections(self, method: AuthMethod) -> tuple[Objection, ...]:
        del method
        return (self.objection,) if self.objection is not None else ()


class BrokerWorld:
    """A refresher over fakes, with its book; use as an async context manager."""

    def __init__(self, life: float | None = 12 * 3600.0, sealing_key: SealingKey | None = None) -> None:
        self.clock = ManualClock()
        self.waits = ManualWaits(self.clock)
        self.sealing_key = sealing_key or SealingKey.generate()
        self.grants = SettableGrants()
        self._proxies = SealingKey.generate().public
        self.exchange = FakeExchange(self.clock, life)
        self.ledger = FakeLedger()
        self.publisher = FakePublisher()
        self.generations = Generations("test", self.clock)
        self.book = LeaseBook(catalogue())
        self._found = FoundLeases(self.generations, self.publisher, self._proxies.key_id.hex())
        exchanges = Exchanges(
            catalogue(),
            Orders(catalogue(), self.sealing_key, self.clock, self.grants),
            {"aws": self.exchange, "basic": self.exchange},
        )
        self.refresher = Refresher(
            self.book,
            exchanges,
            self.ledger,
            RefresherWorld(
                self.publisher,
                self.generations,
                self.clock,
                self.waits,
                inherits=self,
                turns=AlwaysLeads(),
            ),
        )
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.refresher.run(self._stopping))
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self.exchange.gate.set()
        await self._running

    def inheritable(self, plan: Plan, now: datetime) -> Lease | None:
        """Say what the broker that leads now has found on the bus."""
        return self._found.inheritable(plan, now)

    def replace_proxies_key(self) -> None:
        self._found = FoundLeases(self.generations, self.publisher, SealingKey.generate().public.key_id.hex())

    async def tell_to_end(self) -> None:
        """Begin to end the present term."""
        self._stopping.set()
        await settle()

    async def take_over(self, *writings: Callable[[LeaseBook], None]) -> None:
        """End the present term, and lead anew with what is out by then; meanwhile the book may change."""
        self._stopping.set()
        await self._running
        for lease in self.publisher.leases:
            body = seal_lease(lease, self._proxies).model_dump_json()
            record = SignedRecord(key_of(lease.scope), lease.generation.instant_ms, deleted=False, body=body)
            await self._found.lease(record, b"")
        for writing in writings:
            writing(self.book)
        self._stopping = asyncio.Event()
        await self.__aenter__()

    async def write(self, *writings: Callable[[LeaseBook], None]) -> None:
        """Change the book, tell the refresher, and let it act."""
        for writing in writings:
            writing(self.book)
        self.refresher.changed()
        await settle()

    async def add(
        self, *hosts: str, method: AuthMethod = ACCESS_KEY, usable_for: dict[str, Any] | None = None
    ) -> None:
        """Write one identity and an upstream for each host."""
        record = identity(self.sealing_key, method, usable_for=usable_for)
        await self.write(
            lambda book: book.put_identity(record),
            *(
                lambda book, number=number, host=host: book.put_upstream(upstream(f"ups{number}", host))
                for number, host in enumerate(hosts, 1)
            ),
        )

    @property
    def lease(self) -> Lease:
        return self.publisher.leases[-1]
