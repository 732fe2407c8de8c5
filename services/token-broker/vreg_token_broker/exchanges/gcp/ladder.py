"""The climb: a proof becomes an access token, and that, along a chain of service accounts, another one."""

import asyncio
from typing import Final

from vreg_shared.lease import RegistryCredential
from vreg_shared.providers.gcp.auth_methods import (
    AwsAccessKeyFederation,
    AwsFederation,
    Impersonation,
    Metadata,
    ServiceAccountKey,
    WorkloadIdentityFederation,
)
from vreg_shared.providers.gcp.refusals import REFUSALS
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError
from vreg_token_broker.exchange import (
    ExchangeOrder,
    ExchangeWorld,
    IdentityTokenError,
    Issued,
    Outcome,
    Refused,
    Unavailable,
    outcome_of,
)
from vreg_token_broker.exchanges.aws.machine import Machine
from vreg_token_broker.exchanges.aws.rungs import AwsKeys, Budget
from vreg_token_broker.exchanges.gcp import google, metadata, wire
from vreg_token_broker.exchanges.gcp.google import IAM_SCOPE, READ_SCOPE, AccessToken
from vreg_token_broker.exchanges.gcp.proofs import assertion, aws_request, federated_principal
from vreg_token_broker.exchanges.gcp.wire import Wire

USERNAME: Final = "oauth2accesstoken"
_MACHINE_SECONDS: Final = 4.0
"""For all that a machine on AWS is asked: two calls to Google come after it, and flights wait 30 seconds."""
GcpMethod = (
    ServiceAccountKey
    | Impersonation
    | Metadata
    | WorkloadIdentityFederation
    | AwsFederation
    | AwsAccessKeyFederation
)


class GcpExchange:
    """Knows its methods and their order; what is asked and how stands in the modules beside it."""

    def __init__(self, world: ExchangeWorld) -> None:
        self._world = world

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Return an access token that every location takes, or why there is none."""
        if not isinstance(order.method, GcpMethod):
            return Refused(
                "method_not_supported",
                remedy="Choose one of Google's auth methods for this identity.",
                is_final=True,
            )
        try:
            token, principal = await self._climb(order.identity_id, order.method)
        except CloudRefusedError as error:
            return outcome_of(REFUSALS, error.refusal, self._world.clock.now())
        except (NoAnswerError, IdentityTokenError) as error:
            return error.outcome
        return self._issued(order, token, principal)

    async def _climb(self, identity_id: str, method: GcpMethod) -> tuple[AccessToken, str]:
        """Return a token, and whose it is."""
        async with wire.to_google(self._world.egress) as to_google:
            if isinstance(method, ServiceAccountKey) or not method.impersonate:
                return await self._first(to_google, identity_id, method, READ_SCOPE)
            base, _ = await self._first(to_google, identity_id, method, IAM_SCOPE)
            chain, seconds = method.impersonate, method.lifetime_seconds
            return await google.by_impersonation(to_google, base, chain, seconds), chain[-1]

    async def _first(
        self, to_google: Wire, identity_id: str, method: GcpMethod, scope: str
    ) -> tuple[AccessToken, str]:
        match method:
            case ServiceAccountKey() | Impersonation():
                # Reading a key and signing with it is milliseconds of arithmetic: off the loop.
                signed = await asyncio.to_thread(assertion, method, scope, self._world.clock.now())
                return await google.by_assertion(to_google, signed), method.client_email
            case Metadata():
                return await self._of_machine(scope)
            case WorkloadIdentityFederation():
                proof = await self._world.identity_tokens.token(identity_id, method.identity_token)
                principal = federated_principal(method.pool_name, proof)
                exchanged = await google.by_federation(
                    to_google, method.provider_name, proof, google.JWT_TYPE, scope
                )
                return exchanged, principal
            case AwsFederation() | AwsAccessKeyFederation():
                keys = await self._aws_keys(method)
                proof = aws_request(keys, method.region, method.provider_name)
                exchanged = await google.by_federation(
                    to_google, method.provider_name, proof, google.AWS_REQUEST_TYPE, scope
                )
                return exchanged, keys.access_key_id

    async def _of_machine(self, scope: str) -> tuple[AccessToken, str]:
        environment = self._world.environment
        async with wire.to_metadata() as to_metadata:
            account = await metadata.account(to_metadata, environment)
            return await metadata.token(to_metadata, environment, scope), account

    async def _aws_keys(self, method: AwsFederation | AwsAccessKeyFederation) -> AwsKeys:
        if isinstance(method, AwsAccessKeyFederation):
            return AwsKeys(method.access_key_id, method.secret_access_key)
        machine = Machine(self._world.environment, self._world.trust_file)
        ask = machine.container if method.source == "container" else machine.instance
        return (await ask(Budget.begin(self._world.clock, _MACHINE_SECONDS))).keys

    def _issued(self, order: ExchangeOrder, token: AccessToken, principal: str) -> Outcome:
        if not token.life:
            detail = "the token had ended when it came"
            return Unavailable("unexpected_answer", detail, request_ids=token.request_ids)
        now = self._world.clock.now()
        credential = RegistryCredential(USERNAME, token.token, order.kind.presentation)
        return Issued(credential, now, now + token.life, principal, token.request_ids)
