"""What hands out managed identities: IMDS on a virtual machine, and App Service's endpoint, in clear."""

import secrets
from uuid import uuid4

from tests.clouds.azure.entra import entra_token
from tests.clouds.azure.model import Identity
from tests.clouds.azure.state import REGISTRY_AUDIENCE, AzureState
from tests.clouds.wire import Request, Response

IMDS, APP_SERVICE = "azure-imds", "azure-app-service"
_IMDS_PATH = "/metadata/identity/oauth2/token"


class _Machine:
    """What both have in common: whose token is meant, and how it is written."""

    name = ""

    def __init__(self, state: AzureState) -> None:
        self._state = state

    def identities(self) -> list[Identity]:
        """Return the identities of this machine, its own first."""
        model = self._state.model
        return [model.identity(each) for each in model.machines.get(self.name, ())]

    def given(self, request: Request, identity: Identity, resource: str, seconds: float) -> Response:
        """Return a token; every value is a string."""
        request.note.principal = identity.client_id
        state = self._state
        token = entra_token(state, identity, state.model.require_tenant(identity.home), resource)
        now = int(state.clock.now())
        document = {
            "access_token": token,
            "client_id": identity.client_id,
            "expires_in": str(int(seconds)),
            "expires_on": str(now + int(seconds)),
            "ext_expires_in": str(int(seconds)),
            "not_before": str(now),
            "resource": resource,
            "token_type": "Bearer",
        }
        return Response.of_json(200, document, (("x-ms-request-id", str(uuid4())),))

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response.of_json(status, {"error": "internal_error", "error_description": "Try again."})


class Imds(_Machine):
    """The instance metadata service."""

    name = IMDS

    async def answer(self, request: Request) -> Response:
        """Answer the token path, to whoever sends the header that no browser or redirect does."""
        request.note.operation = "ManagedIdentityToken"
        if request.headers.get("metadata", "").lower() != "true":
            return _imds_error("invalid_request", "Required metadata header not specified")
        if request.plain_path != _IMDS_PATH or request.method != "GET":
            return Response.of_json(404, {"error": "not_found", "error_description": "Not found"})
        if request.parameter("api-version") != "2018-02-01":
            return _imds_error("invalid_request", "The requested version is not supported")
        resource = request.parameter("resource") or ""
        if resource.rstrip("/") != REGISTRY_AUDIENCE or not self._state.knows_audience:
            words = f"AADSTS500011: The resource principal named {resource} was not found in the tenant."
            return _imds_error("invalid_resource", words)
        identity = self._chosen(request)
        if isinstance(identity, Response):
            return identity
        return self.given(request, identity, resource, self._state.entra_token_seconds)

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        wait = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response.of_json(429, {"error": "Too many requests"}, wait)

    def _chosen(self, request: Request) -> Identity | Response:
        known = self.identities()
        wanted = {name: request.parameter(name) for name in ("client_id", "object_id", "msi_res_id")}
        named = {name: value for name, value in wanted.items() if value is not None}
        if named:
            found = [each for each in known if _is(each, named, "msi_res_id")]
            return found[0] if found else _imds_error("invalid_request", "Identity not found")
        if any(each.resource_id is None for each in known):
            return next(each for each in known if each.resource_id is None)
        if len(known) == 1:
            return known[0]
        if not known:
            return _imds_error("invalid_request", "Identity not found")
        words = "Multiple user assigned identities exist, please specify the clientId / resourceId of one."
        return _imds_error("invalid_request", words)


class AppService(_Machine):
    """The endpoint of App Service, Functions and Container Apps; its header is told to the app alone."""

    name = APP_SERVICE

    def __init__(self, state: AzureState) -> None:
        super().__init__(state)
        self.header = secrets.token_hex(16)

    async def answer(self, request: Request) -> Response:
        """Answer whoever knows the header."""
        request.note.operation = "ManagedIdentityToken"
        if request.headers.get("x-identity-header") != self.header:
            return _app_error(401, "The header X-IDENTITY-HEADER is not this app's.")
        if request.parameter("api-version") != "2019-08-01":
            return _app_error(400, "The api-version is not supported.")
        resource = request.parameter("resource") or ""
        wanted = {
            name: request.parameter(name) for name in ("client_id", "object_id", "principal_id", "mi_res_id")
        }
        named = {name: value for name, value in wanted.items() if value is not None}
        own = [each for each in self.identities() if each.resource_id is None]
        found = [each for each in self.identities() if _is(each, named, "mi_res_id")] if named else own
        if not found or resource.rstrip("/") != REGISTRY_AUDIENCE:
            words = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/"
            return _app_error(400, words + "PrincipalId.")
        return self.given(request, found[0], resource, self._state.entra_token_seconds)

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        wait = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response.of_json(429, {"statusCode": 429, "message": "Too many requests"}, wait)


def _is(identity: Identity, named: dict[str, str], resource_parameter: str) -> bool:
    sides = {
        "client_id": identity.client_id,
        "object_id": identity.principals[identity.home],
        "principal_id": identity.principals[identity.home],
        resource_parameter: identity.resource_id or "",
    }
    return identity.resource_id is not None and all(
        sides[name].lower() == value.lower() for name, value in named.items()
    )


def _imds_error(code: str, words: str) -> Response:
    return Response.of_json(400, {"error": code, "error_description": words})


def _app_error(status: int, words: str) -> Response:
    return Response.of_json(status, {"statusCode": status, "message": words})
