"""The seam for clouds: everything particular to one, declared without its SDK.

A provider is a folder under `vreg_shared.providers` that exports `PROVIDER`. Its declarations are the API
schema, the form, the documentation and the conformance tests; the broker adds one exchange module.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from vreg_shared.auth_method import AuthMethod, TrustStep, UsableFor
from vreg_shared.errors import VregError
from vreg_shared.pace import Pace
from vreg_shared.refusals import RefusalRule
from vreg_shared.secret import Secret


class InvalidHostError(VregError):
    """The host is not a registry of the kind it was given for."""


class Answer(StrEnum):
    """What an upstream's answer means for a walk over memberships."""

    FOUND = "found"
    ABSENT = "absent"
    HIDDEN = "hidden"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An upstream's answer that is not the thing asked for.

    `reason` is a stable code. `retry_after` is seconds. `detail` holds the provider's own words, for health,
    audit and logs; it may name roles, projects and addresses and never reaches a registry client.
    `refreshable` says that a fresh credential may change the answer: refresh once, retry once. `remedy` is
    what a person may do, where the provider's table knows.
    """

    answer: Answer
    reason: str
    refreshable: bool = False
    retry_after: float | None = None
    detail: str = ""
    remedy: str = ""


class Presentation(StrEnum):
    """How a registry credential travels to its host."""

    BASIC = "basic"
    """Sent as Basic with the first request."""
    BEARER = "bearer"
    """The secret is sent as Bearer with the first request."""
    REALM = "realm"
    """Sent as Basic to the pinned realm, which gives a registry token; as Basic where that is asked for."""


@dataclass(frozen=True, slots=True)
class RejectionRule:
    """One row of a rejection table. Text comparisons ignore case; an absent condition always holds.

    `cause` is what somebody did wrong, in plain words, and `remedy` what to do; a row without a cause is
    not shown on the provider's page.
    """

    status: int
    answer: Answer
    reason: str
    code: str | None = None
    contains: str | None = None
    refreshable: bool = False
    cause: str = ""
    remedy: str = ""

    def applies(self, status: int, codes: frozenset[str], text: str) -> bool:
        """Whether this row speaks of an answer with these OCI codes and this lower-case text."""
        return (
            self.status == status
            and (self.code is None or self.code in codes)
            and (self.contains is None or self.contains.lower() in text)
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """Who shall read what: `principal` as the cloud named it, the repository as the upstream spells it."""

    host: str
    repository: str
    principal: str


def _unknown(_reader: Reader) -> tuple[TrustStep, ...]:
    return ()


def _nowhere(_host: str) -> str | None:
    return None


def _at_will(_host: str) -> Pace | None:
    return None


def _anything(_prefix: str) -> str:
    return ""


def _no_names(_host: str) -> tuple[str, ...]:
    return ()


def _same(repository: str, _host: str) -> str:
    return repository


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKind:
    """One kind of registry a provider offers: its hosts, and how its `/v2/` speaks."""

    name: str
    title: str
    example_host: str
    methods: tuple[str, ...]
    """Tags of the auth methods an upstream of this kind may use."""
    anonymous: bool
    """Whether an upstream may have no identity."""
    presentation: Presentation
    owns: Callable[[str], bool]
    """Whether the whole of a lower-case host (with port, if any) is a registry of this kind."""
    lease_scope: Callable[[str, str], str]
    """(identity id, host) to the name that all upstreams served by one exchange share."""
    is_generic: bool = False
    """Whether it owns any well-formed host: a kind whose grammar knows the host is then the right one."""
    rejections: tuple[RejectionRule, ...] = ()
    may_be_private: bool = False
    """Whether the host may resolve to a private address (PrivateLink and its like)."""
    token_realm: Callable[[str], str | None] = _nowhere
    """The one token endpoint of a host, where the provider fixes it; otherwise None."""
    storage_names: Callable[[str], tuple[str, ...]] = _no_names
    """Glob patterns of the names a host redirects blobs to, for the egress allow-list."""
    stale_token_statuses: frozenset[int] = frozenset({401})
    """How `/v2/` answers a registry token that has ended, with or without a challenge: a fresh one may do."""
    upstream_repository: Callable[[str, str], str] = _same
    """(repository, host) to the repository's name as the upstream spells it."""
    pace: Callable[[str], Pace | None] = _at_will
    """How fast exchanges for a host may be started, where the cloud counts them."""
    lease_repositories: Callable[[str], str] = _anything
    """An upstream's repository prefix to the one a lease is bound to; empty binds it to hosts alone."""
    read_grant: Callable[[Reader], tuple[TrustStep, ...]] = _unknown
    """What to do in the cloud so that a principal may read one repository, with everything filled in."""

    def require_host(self, host: str) -> str:
        """Return `host` in lower case; raise InvalidHostError unless all of it is ours."""
        lowered = host.lower()
        if not self.owns(lowered):
            raise InvalidHostError(
                f"the host is not one of {self.title}; it should look like {self.example_host}"
            )
        return lowered


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodExample:
    """A valid configuration, shown in forms and docs and run by the conformance tests.

    `prefix` is the repository prefix of its upstream.
    """

    method: AuthMethod
    usable_for: UsableFor
    kind: str
    host: str
    prefix: str = ""


