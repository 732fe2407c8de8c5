"""What a caller is told who may not: what lies beyond the limits is absent, the rest is forbidden."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from fastapi import Request

from vreg_api.authentication import Actor, actor_of
from vreg_api.permissions import Action, Noun, Permission, Thing, fields_beyond, may, permits
from vreg_api.problems import FORBIDDEN, ProblemError, not_found

_READ, _CREATE, _CHANGE, _DELETE = Action.READ, Action.CREATE, Action.CHANGE, Action.DELETE
ROUTES: Final[Mapping[tuple[str, str], Permission]] = MappingProxyType(
    {
        ("POST", "/identities"): (_CREATE, Noun.IDENTITY),
        ("POST", "/identities/imports"): (_CREATE, Noun.IDENTITY),
        ("GET", "/identities"): (_READ, Noun.IDENTITY),
        ("GET", "/identities/{identifier}"): (_READ, Noun.IDENTITY),
        ("GET", "/identities/{identifier}/trust"): (_READ, Noun.IDENTITY),
        ("PATCH", "/identities/{identifier}"): (_CHANGE, Noun.IDENTITY),
        ("DELETE", "/identities/{identifier}"): (_DELETE, Noun.IDENTITY),
        ("POST", "/upstreams"): (_CREATE, Noun.UPSTREAM),
        ("GET", "/upstreams"): (_READ, Noun.UPSTREAM),
        ("GET", "/upstreams/{identifier}"): (_READ, Noun.UPSTREAM),
        ("GET", "/upstreams/{identifier}/rate_limit"): (_READ, Noun.UPSTREAM),
        ("PATCH", "/upstreams/{identifier}"): (_CHANGE, Noun.UPSTREAM),
        ("POST", "/upstreams/{identifier}/purge"): (_DELETE, Noun.CACHED_CONTENT),
        ("DELETE", "/upstreams/{identifier}"): (_DELETE, Noun.UPSTREAM),
        ("POST", "/virtual_registries"): (_CREATE, Noun.VIRTUAL_REGISTRY),
        ("GET", "/virtual_registries"): (_READ, Noun.VIRTUAL_REGISTRY),
        ("GET", "/virtual_registries/{identifier}"): (_READ, Noun.VIRTUAL_REGISTRY),
        ("PATCH", "/virtual_registries/{identifier}"): (_CHANGE, Noun.VIRTUAL_REGISTRY),
        ("DELETE", "/virtual_registries/{identifier}"): (_DELETE, Noun.VIRTUAL_REGISTRY),
        ("POST", "/access_tokens"): (_CREATE, Noun.ACCESS_TOKEN),
        ("GET", "/access_tokens"): (_READ, Noun.ACCESS_TOKEN),
        ("GET", "/access_tokens/self"): (_READ, Noun.OWN_ACCESS_TOKEN),
        ("GET", "/access_tokens/{identifier}"): (_READ, Noun.ACCESS_TOKEN),
        ("PATCH", "/access_tokens/{identifier}"): (_CHANGE, Noun.ACCESS_TOKEN),
        ("POST", "/access_tokens/{identifier}/rotate"): (_CHANGE, Noun.ACCESS_TOKEN),
        ("DELETE", "/access_tokens/{identifier}/previous_secret"): (_CHANGE, Noun.ACCESS_TOKEN),
        ("DELETE", "/access_tokens/{identifier}"): (_DELETE, Noun.ACCESS_TOKEN),
        ("GET", "/provider_catalogue"): (_READ, Noun.PROVIDER_CATALOGUE),
        ("POST", "/connection_tests"): (_CREATE, Noun.CONNECTION_TEST),
        ("GET", "/connection_tests"): (_READ, Noun.CONNECTION_TEST),
        ("GET", "/connection_tests/{identifier}"): (_READ, Noun.CONNECTION_TEST),
        ("POST", "/connection_tests/{identifier}/cancel"): (_CHANGE, Noun.CONNECTION_TEST),
        ("GET", "/connection_tests/{identifier}/events"): (_READ, Noun.CONNECTION_TEST),
        ("GET", "/health"): (_READ, Noun.HEALTH),
        ("GET", "/health/upstreams"): (_READ, Noun.HEALTH),
        ("GET", "/health/upstreams/{identifier}"): (_READ, Noun.HEALTH),
        ("GET", "/health/upstreams/{identifier}/history"): (_READ, Noun.HEALTH),
        ("POST", "/health/upstreams/{identifier}/acknowledge"): (_CHANGE, Noun.HEALTH),
        ("GET", "/health/virtual_registries"): (_READ, Noun.HEALTH),
        ("GET", "/health/virtual_registries/{identifier}"): (_READ, Noun.HEALTH),
        ("GET", "/health/events"): (_READ, Noun.HEALTH),
        ("GET", "/audit-events"): (_READ, Noun.AUDIT),
        ("GET", "/audit-events/stream"): (_READ, Noun.AUDIT),
        ("GET", "/audit-events/export"): (_READ, Noun.AUDIT),
        ("GET", "/audit-events/{identifier}"): (_READ, Noun.AUDIT),
        ("GET", "/audit-chain"): (_READ, Noun.AUDIT),
        ("GET", "/pulls"): (_READ, Noun.AUDIT),
    }
)
"""What each route of a room needs. One without a row here is for unlimited admins alone, and a test fails."""


async def require_route_permitted(request: Request) -> None:
    """Refuse who may not use the route for anything at all, before the body and any object is looked at."""
    actor = actor_of(request)
    permission = ROUTES.get((request.method, request.scope["route"].path))
    if permission is None:
        if actor.role != "admin" or actor.limits is not None:
            raise _forbidden("only an admin token without limits may do this")
        return
    require_may(actor, *permission)


def require_may(actor: Actor, action: Action, noun: Noun) -> None:
    """Raise ProblemError (403) unless the actor can do this with any of a noun."""
    if may(actor.role, actor.limits, action, noun):
        return
    if may(actor.role, None, action, noun):
        raise _forbidden(f"a token that is limited to virtual registries may not {action} {_any(noun)}")
    raise _forbidden(f"the role {actor.role} may not {action} {_any(noun)}")


def require_permitted(actor: Actor, action: Action, thing: Thing, noun: str, identifier: str) -> None:
    """Raise ProblemError: 404 if the actor may not even see the thing, as if it were absent; else 403."""
    if permits(actor.role, actor.limits, action, thing):
        return
    if not permits(actor.role, actor.limits, Action.READ, thing):
        raise not_found(noun, identifier)
    require_may(actor, action, thing.noun)
    raise _forbidden(f"this {noun} also serves virtual registries beyond the token's limits")


def require_own_fields(actor: Actor, noun: Noun, fields: Iterable[str]) -> None:
    """Raise ProblemError (403) for fields that a limited token may not change."""
    beyond = fields_beyond(actor.limits, noun, fields)
    if beyond:
        what = ", ".join(beyond)
        raise _forbidden(f"a token that is limited to virtual registries may not change {what} of its {noun}")


def _any(noun: Noun) -> str:
    return f"any {noun}"


def _forbidden(detail: str) -> ProblemError:
    return ProblemError(FORBIDDEN, detail)
