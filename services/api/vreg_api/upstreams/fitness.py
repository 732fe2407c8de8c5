"""Whether kind, host, identity and token endpoint of an upstream fit each other: where a secret may go.

Pure. The seal enforces the same again in the broker; here a person is told why.
"""

from urllib.parse import urlsplit

from vreg_api.identities.store import Identity
from vreg_api.problems import CREDENTIAL_REQUIRED, FieldProblem, ProblemError, invalid
from vreg_api.upstreams.store import Upstream
from vreg_shared.auth_method import UsableFor
from vreg_shared.catalogue import Catalogue
from vreg_shared.private_ca import fingerprints
from vreg_shared.provider import InvalidHostError, Presentation, RegistryKind
from vreg_shared.realm_trust import may_be_shown_to


def normal_host(catalogue: Catalogue, kind_name: str, host: str) -> str:
    """Return the host in lower case; raise ProblemError unless it is one of the kind's."""
    kind = catalogue.kind(kind_name)
    try:
        lowered = kind.require_host(host)
    except InvalidHostError as error:
        raise invalid("host", "host_refused", str(error)) from None
    owner = catalogue.kind_owning(lowered) if kind.is_generic else None
    if owner is not None:
        message = f"this host is one of {owner.title}: set kind to {owner.name!r}"
        raise invalid("host", "host_of_other_kind", message)
    return lowered


def require_fit(catalogue: Catalogue, upstream: Upstream, identity: Identity | None) -> None:
    """Return quietly if the identity may be used for the upstream; raise ProblemError."""
    kind = catalogue.kind(upstream.kind)
    usable_for = None
    if identity is None:
        if not kind.anonymous:
            raise invalid(
                "identity_id", "identity_required", f"{kind.title} cannot be pulled from anonymously"
            )
    else:
        usable_for = _require_usable(catalogue, kind, upstream, identity)
        _require_known_authority(upstream, usable_for)
    if upstream.token_realm is not None:
        _require_realm(catalogue, kind, upstream, usable_for)


def _require_usable(
    catalogue: Catalogue, kind: RegistryKind, upstream: Upstream, identity: Identity
) -> UsableFor:
    if identity.method not in kind.methods:
        message = (
            f"{kind.title} does not take the auth method {identity.method}, but {', '.join(kind.methods)}"
        )
        raise invalid("identity_id", "method_refused", message)
    provider = catalogue.provider_of_method(identity.method)
    usable_for = provider.usable_for.model_validate(identity.usable_for)
    if not usable_for.permits(upstream.host, upstream.repository_prefix):
        where = f"{upstream.host}/{upstream.repository_prefix}".rstrip("/")
        message = (
            f"the identity's usable_for does not permit this place ({where}); "
            "widen it first, giving its secret again"
        )
        raise _not_permitted("identity_id", "host_not_permitted", message)
    return usable_for


def _require_known_authority(upstream: Upstream, usable_for: UsableFor) -> None:
    """Refuse a private CA that the identity was not given for: its holder could pose as the host."""
    unknown = fingerprints(upstream.private_ca) - set(usable_for.private_ca_sha256)
    if unknown:
        message = (
            f"the identity's usable_for does not name these certificates: add {', '.join(sorted(unknown))} "
            "to its private_ca_sha256 first, giving its secret again"
        )
        raise _not_permitted("private_ca", "private_ca_not_permitted", message)


def _require_realm(
    catalogue: Catalogue, kind: RegistryKind, upstream: Upstream, usable_for: UsableFor | None
) -> None:
    """Refuse a realm that the identity's password may not be sent to: it gets the password."""
    if kind.presentation is not Presentation.REALM or not kind.is_generic:
        message = f"{kind.title} has no token endpoint to choose; leave it out"
        raise invalid("token_realm", "realm_refused", message)
    realm = upstream.token_realm or ""
    place = _realm_host(catalogue, realm)
    if usable_for is not None and not may_be_shown_to(realm, kind, upstream.host, usable_for):
        message = f"the identity's usable_for does not permit {place}, where its secret would be sent"
        raise _not_permitted("token_realm", "host_not_permitted", message)


def _realm_host(catalogue: Catalogue, realm: str) -> str:
    """Return the host of a token endpoint, with port if any; raise ProblemError unless it is an https URL."""
    if not realm.isascii() or any(each <= " " or each in '\\"<>^`{|}' for each in realm):
        raise _bad_realm()
    try:
        parts = urlsplit(realm)
        host = parts.netloc
    except ValueError:
        raise _bad_realm() from None
    if (
        parts.scheme != "https"
        or "@" in host
        or parts.query
        or parts.fragment
        or "#" in realm
        or "?" in realm
    ):
        raise _bad_realm()
    is_host = any(each.is_generic and each.owns(host) for each in catalogue.kinds())
    if host != host.lower() or not is_host:
        raise _bad_realm()
    return host


def _not_permitted(field: str, code: str, message: str) -> ProblemError:
    """Return the problem of a place that a stored secret may not be sent to unless it is given again."""
    error = FieldProblem(field=field, code=code, message=message)
    return ProblemError(CREDENTIAL_REQUIRED, f"{field}: {message}", (error,))


def _bad_realm() -> Exception:
    message = "write it as https://host/path, in lower case, without user, query and fragment"
    return invalid("token_realm", "realm_refused", message)
