"""What the broker hears on the bus: upstreams and identities for the book, and leases handed out before."""

from datetime import datetime
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from vreg_shared.lease import Generation, InvalidGenerationError, Lease, RegistryCredential
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.lease import LeaseRecord, key_of
from vreg_shared.messages.record import RecordRejectedError, SignedRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.secret import Secret
from vreg_token_broker.generations import Generations
from vreg_token_broker.lease_book import LeaseBook, Plan

BodyT = TypeVar("BodyT", bound=BaseModel)


class Hears(Protocol):
    """Who wants to know that the book was written in."""

    def changed(self) -> None:
        """Take note."""
        ...


class Publishes(Protocol):
    """Who keeps the records of leases."""

    def found(self, key: str, version: int, raw: bytes) -> None:
        """Take note of a record that is on the bus."""
        ...

    def withdraw_key(self, key: str, instant_ms: int) -> None:
        """Have the lease below a key deleted."""
        ...


class BookKeeping:
    """Writes verified records of the api into the book."""

    def __init__(self, book: LeaseBook, hears: Hears, found: "FoundLeases") -> None:
        self._book = book
        self._hears = hears
        self._found = found

    async def upstream(self, record: SignedRecord, _raw: bytes) -> None:
        """Take in an upstream; raise RecordRejectedError."""
        if record.deleted:
            self._book.drop_upstream(_id(record))
        else:
            self._book.put_upstream(_body(UpstreamRecord, record))
        self._hears.changed()

    async def identity(self, record: SignedRecord, _raw: bytes) -> None:
        """Take in an identity; raise RecordRejectedError."""
        if record.deleted:
            self._book.drop_identity(_id(record))
            self._found.identity_deleted(_id(record))
        else:
            self._book.put_identity(self._not_rolled_back(_body(IdentityRecord, record)))
        self._hears.changed()

    def _not_rolled_back(self, identity: IdentityRecord) -> IdentityRecord:
        """Refuse an older secret put back under a newer version: its seal is whole, but it was replaced."""
        known = self._book.identity(identity.id)
        if known is not None and identity.credential_version < known.credential_version:
            raise RecordRejectedError(
                f"identity {identity.id} came with an older secret: give it its secrets again"
            )
        return identity


class FoundLeases:
    """Learns from the brokers' own bucket what was handed out: where generations stand, and what still holds.

    `sealed_for` is the proxies' key as leases name it. What a deleted identity got is taken back.
    """

    def __init__(self, generations: Generations, publisher: Publishes, sealed_for: str) -> None:
        self._generations = generations
        self._publisher = publisher
        self._sealed_for = sealed_for
        self._owners: dict[str, str] = {}
        self._leases: dict[str, LeaseRecord] = {}
        self._deleted: set[str] = set()

    async def lease(self, record: SignedRecord, raw: bytes) -> None:
        """Take note of a lease that a broker signed; raise RecordRejectedError."""
        self._generations.found_instant(record.version)
        self._publisher.found(record.key, record.version, raw)
        if record.deleted:
            self._owners.pop(record.key, None)
            self._leases.pop(record.key, None)
            return
        lease = _body(LeaseRecord, record)
        try:
            self._generations.found(lease.scope, Generation.parse(lease.generation))
        except InvalidGenerationError as error:
            raise RecordRejectedError(str(error)) from error
        self._owners[record.key], self._leases[record.key] = lease.identity_id, lease
        if lease.identity_id in self._deleted:
            self._withdraw(record.key)

    def inheritable(self, plan: Plan, now: datetime) -> Lease | None:
        """Return the lease that is out, without its secret, if an exchange would bring the same."""
        record = self._leases.get(key_of(plan.scope))
        if record is None or (record.proof, record.sealed_for) != (plan.proof_digest, self._sealed_for):
            return None
        lease = Lease(
            scope=record.scope,
            identity_id=record.identity_id,
            hosts=record.hosts,
            generation=Generation.parse(record.generation),
            issued_at=record.issued_at,
            refresh_at=record.refresh_at,
            not_after=record.not_after,
            credential=RegistryCredential("", Secret(""), record.presentation),
            repositories=record.repositories,
            proof=record.proof,
            private_ca_sha256=record.private_ca_sha256,
        )
        bounds = (lease.hosts, lease.repositories)
        return lease if bounds == (plan.hosts, plan.repositories) and lease.is_usable(now) else None

    def identity_deleted(self, identity_id: str) -> None:
        """Take back every lease found that was got with it, by whichever broker."""
        self._deleted.add(identity_id)
        for key in [key for key, owner in self._owners.items() if owner == identity_id]:
            self._withdraw(key)

    def _withdraw(self, key: str) -> None:
        self._publisher.withdraw_key(key, self._generations.next_instant())


def _id(record: SignedRecord) -> str:
    return record.key.partition(".")[2]


def _body(kind: type[BodyT], record: SignedRecord) -> BodyT:
    try:
        return kind.model_validate_json(record.body)
    except ValidationError as error:
        raise RecordRejectedError(f"the record {record.key} cannot be read") from error
