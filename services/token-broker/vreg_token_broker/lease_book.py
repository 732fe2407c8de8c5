"""Which upstreams share which lease: a pure book of identities and upstreams, read as one plan a scope."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from vreg_shared.auth_method import UsableFor
from vreg_shared.canonical import canonical_json
from vreg_shared.catalogue import Catalogue, UnknownKindError, UnknownMethodError
from vreg_shared.lease import LeaseNeed
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.private_ca import InvalidPrivateCaError, fingerprints
from vreg_shared.provider import InvalidHostError, RegistryKind
from vreg_shared.realm_trust import may_be_shown_to
from vreg_token_broker.exchange import Refused

_REMEDY_WIDEN = (
    "Let the identity be usable for this host (that needs its secret again), or use another identity."
)
_REMEDY_REALM = (
    "Correct the upstream's token realm, or let the identity be usable for its host (that needs its secret)."
)
_REMEDY_PRIVATE_CA = (
    "Correct the upstream's private CA, or let the identity's usable_for name it (that needs its secret)."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One lease to be had: by which identity, for which hosts of which kind, and which repositories there.

    `repositories` are prefixes; none means all.
    """

    scope: str
    identity: IdentityRecord
    kind: RegistryKind
    hosts: tuple[str, ...]
    repositories: tuple[str, ...] = ()

    @property
    def private_ca_sha256(self) -> tuple[str, ...]:
        """The private CAs' certificates that the identity lets hosts be known by."""
        return tuple(self.identity.usable_for.get("private_ca_sha256", ()))

    @property
    def proof(self) -> tuple[Any, ...]:
        """What an exchange depends on; a lease got with another proof is not ours any more."""
        identity = self.identity
        return (
            identity.method,
            identity.settings,
            identity.usable_for,
            identity.external_id,
            identity.sealed_secrets,
            identity.credential_version,
        )

    @property
    def proof_digest(self) -> str:
        """The proof in few characters, to compare with a lease's."""
        return hashlib.sha256(canonical_json({"proof": list(self.proof)})).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upstream stands: in a scope, refused before anybody is asked, or waiting for its identity."""

    scope: str | None = None
    refused: Refused | None = None


class LeaseBook:
    """Keeps the latest records. `plans` is a function of what it holds, in whatever order that came."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._identities: dict[str, IdentityRecord] = {}
        self._upstreams: dict[str, UpstreamRecord] = {}

    def put_identity(self, identity: IdentityRecord) -> None:
        """Take in a new or changed identity."""
        self._identities[identity.id] = identity

    def drop_identity(self, identity_id: str) -> None:
        """Forget a deleted identity; its upstreams wait for another."""
        self._identities.pop(identity_id, None)

    def identity(self, identity_id: str) -> IdentityRecord | None:
        """Return an identity's record, if there is one."""
        return self._identities.get(identity_id)

    def put_upstream(self, upstream: UpstreamRecord) -> None:
        """Take in a new or changed upstream."""
        self._upstreams[upstream.id] = upstream

    def drop_upstream(self, upstream_id: str) -> None:
        """Forget a deleted upstream."""
        self._upstreams.pop(upstream_id, None)

    def upstream(self, upstream_id: str) -> UpstreamRecord | None:
        """Return an upstream's record, if there is one."""
        return self._upstreams.get(upstream_id)

    def upstreams(self) -> Mapping[str, UpstreamRecord]:
        """Return all upstreams by id, as they are now."""
        return dict(self._upstreams)

    def need(self, upstream: UpstreamRecord) -> LeaseNeed:
        """Return what an upstream that stands in a scope needs of its lease."""
        kind = self._catalogue.kind(upstream.kind)
        prefix = kind.lease_repositories(upstream.repository_prefix)
        return LeaseNeed(upstream.host.lower(), prefix, fingerprints(upstream.private_ca))

    def plans(self) -> dict[str, Plan]:
        """Return every lease to be had, by its scope."""
        members: dict[str, list[UpstreamRecord]] = {}
        for upstream in self._upstreams.values():
            scope = self.place(upstream).scope
            if scope is not None:
                members.setdefault(scope, []).append(upstream)
        return {scope: self._plan(scope, upstreams) for scope, upstreams in members.items()}

    def refusals(self) -> Iterable[tuple[UpstreamRecord, Refused]]:
        """Return the upstreams that no exchange may be made for, and why."""
        for upstream in self._upstreams.values():
            refused = self.place(upstream).refused
            if refused is not None:
                yield upstream, refused

    def place(self, upstream: UpstreamRecord) -> Place:
        """Return where an upstream stands."""
        if upstream.identity_id is None or not upstream.enabled:
            return Place()
        identity = self._identities.get(upstream.identity_id)
        if identity is None:
            return Place()
        return self._permitted(upstream, identity)

    def _permitted(self, upstream: UpstreamRecord, identity: IdentityRecord) -> Place:
        try:
            kind = self._catalogue.kind(upstream.kind)
            host = kind.require_host(upstream.host)
            provider = self._catalogue.provider_of_method(identity.method)
            usable_for = provider.usable_for.model_validate(identity.usable_for)
        except (UnknownKindError, UnknownMethodError) as error:
            return Place(refused=Refused("version_mismatch", str(error), "Upgrade the token-broker."))
        except InvalidHostError as error:
            return Place(refused=Refused("host_invalid", str(error), "Correct the upstream's host."))
        except ValidationError:
            return Place(refused=Refused("settings_invalid", "usable_for cannot be read", _REMEDY_WIDEN))
        if identity.method not in kind.methods:
            remedy = f"Use an identity of one of: {', '.join(kind.methods)}."
            return Place(refused=Refused("method_not_accepted", f"{identity.method} on {kind.name}", remedy))
        refused = _forbidden(host, upstream, kind, usable_for)
        return Place(kind.lease_scope(identity.id, host)) if refused is None else Place(refused=refused)

    def _plan(self, scope: str, upstreams: list[UpstreamRecord]) -> Plan:
        first = upstreams[0]
        identity = self._identities[first.identity_id or ""]
        hosts = {upstream.host.lower() for upstream in upstreams}
        # Proxies show a password to no token endpoint that its lease does not name.
        hosts |= {urlsplit(upstream.token_realm).netloc for upstream in upstreams if upstream.token_realm}
        kind = self._catalogue.kind(first.kind)
        prefixes = {kind.lease_repositories(upstream.repository_prefix) for upstream in upstreams}
        repositories = () if "" in prefixes else tuple(sorted(prefixes))
        return Plan(scope, identity, kind, tuple(sorted(hosts)), repositories)


def _forbidden(
    host: str, upstream: UpstreamRecord, kind: RegistryKind, usable_for: UsableFor
) -> Refused | None:
    """Return why the identity's credential may not be lent for an upstream; None if it may."""
    realm = upstream.token_realm
    if not usable_for.permits(host, upstream.repository_prefix):
        where = f"{host}/{upstream.repository_prefix}".rstrip("/")
        return Refused("host_not_permitted", where, _REMEDY_WIDEN)
    if realm is not None and not may_be_shown_to(realm, kind, host, usable_for):
        return Refused("realm_not_permitted", realm, _REMEDY_REALM)
    return _unknown_authority(upstream.private_ca, usable_for)


def _unknown_authority(private_ca: str | None, usable_for: UsableFor) -> Refused | None:
    """Return why the host may not be known by this private CA, which could be anybody's; None if it may."""
    try:
        found = fingerprints(private_ca)
    except InvalidPrivateCaError as error:
        return Refused("private_ca_unreadable", str(error), _REMEDY_PRIVATE_CA)
    if not usable_for.permits_private_ca(found):
        return Refused("private_ca_not_permitted", ", ".join(sorted(found)), _REMEDY_PRIVATE_CA)
    return None
