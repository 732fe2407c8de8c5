"""Microsoft Entra: discovery, and tokens for applications, under the authority of each cloud."""

import re
from urllib.parse import parse_qs
from uuid import uuid4

from tests.clouds.azure import aadsts
from tests.clouds.azure.aadsts import EntraRefusalError, entra_refusal
from tests.clouds.azure.model import Identity, Tenant
from tests.clouds.azure.places import find_place
from tests.clouds.azure.proofs import Proofs
from tests.clouds.azure.state import REGISTRY_AUDIENCE, AzureState
from tests.clouds.wire import Request, Response

_TOKEN = re.compile(r"/(?P<tenant>[^/]+)/oauth2/v2\.0/token")
_DISCOVERY = re.compile(r"/(?P<tenant>[^/]+)/v2\.0/\.well-known/openid-configuration")
ARM_AUDIENCES = {
    "public": "https://management.azure.com",
    "us_gov": "https://management.usgovcloudapi.net",
    "china": "https://management.chinacloudapi.cn",
}


class Entra:
    """Tenants answer under their own cloud's authority, by id or by domain."""

    name = "entra"

    def __init__(self, state: AzureState) -> None:
        self._state = state
        self._proofs = Proofs(state)

    async def answer(self, request: Request) -> Response:
        """Answer discovery and the token endpoint."""
        place = find_place(request.host)
        assert place is not None
        if (odd := self._state.odd.pop(self.name, None)) is not None:
            return Response(200, (("Content-Type", "application/json"),), odd.encode())
        if request.plain_path == "/common/discovery/instance" and request.method == "GET":
            request.note.operation = "InstanceDiscovery"
            return _instances(request)
        try:
            if (match := _DISCOVERY.fullmatch(request.plain_path)) and request.method == "GET":
                request.note.operation = "Discovery"
                return self._discovery(request, self._tenant(match["tenant"], place.cloud))
            if (match := _TOKEN.fullmatch(request.plain_path)) and request.method == "POST":
                request.note.operation = "Token"
                return await self._token(request, match["tenant"], place.cloud)
        except EntraRefusalError as error:
            request.note.subject = str(error)
            return entra_refusal(error, self._state.clock.now(), request.host)
        return Response(404, (("Content-Type", "text/html"),), b"<html><body>Not found</body></html>")

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        error = EntraRefusalError(aadsts.THROTTLED, "The server is temporarily throttling this tenant.")
        answer = entra_refusal(error, self._state.clock.now(), "login.microsoftonline.com")
        wait = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response(answer.status, (*answer.headers, *wait), answer.body)

    def failed(self, status: int) -> Response:
        """Be unwell; the front door speaks no JSON."""
        return Response(status, (("Content-Type", "text/html"),), b"<html><body>Service error</body></html>")

    def _tenant(self, name: str, cloud: str) -> Tenant:
        tenant = self._state.model.tenant_named(name, cloud)
        if tenant is None:
            words = f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID."
            raise EntraRefusalError(aadsts.NO_TENANT, words)
        return tenant

    def _discovery(self, request: Request, tenant: Tenant) -> Response:
        base = f"https://{request.host}/{tenant.id}"
        document = {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{base}/v2.0",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
        }
        return Response.of_json(200, document)

    async def _token(self, request: Request, name: str, cloud: str) -> Response:
        body = (await request.body()).decode()
        form = {key: values[0] for key, values in parse_qs(body, keep_blank_values=True).items()}
        tenant = self._tenant(name, cloud)
        if form.get("grant_type") != "client_credentials":
            raise EntraRefusalError(aadsts.BAD_GRANT, "The app requested an unsupported grant type.")
        identity = self._identity(form.get("client_id", ""), tenant)
        request.note.principal = identity.client_id
        base = f"https://{request.host}"
        audiences = frozenset(f"{base}/{each}/oauth2/v2.0/token" for each in (name, tenant.id))
        await self._proofs.check(identity, form, audiences | {f"{base}/{tenant.id}/v2.0"})
        audience = self._audience(form.get("scope", ""), cloud)
        token = entra_token(self._state, identity, tenant, audience)
        life = int(self._state.entra_token_seconds)
        document = {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token}
        return Response.of_json(200, document, (("x-ms-request-id", str(uuid4())),))

    def _identity(self, client_id: str, tenant: Tenant) -> Identity:
        identity = self._state.model.identities.get(client_id.lower())
        if identity is None or tenant.id not in identity.principals:
            words = (
                f"Application with identifier '{client_id}' was not found in the directory "
                f"'{tenant.domain}'. This can happen if the application has not been installed by the "
                "administrator of the tenant."
            )
            raise EntraRefusalError(aadsts.NO_APPLICATION, words)
        return identity

    def _audience(self, scope: str, cloud: str) -> str:
        audience, is_default, rest = scope.partition("/.default")
        known = {ARM_AUDIENCES[cloud]} | ({REGISTRY_AUDIENCE} if self._state.knows_audience else set())
        if not is_default or rest or audience not in known:
            words = f"The resource principal named {audience} was not found in the tenant."
            raise EntraRefusalError(aadsts.NO_RESOURCE, words)
        return audience


def _instances(request: Request) -> Response:
    """Return which names are one authority: MSAL asks after an error, and where it does not know a name."""
    aliases = {"preferred_network": request.host, "preferred_cache": request.host, "aliases": [request.host]}
    document = {
        "tenant_discovery_endpoint": f"https://{request.host}/common/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [aliases],
    }
    return Response.of_json(200, document)


def entra_token(state: AzureState, identity: Identity, tenant: Tenant, audience: str) -> str:
    """Return an access token of an identity's principal in a tenant."""
    now, object_id = int(state.clock.now()), identity.principals[tenant.id]
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant.id}/",
        "iat": now,
        "nbf": now,
        "exp": int(now + state.entra_token_seconds),
        "appid": identity.client_id,
        "oid": object_id,
        "sub": object_id,
        "tid": tenant.id,
        "uti": uuid4().hex[:22],
        "ver": "1.0",
    }
    return state.entra_signer.sign(claims)
