"""The configuration as this proxy last heard it from the api: registries, upstreams, access tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from pydantic import ValidationError

from vreg_shared.messages.access import AccessRecord
from vreg_shared.messages.record import RecordRejectedError, SignedRecord
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord

RecordT = TypeVar("RecordT", RegistryRecord, UpstreamRecord, AccessRecord)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the configuration; lookups in it agree with each other.

    `routing` counts changes to registries and upstreams, so what was derived from them is known to be old.
    """

    routing: int = 0
    registries: Mapping[str, RegistryRecord] = field(default_factory=dict)
    """By slug."""
    mirrors: Mapping[str, RegistryRecord] = field(default_factory=dict)
    """By namespace: the registry that stands in for another."""
    upstreams: Mapping[str, UpstreamRecord] = field(default_factory=dict)
    access: Mapping[str, AccessRecord] = field(default_factory=dict)


class ConfigCache:
    """Takes in records one by one and gives out snapshots. Absence deletes nothing, tombstones do."""

    def __init__(self) -> None:
        self._registries: dict[str, RegistryRecord] = {}
        self._upstreams: dict[str, UpstreamRecord] = {}
        self._access: dict[str, AccessRecord] = {}
        self._routing = 0
        self._snapshot: Snapshot | None = Snapshot()

    def adopt(self, record: SignedRecord) -> None:
        """Take in a verified record, newer than any of its key; raise RecordRejectedError."""
        noun, _, identifier = record.key.partition(".")
        match noun:
            case "registry":
                _put(self._registries, RegistryRecord, identifier, record)
            case "upstream":
                _put(self._upstreams, UpstreamRecord, identifier, record)
            case "access":
                _put(self._access, AccessRecord, identifier, record)
            case _:
                raise RecordRejectedError(f"there are no records called {noun}")
        self._routing += noun != "access"
        self._snapshot = None

    def upstream(self, identifier: str) -> UpstreamRecord | None:
        """Return one upstream's record, without making a snapshot for it."""
        return self._upstreams.get(identifier)

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now; the object never changes."""
        if self._snapshot is None:
            self._snapshot = Snapshot(
                routing=self._routing,
                registries=MappingProxyType(_by_slug(self._registries)),
                mirrors=MappingProxyType(_by_namespace(self._registries)),
                upstreams=MappingProxyType(dict(self._upstreams)),
                access=MappingProxyType(dict(self._access)),
            )
        return self._snapshot


def _put(records: dict[str, RecordT], kind: type[RecordT], identifier: str, record: SignedRecord) -> None:
    if record.deleted:
        records.pop(identifier, None)
        return
    try:
        parsed = kind.model_validate_json(record.body)
    except ValidationError as error:
        raise RecordRejectedError("the record cannot be read; is the api newer than this proxy?") from error
    if parsed.id != identifier:
        raise RecordRejectedError("the record names another id than its key")
    records[identifier] = parsed


def _by_slug(registries: Mapping[str, RegistryRecord]) -> dict[str, RegistryRecord]:
    """Of two registries with one slug, which only a rename in flight can make, the older one keeps it."""
    found: dict[str, RegistryRecord] = {}
    for identifier in sorted(registries):
        found.setdefault(registries[identifier].slug, registries[identifier])
    return found


def _by_namespace(registries: Mapping[str, RegistryRecord]) -> dict[str, RegistryRecord]:
    """Of two registries with one namespace, which only a change in flight makes, the older one keeps it."""
    found: dict[str, RegistryRecord] = {}
    for identifier in sorted(registries):
        for namespace in registries[identifier].mirror_namespaces:
            found.setdefault(namespace, registries[identifier])
    return found
