"""From an auth method to the keys that ask for a token: where it begins, and the roles from there."""

import re
from typing import Final, Protocol

from vreg_shared.auth_method import AuthMethod
from vreg_shared.providers.aws.auth_methods import (
    AccessKey,
    AssumeRole,
    Container,
    Instance,
    RoleChain,
    WebIdentity,
)
from vreg_shared.providers.aws.hosts import Place, is_ecr_public_host
from vreg_shared.providers.aws.usable_for import AwsUsableFor
from vreg_shared.secret import Secret
from vreg_token_broker.answers import NoAnswerError
from vreg_token_broker.exchange import ExchangeOrder, IdentityTokens, Refused
from vreg_token_broker.exchanges.aws.rungs import AwsKeys, Budget, RoleRequest, Session

_SESSION_NAME_LIMIT: Final = 64


class Sts(Protocol):
    """The calls that give a role's session. All raise CloudRefusedError or NoAnswerError."""

    async def assume_role(self, place: Place, keys: AwsKeys, request: RoleRequest, budget: Budget) -> Session:
        """Ask with keys."""
        ...

    async def assume_role_with_web_identity(
        self, place: Place, identity_token: Secret, request: RoleRequest, budget: Budget
    ) -> Session:
        """Ask with a signed token."""
        ...


class Platform(Protocol):
    """What the broker's own machine is to AWS. Both raise CloudRefusedError or NoAnswerError."""

    async def container(self, budget: Budget) -> Session:
        """Return the role of the pod or task."""
        ...

    async def instance(self, budget: Budget) -> Session:
        """Return the role of the instance."""
        ...


class Sessions:
    """Opens a session for each climb; keeps none."""

    def __init__(self, sts: Sts, platform: Platform, identity_tokens: IdentityTokens) -> None:
        self._sts = sts
        self._platform = platform
        self._identity_tokens = identity_tokens

    async def open(self, order: ExchangeOrder, place: Place, budget: Budget) -> Session:
        """Return keys that ask for a token; raise CloudRefusedError, NoAnswerError or IdentityTokenError."""
        requests = list(role_requests(order))
        match order.method:
            case WebIdentity():
                session = await self._federated(order, order.method, place, requests.pop(0), budget)
            case Container():
                session = await self._platform.container(budget)
            case Instance():
                session = await self._platform.instance(budget)
            case method:
                session = _given(method)
        for request in requests:
            assumed = await self._sts.assume_role(place, session.keys, request, budget)
            session = assumed.after(session)
        return session

    async def _federated(
        self, order: ExchangeOrder, method: WebIdentity, place: Place, request: RoleRequest, budget: Budget
    ) -> Session:
        token = await self._identity_tokens.token(order.identity_id, method.identity_token)
        return await self._sts.assume_role_with_web_identity(place, token, request, budget)


def role_requests(order: ExchangeOrder) -> tuple[RoleRequest, ...]:
    """Return what is asked for each role of the order's chain; the last session is the limited one."""
    method = order.method
    if not isinstance(method, RoleChain):
        return ()
    name = method.session_name or session_name(order.identity_id)
    last = len(method.role_arns)
    return tuple(
        RoleRequest(
            arn,
            name,
            order.external_id,
            method.duration_seconds,
            _session_policy(order, method) if number == last else None,
        )
        for number, arn in enumerate(method.role_arns, start=1)
    )


def session_name(identity_id: str) -> str:
    """Return the name a role session goes by in CloudTrail: it says which identity acted."""
    return re.sub(r"[^\w+=,.@-]", "-", f"vreg-{identity_id}", flags=re.ASCII)[:_SESSION_NAME_LIMIT]


def _session_policy(order: ExchangeOrder, method: RoleChain) -> str | None:
    """Return the limit of the last session; one that cannot be written is no reason to ask without."""
    if not method.repositories:
        return None
    if not isinstance(order.usable_for, AwsUsableFor):
        remedy = "Empty the identity's repositories."
        raise NoAnswerError(Refused("settings_invalid", "nobody said which accounts", remedy, is_final=True))
    return method.session_policy(order.usable_for, is_public=is_ecr_public_host(order.host))


def _given(method: AuthMethod) -> Session:
    """Return the key that a person gave us, as it is."""
    if not isinstance(method, AccessKey | AssumeRole):
        remedy = "Choose one of AWS's auth methods for this identity."
        raise NoAnswerError(Refused("method_not_supported", remedy=remedy, is_final=True))
    keys = AwsKeys(method.access_key_id, method.secret_access_key, method.session_token)
    return Session(keys, method.access_key_id)
