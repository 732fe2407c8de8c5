"""Who knocks at Artifact Registry: every way to present a credential, the challenges, and its own tokens."""

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.clouds.gcp.paths import Asked, read_path
from tests.clouds.gcp.places import Place
from tests.clouds.gcp.state import GcpState
from tests.clouds.gcp.tokens import CLOUD_PLATFORM, READ_ONLY, STORAGE_READ_ONLY, Principal, Token
from tests.clouds.oci_answers import oci_error
from tests.clouds.wire import Request, Response

_PULLING = frozenset({CLOUD_PLATFORM, READ_ONLY, STORAGE_READ_ONLY})
_REGISTRY_TOKEN_SECONDS = 43200
_NO_CREDENTIAL = "not authenticated: No credential was supplied."
_NO_VALID_CREDENTIAL = "not authenticated: No valid credential was supplied."


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody, or nobody in particular, whose credential is good."""

    principal: Principal | None
    has_scope: bool = True
    """Whether the token may be used for pulling at all."""

    @property
    def name(self) -> str:
        """The principal, for the log."""
        return self.principal.name if self.principal is not None else ""


class GarLogin:
    """A credential that is not good is answered without a challenge, whatever is wrong with it."""

    def __init__(self, state: GcpState) -> None:
        self._state = state
        self._given: dict[str, tuple[float, Admitted]] = {}

    def admit(self, request: Request, place: Place, asked: Asked | None) -> Admitted | Response:
        """Return who asks for something on `/v2/`."""
        value = request.headers.get("authorization")
        if value is None:
            return _challenge(request.host, place, asked)
        return self._known(value) or _rejected(_NO_VALID_CREDENTIAL)

    def token(self, request: Request, place: Place) -> Response:
        """Answer `/v2/token`."""
        request.note.operation = "Token"
        if request.method != "GET":
            return oci_error(405, "UNSUPPORTED", "The operation is unsupported.")
        value = request.headers.get("authorization")
        known = self._known(value) if value is not None else Admitted(None)
        if known is None:
            return _rejected("authentication failed")
        if known.principal is None and self._state.anonymous_is_refused_at_token:
            asked = read_path(_repository_of(request.parameter("scope") or ""), place)
            if asked is not None and not self._is_public(asked):
                return denied(asked, known.principal)
        token, end = self._registry_token(), self._state.clock.now() + _REGISTRY_TOKEN_SECONDS
        self._given[token] = (end, known)
        return Response.of_json(200, {"token": token, "expires_in": _REGISTRY_TOKEN_SECONDS})

    def _known(self, value: str) -> Admitted | None:
        scheme, _, credential = value.partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(credential)
        try:
            username, colon, password = base64.b64decode(credential, validate=True).decode().partition(":")
        except ValueError:
            return None
        if scheme.lower() != "basic" or not colon:
            return None
        if username in {"oauth2accesstoken", "_token"} or username.startswith("_dcgcr_"):
            return self._by_token(password)
        if username in {"_json_key", "_json_key_base64"}:
            return self._by_key(password, is_encoded=username.endswith("_base64"))
        return None

    def _by_token(self, text: str) -> Admitted | None:
        now = self._state.clock.now()
        end, admitted = self._given.get(text, (0.0, None))
        if admitted is not None:
            return admitted if now < end else None
        token: Token | None = self._state.tokens.find(text, now)
        return Admitted(token.principal, bool(token.scopes & _PULLING)) if token is not None else None

    def _by_key(self, text: str, *, is_encoded: bool) -> Admitted | None:
        try:
            document: dict[str, Any] = json.loads(base64.b64decode(text) if is_encoded else text)
            key = load_pem_private_key(str(document["private_key"]).encode(), None)
            account = self._state.model.accounts[document["client_email"]]
            public = account.key(document["private_key_id"])
        except (ValueError, KeyError, TypeError):
            return None
        if not isinstance(key, RSAPrivateKey) or public != key.public_key():
            return None
        return Admitted(Principal.of_account(account.email))

    def _is_public(self, asked: Asked) -> bool:
        repository = self._state.model.repositories.get(asked.where)
        return repository is not None and repository.permits(None)

    def _registry_token(self) -> str:
        inner = {
            "access_token": "",
            "commands": [],
            "token_id": secrets.token_hex(32),
            "product": "artifactregistry",
        }
        return base64.b64encode(json.dumps(inner).encode()).decode()


def denied(asked: Asked, principal: Principal | None) -> Response:
    """Answer that somebody may not read, in words that do not tell whether there is anything."""
    project, location, name = asked.where
    resource = f'"projects/{project}/locations/{location}/repositories/{name}" (or it may not exist)'
    permission = '"artifactregistry.repositories.downloadArtifacts"'
    words = f"Permission {permission} denied on resource {resource}"
    if principal is None:
        words = (
            "Unauthenticated request. Unauthenticated requests do not have permission "
            f"{permission} on resource {resource}"
        )
    return oci_error(403, "DENIED", words)


def _challenge(host: str, place: Place, asked: Asked | None) -> Response:
    realm = f'Bearer realm="https://{host}/v2/token"'
    if asked is None:
        return oci_error(401, "UNAUTHORIZED", _NO_CREDENTIAL, (("WWW-Authenticate", realm),))
    # Of two components only, the real one makes up a third.
    image = asked.path if asked.image or place.repository else f"{asked.path}/pkg"
    challenge = f'{realm},service="{host}",scope="repository:{image}:pull"'
    return oci_error(401, "UNAUTHORIZED", _NO_VALID_CREDENTIAL, (("WWW-Authenticate", challenge),))


def _rejected(message: str) -> Response:
    return oci_error(401, "UNAUTHORIZED", message)


def _repository_of(scope: str) -> str:
    parts = scope.split(":")
    return parts[1] if len(parts) == 3 else ""
