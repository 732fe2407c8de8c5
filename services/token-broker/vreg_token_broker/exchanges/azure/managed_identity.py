"""The token that the machine's own platform hands out, in clear, on an address that only it answers.

Written by hand: azure-identity's ManagedIdentityCredential chooses its source by whatever variables it finds
(on AKS it becomes another identity altogether), and names a resource id by a parameter no service knows.
Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
"""

from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from vreg_shared.providers.azure.auth_methods import ManagedIdentity
from vreg_shared.providers.azure.refusals import APP_SERVICE, IMDS
from vreg_shared.secret import Secret
from vreg_token_broker.answers import NoAnswerError
from vreg_token_broker.exchange import Refused
from vreg_token_broker.exchanges.azure.answers import TIMEOUT, calling, read

_RESOURCE: Final = "https://containerregistry.azure.net"
_IMDS_ORIGIN: Final = "http://169.254.169.254"
_IMDS_PATH: Final = "/metadata/identity/oauth2/token"
_REMEDY_SOURCE: Final = (
    "Give the app that the token-broker runs in an identity: Azure then sets IDENTITY_ENDPOINT and "
    "IDENTITY_HEADER. On a virtual machine, choose the source imds."
)


class MachineTokens:
    """Asks the source that the identity names; `environment` is what the platform told this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def token(self, method: ManagedIdentity) -> Secret:
        """Return the machine's token for the registry service; raise CloudRefusedError or NoAnswerError."""
        if method.source == "imds":
            return await self._ask(IMDS, self._imds_url(method), {"Metadata": "true"})
        return await self._ask(APP_SERVICE, *self._app_service(method))

    def _imds_url(self, method: ManagedIdentity) -> URL:
        origin = self._environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _IMDS_ORIGIN).rstrip("/")
        query = {"api-version": "2018-02-01", "resource": _RESOURCE, **_named(method, "msi_res_id")}
        return URL(origin + _IMDS_PATH).with_query(query)

    def _app_service(self, method: ManagedIdentity) -> tuple[URL, dict[str, str]]:
        endpoint = self._environment.get("IDENTITY_ENDPOINT", "")
        header = self._environment.get("IDENTITY_HEADER", "")
        if not (endpoint and header):
            detail = f"{APP_SERVICE}: the platform tells this process of no identity"
            raise NoAnswerError(Refused("no_ambient_identity", detail, _REMEDY_SOURCE))
        query = {"api-version": "2019-08-01", "resource": _RESOURCE, **_named(method, "mi_res_id")}
        return URL(endpoint).update_query(query), {"X-IDENTITY-HEADER": header}

    @staticmethod
    async def _ask(step: str, url: URL, headers: Mapping[str, str]) -> Secret:
        """Ask past the egress gate: the address is the platform's, and nobody's input."""
        async with (
            calling(step, url),
            aiohttp.ClientSession(
                timeout=TIMEOUT, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            return (await read(response, step)).token(step, "access_token")


def _named(method: ManagedIdentity, resource_parameter: str) -> dict[str, str]:
    """Return the parameter that names a user-assigned identity, or none for the machine's own."""
    known = {
        "client_id": method.client_id,
        "object_id": method.object_id,
        resource_parameter: method.resource_id,
    }
    return {name: value for name, value in known.items() if value is not None}
