"""Microsoft Entra's token for the registry service, by azure-identity on our own session and nothing else.

The only module that imports azure-identity. Of its two families the asynchronous one is used: it sends one
POST to the authority it is given, where the other reads AZURE_REGIONAL_AUTHORITY_NAME and asks for more. It
gets no policy of azure-core that repeats, logs, traces, or reads proxies and agents from the environment.
A credential lives for one call, so that no cache outlives a change.
"""

from typing import Final, Protocol

from azure.core.exceptions import AzureError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncRetryPolicy, ContentDecodePolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.identity.aio import CertificateCredential, ClientAssertionCredential, ClientSecretCredential
from yarl import URL

from vreg_shared.egress import EgressPolicy, EgressScope, open_session
from vreg_shared.providers.azure.auth_methods import ClientCertificate, ClientSecret, WorkloadIdentity
from vreg_shared.providers.azure.hosts import cloud_named
from vreg_shared.providers.azure.refusals import ENTRA
from vreg_shared.registry_client.failures import failure_of
from vreg_shared.secret import Secret
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError, headers_of, no_answer, strange
from vreg_token_broker.exchange import Refused
from vreg_token_broker.exchanges.azure.answers import (
    CONNECT_SECONDS,
    READ_SECONDS,
    TIMEOUT,
    Answer,
    calling,
    refusal_of,
)

SCOPE: Final = "https://containerregistry.azure.net/.default"
"""The same in every cloud; tokens for Azure Resource Manager are refused by registries that are hardened."""
_ERROR: Final = 400


class Credential(Protocol):
    """What azure-identity's credentials have in common."""

    async def get_token(self, *scopes: str) -> object:
        """Return a token with its end; raise AzureError."""
        ...


class _Witness(SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Judges an error by what came over the wire: the SDK's exception classes mix refusals and failures."""

    def on_response(
        self,
        request: PipelineRequest[HttpRequest],
        response: PipelineResponse[HttpRequest, AsyncHttpResponse],
    ) -> None:
        """Raise CloudRefusedError for every error answer, before the SDK reads it."""
        del request
        given = response.http_response
        if given.status_code >= _ERROR:
            answer = Answer(given.status_code, headers_of(given.headers), given.content)
            raise CloudRefusedError(refusal_of(ENTRA, answer))


class EntraTokens:
    """Asks the authority of the identity's cloud, once, through the egress gate."""

    def __init__(self, egress: EgressPolicy) -> None:
        self._egress = egress

    async def by_secret(self, method: ClientSecret) -> Secret:
        """Return a token for an application's secret; raise CloudRefusedError or NoAnswerError."""
        return await self._asked(method, method.client_secret)

    async def by_certificate(self, method: ClientCertificate) -> Secret:
        """Return a token for a certificate's key; raise CloudRefusedError or NoAnswerError."""
        return await self._asked(method, Secret(method.private_key.reveal() + method.certificate))

    async def by_assertion(self, method: WorkloadIdentity, identity_token: Secret) -> Secret:
        """Return a token for a foreign issuer's; raise CloudRefusedError or NoAnswerError."""
        return await self._asked(method, identity_token)

    async def _asked(
        self, method: ClientSecret | ClientCertificate | WorkloadIdentity, proof: Secret
    ) -> Secret:
        authority = cloud_named(method.cloud).authority
        url = URL(f"https://{authority}/")
        policy = self._egress.scoped(EgressScope(names=(authority,)))
        async with calling(ENTRA, url), open_session(policy, timeout=TIMEOUT) as session:
            transport = AioHttpTransport(
                session=session,
                session_owner=False,
                use_env_settings=False,
                connection_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
            )
            try:
                async with _credential(method, proof, authority, transport) as credential:
                    return _token(await credential.get_token(SCOPE))
            except AzureError as error:
                raise _failure(url, error) from error


def _credential(
    method: ClientSecret | ClientCertificate | WorkloadIdentity,
    proof: Secret,
    authority: str,
    transport: AioHttpTransport,
) -> ClientSecretCredential | CertificateCredential | ClientAssertionCredential:
    """Return a credential for one call; raise NoAnswerError for settings the SDK cannot use."""
    options = {
        "authority": authority,
        "transport": transport,
        "policies": [ContentDecodePolicy(), AsyncRetryPolicy.no_retries(), _Witness()],
    }
    who = method.tenant_id, method.client_id
    try:
        if isinstance(method, ClientSecret):
            return ClientSecretCredential(*who, proof.reveal(), **options)
        if isinstance(method, ClientCertificate):
            return CertificateCredential(*who, certificate_data=proof.reveal().encode(), **options)
        return ClientAssertionCredential(*who, proof.reveal, **options)
    except ValueError:
        remedy = "Correct the identity's settings: tenant id, client id, and certificate with its key."
        raise NoAnswerError(Refused("settings_invalid", ENTRA, remedy, is_final=True)) from None


def _token(given: object) -> Secret:
    token = getattr(given, "token", None)
    if not isinstance(token, str) or not token:
        raise strange(ENTRA, "the answer holds no token")
    return Secret(token)


def _failure(url: URL, error: AzureError) -> NoAnswerError:
    """Return what an SDK's error is that no error answer caused: the network's, or an odd answer's."""
    inner = error.inner_exception
    if inner is None or failure_of(inner, url) is None:
        return strange(ENTRA, "the answer is not Microsoft Entra's")
    return no_answer(ENTRA, url, inner)
