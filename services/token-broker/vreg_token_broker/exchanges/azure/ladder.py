"""The climb: whatever proves who we are, to a token of Microsoft Entra, to the registry's refresh token."""

from typing import Protocol

from vreg_shared.auth_method import AuthMethod
from vreg_shared.clock import Clock
from vreg_shared.lease import RegistryCredential
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.azure.auth_methods import (
    ClientCertificate,
    ClientSecret,
    ManagedIdentity,
    WorkloadIdentity,
)
from vreg_shared.providers.azure.hosts import AcrHost
from vreg_shared.providers.azure.refusals import EXCHANGE, REFUSALS
from vreg_shared.providers.azure.registry import NOBODY
from vreg_shared.secret import Secret
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError
from vreg_token_broker.exchange import (
    ExchangeOrder,
    IdentityTokenError,
    IdentityTokens,
    Issued,
    Outcome,
    Refused,
    Unavailable,
    outcome_of,
)
from vreg_token_broker.exchanges.azure.claims import lifetime, principal_of
from vreg_token_broker.exchanges.azure.registry import RefreshToken

_METHODS = ClientSecret | ClientCertificate | WorkloadIdentity | ManagedIdentity


class Entra(Protocol):
    """Microsoft Entra, as far as it is needed; raises CloudRefusedError or NoAnswerError."""

    async def by_secret(self, method: ClientSecret) -> Secret:
        """Return a token for a client secret."""
        ...

    async def by_certificate(self, method: ClientCertificate) -> Secret:
        """Return a token for a certificate's key."""
        ...

    async def by_assertion(self, method: WorkloadIdentity, identity_token: Secret) -> Secret:
        """Return a token for an identity token of another issuer."""
        ...


class Machine(Protocol):
    """The platform that vreg runs on; raises CloudRefusedError or NoAnswerError."""

    async def token(self, method: ManagedIdentity) -> Secret:
        """Return the token of a managed identity."""
        ...


class Registry(Protocol):
    """The registry's exchange; raises CloudRefusedError or NoAnswerError."""

    async def refresh_token(self, host: str, entra_token: Secret) -> RefreshToken:
        """Return a refresh token for a token of Microsoft Entra."""
        ...


class AzureExchange:
    """Climbs once; asks the registry only when Entra gave a token."""

    def __init__(
        self, entra: Entra, machine: Machine, registry: Registry, tokens: IdentityTokens, clock: Clock
    ) -> None:
        self._entra = entra
        self._machine = machine
        self._registry = registry
        self._tokens = tokens
        self._clock = clock

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Return a credential for the order's registry, or why not."""
        refused = _misfit(order.method, order.host)
        if refused is not None:
            return refused
        try:
            entra_token = await self._entra_token(order)
            given = await self._registry.refresh_token(order.host, entra_token)
        except CloudRefusedError as error:
            return outcome_of(REFUSALS, error.refusal, self._clock.now())
        except (NoAnswerError, IdentityTokenError) as error:
            return error.outcome
        return self._issued(order, given, principal_of(entra_token))

    async def _entra_token(self, order: ExchangeOrder) -> Secret:
        method = order.method
        if isinstance(method, ClientSecret):
            return await self._entra.by_secret(method)
        if isinstance(method, ClientCertificate):
            return await self._entra.by_certificate(method)
        if isinstance(method, ManagedIdentity):
            return await self._machine.token(method)
        assert isinstance(method, WorkloadIdentity)  # noqa: S101 - `_misfit` knows no other
        identity_token = await self._tokens.token(order.identity_id, method.identity_token)
        return await self._entra.by_assertion(method, identity_token)

    def _issued(self, order: ExchangeOrder, given: RefreshToken, principal: str) -> Outcome:
        ids = (given.request_id,) if given.request_id else ()
        issued_at, not_after = lifetime(given.token, given.date, self._clock.now())
        if not_after <= issued_at:
            detail = f"{EXCHANGE}: the token had ended at {not_after.isoformat()} when it came"
            return Unavailable("clock_skew", detail, request_ids=ids)
        credential = RegistryCredential(NOBODY, given.token, order.kind.presentation)
        return Issued(credential, issued_at, not_after, principal or order.method.tag, ids)


def _misfit(method: AuthMethod, host: str) -> Refused | None:
    """Return why nobody is asked: the method is not Azure's, or not of the registry's cloud."""
    if not isinstance(method, _METHODS):
        remedy = "Choose one of Azure's auth methods for this identity."
        return Refused("method_not_supported", remedy=remedy, is_final=True)
    try:
        cloud = AcrHost.parse(host).cloud.name
    except InvalidHostError as error:
        return Refused("host_invalid", str(error), "Use the registry's login server.", is_final=True)
    if isinstance(method, ManagedIdentity) or method.cloud == cloud:
        return None
    detail = f"an identity of the cloud {method.cloud}, a registry of {cloud}"
    return Refused("cloud_mismatch", detail, "Use an identity of the registry's own cloud.", is_final=True)
