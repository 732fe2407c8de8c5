"""The metadata server of one machine: in clear, for whoever knows the magic header."""

from urllib.parse import parse_qs

from tests.clouds.gcp.state import GcpState
from tests.clouds.gcp.tokens import CLOUD_PLATFORM, Principal
from tests.clouds.wire import Headers, Request, Response

_ROOT = "/computeMetadata/v1/"
_ACCOUNT = f"{_ROOT}instance/service-accounts/default/"
_FLAVOR = ("Metadata-Flavor", "Google")
_TEXT: Headers = (_FLAVOR, ("Content-Type", "application/text"), ("Server", "Metadata Server for VM"))
_JSON: Headers = (_FLAVOR, ("Content-Type", "application/json"), ("Server", "Metadata Server for VM"))
_HTML: Headers = (_FLAVOR, ("Content-Type", "text/html; charset=UTF-8"))
_KEPT_SECONDS = 300


class Metadata:
    """It keeps tokens, and hands out one that has some minutes left again."""

    name = "gcp-metadata"

    def __init__(self, state: GcpState) -> None:
        self._state = state
        self._kept: dict[frozenset[str], str] = {}

    async def answer(self, request: Request) -> Response:
        """Answer a GET below `/computeMetadata/v1/`, and the presence probe."""
        if request.path == "/":
            return Response(200, _TEXT, b"computeMetadata/\n")
        if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
            return Response(403, _HTML, b"<html>Missing required header: Metadata-Flavor</html>")
        if request.path == f"{_ROOT}project/project-id":
            return Response(200, _TEXT, self._state.machine.project.encode())
        machine, rest = self._state.machine, request.path.removeprefix(_ACCOUNT)
        if machine.email is None or rest == request.path:
            return Response(404, _HTML, b"<html>404: the requested metadata does not exist</html>")
        request.note.principal = f"serviceAccount:{machine.email}"
        return self._account(request, rest, machine.email)

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response(429, (*_HTML, *headers), b"Too many requests\n")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, _HTML, b"<html>Internal error</html>")

    def _account(self, request: Request, what: str, email: str) -> Response:
        machine = self._state.machine
        if what == "" and request.parameter("recursive") == "true":
            document = {"aliases": ["default"], "email": email, "scopes": list(machine.scopes)}
            return Response.of_json(200, document, _JSON)
        if what == "email":
            return Response(200, _TEXT, email.encode())
        if what == "scopes":
            return Response(200, _TEXT, "".join(f"{each}\n" for each in machine.scopes).encode())
        if what == "token":
            request.note.operation = "MetadataToken"
            if machine.refusal is not None:
                status, words = machine.refusal
                return Response(status, _TEXT, words.encode())
            return self._token(email, self._granted(request))
        return Response(404, _HTML, b"<html>404: the requested metadata does not exist</html>")

    def _granted(self, request: Request) -> frozenset[str]:
        """Return the scopes asked for, where the machine's own permit it, or else the machine's own."""
        own = frozenset(self._state.machine.scopes)
        given = parse_qs(request.query).get("scopes", [""])[0]
        asked = frozenset(given.replace(",", " ").split())
        return asked if asked and CLOUD_PLATFORM in own else own

    def _token(self, email: str, scopes: frozenset[str]) -> Response:
        now, kept = self._state.clock.now(), self._kept.get(scopes, "")
        token = self._state.tokens.find(kept, now)
        principal = Principal.of_account(email)
        left = token.expires_at - now if token is not None and token.principal == principal else 0
        if left < min(_KEPT_SECONDS, self._state.token_seconds / 2):
            kept, _ = self._state.issue(principal, scopes)
            left = self._state.token_seconds
            self._kept[scopes] = kept
        document = {"access_token": kept, "expires_in": max(0, int(left) - 1), "token_type": "Bearer"}
        return Response.of_json(200, document, _JSON)