class DocumentRefusedError(VregError):
    """A document that describes an identity elsewhere holds what we do not take; the text names it."""


class ForeignDocumentError(DocumentRefusedError):
    """The document is in none of the provider's formats: another provider may know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A cloud or a family of registry products. Its exchange is `vreg_token_broker.exchanges.<name>`.

    `refusals` says what its IAM's error answers mean. `read_document` takes the discrete fields we know out
    of a JSON object in the cloud's own format for an identity, and raises DocumentRefusedError for what it
    does not take; None where there is no such format. `credential_steps` are the calls, as refusals name
    them, that turn an access token into a registry credential; all before them are the exchange.
    """

    name: str
    title: str
    kinds: tuple[RegistryKind, ...]
    methods: tuple[type[AuthMethod], ...]
    usable_for: type[UsableFor]
    refusals: tuple[RefusalRule, ...] = ()
    examples: tuple[MethodExample, ...] = ()
    read_document: Callable[[Mapping[str, Any]], AuthMethod] | None = None
    credential_steps: frozenset[str] = frozenset()


_GENERIC: Final = (
    RejectionRule(401, Answer.REFUSED, "credential_rejected", refreshable=True),
    RejectionRule(403, Answer.HIDDEN, "permission_denied"),
    RejectionRule(404, Answer.ABSENT, "repository_unknown", code="NAME_UNKNOWN"),
    RejectionRule(404, Answer.ABSENT, "manifest_unknown", code="MANIFEST_UNKNOWN"),
    RejectionRule(404, Answer.ABSENT, "blob_unknown", code="BLOB_UNKNOWN"),
    RejectionRule(404, Answer.ABSENT, "not_found"),
    RejectionRule(408, Answer.UNAVAILABLE, "timeout"),
    RejectionRule(429, Answer.UNAVAILABLE, "throttled"),
)
_DETAIL_LIMIT: Final = 1000
_RETRY_AFTER_LIMIT: Final = 3600.0


def classify(kind: RegistryKind, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Judge an answer that is not a success: the kind's own table first, then what the protocol says.

    `headers` has lower-case names. An answer no row knows is *unavailable*, never *absent*: falling
    through on it could serve somebody else's image of the same name.
    """
    text = body.decode("utf-8", "replace")
    codes, lowered = _error_codes(text), text.lower()
    detail = text[:_DETAIL_LIMIT]
    retry_after = retry_after_of(headers)
    for rule in (*kind.rejections, *_GENERIC):
        if rule.applies(status, codes, lowered):
            return Verdict(rule.answer, rule.reason, rule.refreshable, retry_after, detail, rule.remedy)
    reason = "upstream_error" if status >= 500 else "unexpected_answer"  # noqa: PLR2004 - the class of status
    return Verdict(Answer.UNAVAILABLE, reason, retry_after=retry_after, detail=f"{status} {detail}")


def _error_codes(text: str) -> frozenset[str]:
    try:
        errors = json.loads(text)["errors"]
        return frozenset(str(entry["code"]).upper() for entry in errors)
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the whole seconds an answer names; a date is left unread, for our clocks may differ.

    `headers` has lower-case names.
    """
    value = headers.get("retry-after", "")
    if not value.isascii() or not value.isdigit():
        return None
    return min(float(value[:6]), _RETRY_AFTER_LIMIT)


def basic_authorization(username: str, secret: Secret) -> Secret:
    """Return the value of an `Authorization: Basic` header."""
    pair = f"{username}:{secret.reveal()}".encode()
    return Secret("Basic " + base64.b64encode(pair).decode())


def bearer_authorization(secret: Secret) -> Secret:
    """Return the value of an `Authorization: Bearer` header."""
    return Secret("Bearer " + secret.reveal())
