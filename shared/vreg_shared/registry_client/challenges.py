"""What a 401 asks for, and whether we go along.

The realm an upstream names is untrusted until it equals one we knew beforehand (CVE-2026-33540).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from yarl import URL

from vreg_shared.egress import Destination, EgressRefusedError, read_url
from vreg_shared.errors import VregError
from vreg_shared.lease import Lease
from vreg_shared.oci.challenge import Challenge
from vreg_shared.registry_client.target import Target

_READING: Final = frozenset({"pull", "metadata_read"})
_MAX_SCOPES: Final = 4


class RealmRejectedError(VregError):
    """The upstream names a token endpoint that is not its own; no credential was sent."""


@dataclass(frozen=True, slots=True)
class TokenOffer:
    """A permitted token endpoint, its service, and the scopes asked for, as they were written."""

    realm: URL
    service: str | None
    scopes: tuple[str, ...] = ()

    def url(self, scopes: Iterable[str]) -> URL:
        """Return the address of the GET that asks for a token for `scopes`."""
        pairs = [("service", self.service)] if self.service else []
        pairs += [("scope", scope) for scope in scopes]
        query = "&".join(f"{name}={quote(value or '', safe='')}" for name, value in pairs)
        joined = "&".join(part for part in (self.realm.raw_query_string, query) if part)
        base = str(self.realm).partition("?")[0]
        return URL(f"{base}?{joined}" if joined else base, encoded=True)


@dataclass(frozen=True, slots=True)
class BasicAsked:
    """The upstream wants Basic."""


def wanted(challenges: Iterable[Challenge], target: Target) -> TokenOffer | BasicAsked | None:
    """Return what to do about a 401: Bearer before Basic, None when neither is asked for.

    Raises RealmRejectedError when Bearer is asked for and no named realm is permitted.
    """
    bearer = [challenge for challenge in challenges if challenge.scheme == "bearer"]
    for challenge in bearer:
        realm = permitted_realm(challenge.parameters.get("realm", ""), target)
        if realm is not None:
            scopes = tuple(challenge.parameters.get("scope", "").split())
            return TokenOffer(realm, challenge.parameters.get("service"), scopes)
    if bearer:
        raise RealmRejectedError(
            "the token endpoint the upstream names is neither pinned nor on its own host"
        )
    return BasicAsked() if any(challenge.scheme == "basic" for challenge in challenges) else None


def permitted_realm(text: str, target: Target) -> URL | None:
    """Return the realm when it is one of the pinned ones or on the upstream's own host; otherwise None."""
    try:
        realm = read_url(text)
    except EgressRefusedError:
        return None
    is_on_own_host = Destination.of(realm) == Destination.of(target.origin)
    is_pinned = _place(realm) in map(_place, target.pinned_realms)
    return realm if is_on_own_host or is_pinned else None


def may_be_shown_to(realm: URL, lease: Lease, target: Target) -> bool:
    """Whether a lease's credential may be sent to a permitted realm.

    The broker vouches for the lease's hosts; that the upstream's record names a realm is not enough.
    """
    provided = target.kind.token_realm(target.host)
    if provided is not None and _place(realm) == _place(read_url(provided)):
        return True
    return any(_is_at(realm, host) for host in lease.hosts)


def _place(url: URL) -> tuple[Destination, str]:
    return Destination.of(url), url.raw_path


def _is_at(realm: URL, host: str) -> bool:
    try:
        return Destination.of(read_url(f"https://{host}")) == Destination.of(realm)
    except EgressRefusedError:
        return False


def readable_scopes(repository: str | None, offered: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes to ask for: pulling `repository`, and what is offered of reading the same.

    An upstream must not make us fetch it a token for another repository or for writing.
    """
    if repository is None:
        return ()
    scopes = [f"repository:{repository}:pull"]
    for scope in offered:
        mine = _mine(scope, repository)
        if mine is not None and mine not in scopes:
            scopes.append(mine)
    return tuple(scopes[:_MAX_SCOPES])


def _mine(scope: str, repository: str) -> str | None:
    """Return the reading part of a scope, or None. A scope without a resource grants what it is named."""
    if ":" not in scope:
        return scope or None
    head, _, actions = scope.rpartition(":")
    if head != f"repository:{repository}":
        return None
    reading = [action for action in actions.split(",") if action in _READING]
    return f"{head}:{','.join(reading)}" if reading else None
