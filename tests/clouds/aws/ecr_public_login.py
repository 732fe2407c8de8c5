"""Who may enter ECR Public: bearers of a token, and nobody by Basic; tokens are for everybody who asks.

Source: live answers quoted in public issues (apple/container#847, containers-roadmap#2835,
terraform-provider-docker#666). How long an anonymous token lives is not documented; it has no `expires_in`.
"""

import base64

from tests.clouds.aws.model import Principal
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.tokens import ANONYMOUS, PUBLIC, Token
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.wire import Request, Response

SERVICE = "public.ecr.aws"
_EXPIRED = (
    "Your Authorization Token has expired. Please run 'aws ecr-public get-login-password' to fetch a new one."
)
_INVALID = "Your Authorization Token is invalid."


def admit(request: Request, state: AwsState) -> Principal | Response:
    """Return who is asking, or the answer for somebody who may not ask; only nothing at all is challenged."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return _challenge(request.host)
    token = _shown(value, state) if scheme.lower() == "bearer" else None
    if token is None or token.region != PUBLIC:
        return oci_error(400, "DENIED", _INVALID)
    if state.clock.now() >= token.expires_at:
        return oci_error(400, "DENIED", _EXPIRED)
    return token.key.principal


def issue(request: Request, state: AwsState) -> Response:
    """Answer the token endpoint: anybody gets a token, and who logs in as docker does gets his own."""
    request.note.operation = "Token"
    request.note.subject = request.parameter("scope") or ""
    key = ANONYMOUS
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme:
        shown = _shown(value, state) if scheme.lower() == "basic" else None
        if shown is None or shown.region != PUBLIC or state.clock.now() >= shown.expires_at:
            return oci_error(400, "DENIED", _INVALID)
        key = shown.key
    if request.parameter("service") != SERVICE:
        return oci_error(400, "UNSUPPORTED", "Invalid parameter at 'service'")
    request.note.principal = key.principal.arn
    ends = state.clock.now() + state.token_seconds
    return Response.of_json(200, {"token": state.tokens.issue(Token(key, "aws", PUBLIC, ends))})


def _shown(value: str, state: AwsState) -> Token | None:
    """Return what stands behind a token of the endpoint, or one of the API: `AWS:` and more, in base64."""
    known = state.tokens.find(value)
    if known is not None:
        return known
    try:
        username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return None
    return state.tokens.find(password) if username == "AWS" else None


def _challenge(host: str) -> Response:
    value = f'Bearer realm="https://{host}/token/",service="{SERVICE}",scope="aws"'
    body = b'{"errors":[{"code":"DENIED","message":"Not Authorized"}]}\n'
    kind = ("Content-Type", "application/json; charset=utf-8")
    return Response(401, (VERSION, ("WWW-Authenticate", value), kind), body)
