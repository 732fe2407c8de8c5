"""Whom an identity's password may be shown to for a registry token: the seal covers this place as well."""

from urllib.parse import urlsplit

from vreg_shared.auth_method import UsableFor
from vreg_shared.provider import RegistryKind


def may_be_shown_to(realm: str, kind: RegistryKind, host: str, usable_for: UsableFor) -> bool:
    """Whether the token endpoint `realm` is the registry's own, its provider's, or permitted by the identity.

    A place that is not spelt exactly as one of these is none of them.
    """
    try:
        place = urlsplit(realm)
    except ValueError:
        return False
    if place.scheme != "https":
        return False
    own = {host, host.removesuffix(":443"), f"{host}:443"}
    return realm == kind.token_realm(host) or place.netloc in own or usable_for.permits(place.netloc)
