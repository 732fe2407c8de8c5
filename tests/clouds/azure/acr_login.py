"""The registry's `/oauth2/exchange` and `/oauth2/token`: who may have which token, for how much."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from tests.clouds.azure.acr_answers import acr_error, acr_headers, unauthorized, without_role
from tests.clouds.azure.acr_tokens import ACCESS, REFRESH, accepted, issue, refresh_token
from tests.clouds.azure.entra import ARM_AUDIENCES
from tests.clouds.azure.jwt import BadTokenError
from tests.clouds.azure.model import CATALOG, METADATA, PULL, Registry
from tests.clouds.azure.state import REGISTRY_AUDIENCE, AzureState
from tests.clouds.wire import Request, Response

NOBODY = "00000000-0000-0000-0000-000000000000"
ANONYMOUS = "anonymous"
_ACTIONS = {"content/read": PULL, "metadata/read": METADATA}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who asks for an access token; `may_read` is what a refresh token says of all repositories."""

    subject: str
    kind: str
    may_read: bool = False


class AcrLogin:
    """One registry at a time; what its owner may do is the model's business."""

    def __init__(self, state: AzureState) -> None:
        self._state = state

    async def exchange(self, request: Request, registry: Registry) -> Response:
        """Give a refresh token for a token of Microsoft Entra."""
        request.note.operation = "Exchange"
        form = await _form(request)
        if form.get("service") not in {registry.host, request.host}:
            return acr_error(400, "UNSUPPORTED", "service is not this registry")
        if form.get("grant_type") not in {"access_token", "access_token_refresh_token"}:
            return acr_error(400, "UNSUPPORTED", "grant_type is not supported")
        object_id = self._entra_principal(registry, form.get("access_token", ""))
        if object_id is None:
            return unauthorized()
        request.note.principal = object_id
        if self._state.refuses_at_exchange and not registry.has_role(object_id):
            return without_role()
        token = refresh_token(self._state, registry, object_id)
        return Response.of_json(200, {"refresh_token": token}, acr_headers())

    async def token(self, request: Request, registry: Registry) -> Response:
        """Give an access token for scopes, which may be for less than was asked."""
        request.note.operation = "Token"
        asked = _query(request) if request.method == "GET" else await _query_of_body(request)
        bearer = self._bearer(request, registry, {name: values[0] for name, values in asked.items()})
        if bearer is None:
            return unauthorized()
        request.note.principal = bearer.subject
        scopes = [each for value in asked.get("scope", []) for each in value.split()]
        request.note.subject = " ".join(scopes)
        if bearer.kind == REFRESH and not (bearer.may_read or registry.has_role(bearer.subject)):
            return without_role()
        access = [self._granted(registry, bearer, scope) for scope in scopes]
        if not self._state.reduces_access and any(not each["actions"] for each in access):
            return unauthorized()
        token = issue(
            self._state, registry, ACCESS, bearer.subject, access=[each for each in access if each["actions"]]
        )
        return Response.of_json(200, {"access_token": token}, acr_headers())

    def _entra_principal(self, registry: Registry, token: str) -> str | None:
        """Return the object id in a token of the registry's tenant and audience that has not ended."""
        try:
            claims = self._state.entra_signer.claims(token)
        except BadTokenError:
            return None
        audiences = {REGISTRY_AUDIENCE}
        if registry.allows_arm_tokens:
            audiences.add(ARM_AUDIENCES[registry.cloud])
        if claims["aud"].rstrip("/") not in audiences or claims["tid"] != registry.tenant:
            return None
        return str(claims["oid"]) if claims["exp"] > self._state.clock.now() else None

    def _bearer(self, request: Request, registry: Registry, form: Mapping[str, str]) -> Bearer | None:
        if form.get("grant_type") == "refresh_token":
            return self._by_refresh_token(registry, form.get("refresh_token", ""))
        header = request.headers.get("authorization")
        if header is None:
            return Bearer(ANONYMOUS, ANONYMOUS) if registry.allows_anonymous else None
        username, password = _basic(header)
        if username == NOBODY:
            return self._by_refresh_token(registry, password)
        if username == registry.name and registry.admin_password == password:
            return Bearer(username, "admin")
        token = registry.tokens.get(username)
        if token is not None and token.is_enabled and token.password == password:
            return Bearer(username, "scope_map")
        return self._by_application(registry, username, password)

    def _by_refresh_token(self, registry: Registry, token: str) -> Bearer | None:
        try:
            claims = accepted(self._state, registry, REFRESH, token)
        except BadTokenError:
            return None
        may_read = self._state.snapshots_permissions and "read" in claims["permissions"]["actions"]
        return Bearer(claims["sub"], REFRESH, may_read)

    def _by_application(self, registry: Registry, client_id: str, secret: str) -> Bearer | None:
        identity = self._state.model.identities.get(client_id)
        if identity is None or identity.secrets.get(secret, 0) <= self._state.clock.now():
            return None
        object_id = identity.principals.get(registry.tenant)
        return Bearer(object_id, REFRESH) if object_id is not None else None

    def _granted(self, registry: Registry, bearer: Bearer, scope: str) -> dict[str, object]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        wanted = actions.split(",")
        allowed = self._allowed(registry, bearer, kind, name)
        return {"type": kind, "name": name, "actions": [each for each in wanted if each in allowed]}

    def _allowed(self, registry: Registry, bearer: Bearer, kind: str, name: str) -> frozenset[str]:
        if kind == "registry":
            may_list = bearer.kind == "admin" or registry.may_list(bearer.subject)
            return frozenset({CATALOG}) if name == "catalog" and may_list else frozenset()
        if bearer.kind in {"admin", ANONYMOUS}:
            return frozenset({PULL, METADATA})
        if bearer.kind == "scope_map":
            token = registry.tokens[bearer.subject]
            return frozenset(_ACTIONS[each] for each in token.repositories.get(name, ()) if each in _ACTIONS)
        if bearer.may_read and (bearer.subject, name) not in registry.denied:
            return frozenset({PULL, METADATA})
        return registry.actions(bearer.subject, name)


async def _form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in (await _query_of_body(request)).items()}


async def _query_of_body(request: Request) -> dict[str, list[str]]:
    return parse_qs((await request.body()).decode(), keep_blank_values=True)


def _query(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.query, keep_blank_values=True)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        text = ""
    username, _, password = text.partition(":")
    return username, password
