"""The current record of whatever a key names: what the relay puts on the bus, whatever happened before."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from pydantic import BaseModel

from vreg_api.access.store import AccessStore
from vreg_api.identities.store import IdentityStore
from vreg_api.store import tombstones
from vreg_api.store.database import Database, Transaction
from vreg_api.upstreams.store import UpstreamStore
from vreg_api.virtual_registries.store import VirtualRegistryStore
from vreg_shared.errors import VregError
from vreg_shared.messages import access, identity, registry, upstream
from vreg_shared.messages.record import SignedRecord


class UnknownKeyError(VregError):
    """The outbox names something that was never there: the database was changed by hand."""


class RecordStore(Protocol):
    """A room's store, as far as the bus is concerned."""

    async def record(self, tx: Transaction, identifier: str) -> tuple[int, BaseModel] | None:
        """Return the version and the record, or None if there is none."""
        ...

    async def ids(self, tx: Transaction) -> list[str]:
        """Return every id."""
        ...


@dataclass(frozen=True, slots=True)
class _Noun:
    bucket: str
    store: RecordStore


_NOUNS: Final[Mapping[str, _Noun]] = MappingProxyType(
    {
        "identity": _Noun(identity.BUCKET, IdentityStore()),
        "upstream": _Noun(upstream.BUCKET, UpstreamStore()),
        "registry": _Noun(registry.BUCKET, VirtualRegistryStore()),
        "access": _Noun(access.BUCKET, AccessStore()),
    }
)


class Records:
    """Reads every noun's records and tombstones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bucket(self, key: str) -> str:
        """Return where the record of `key` belongs; raise UnknownKeyError."""
        return _noun(key).bucket

    async def current(self, key: str) -> SignedRecord:
        """Return the record or tombstone of `key`; raise UnknownKeyError or DatabaseUnavailableError."""
        identifier = key.partition(".")[2]
        async with self._database.read() as tx:
            found = await _noun(key).store.record(tx, identifier)
            if found is not None:
                version, body = found
                return SignedRecord(key, version, deleted=False, body=body.model_dump_json())
            buried = await tombstones.version(tx, key)
        if buried is None:
            raise UnknownKeyError(f"there is neither {key} nor its tombstone in the database")
        return SignedRecord(key, buried, deleted=True, body="")

    async def keys(self) -> list[str]:
        """Return every key, tombstones last; raise DatabaseUnavailableError."""
        async with self._database.read() as tx:
            live = [
                f"{name}.{identifier}"
                for name, noun in _NOUNS.items()
                for identifier in await noun.store.ids(tx)
            ]
            return live + await tombstones.keys(tx)


def _noun(key: str) -> _Noun:
    noun = _NOUNS.get(key.partition(".")[0])
    if noun is None:
        raise UnknownKeyError(f"there are no records called {key}")
    return noun
