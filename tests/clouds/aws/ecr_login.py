"""Who may enter an ECR registry: Basic `AWS:<token>`, and what is said to all others."""

import base64
from dataclasses import dataclass

from tests.clouds.aws.model import Principal
from tests.clouds.aws.places import Place
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.tokens import Token, looks_like_token
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.wire import Request, Response


@dataclass(frozen=True, slots=True)
class Admitted:
    """The principal whose token was shown."""

    principal: Principal


def admit(request: Request, place: Place, state: AwsState) -> Admitted | Response:
    """Return who is asking, or the answer for somebody who may not ask.

    A token of another region is taken for an unknown one; nobody has documented what really happens.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return _challenge(request.host)
    credential = _decoded(value)
    if credential is None:
        return _garbage()
    username, _, password = credential.partition(":")
    if username != "AWS":
        return _challenge(request.host)
    token = state.tokens.find(password)
    if token is None:
        return _challenge(request.host) if looks_like_token(password) else _garbage()
    return _judge(token, request.host, place, state)


def _judge(token: Token, host: str, place: Place, state: AwsState) -> Admitted | Response:
    if _is_expired(token, state):
        return oci_error(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
    if (token.partition, token.region) != (place.partition, place.region):
        return _challenge(host)
    return Admitted(token.key.principal)


def _is_expired(token: Token, state: AwsState) -> bool:
    now = state.clock.now()
    is_session_over = token.key.expires_at is not None and now >= token.key.expires_at
    return now >= token.expires_at or (state.tokens_end_with_sessions and is_session_over)


def _decoded(value: str) -> str | None:
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except ValueError:
        return None
    return decoded if ":" in decoded else None


def _challenge(host: str) -> Response:
    headers = (
        VERSION,
        ("WWW-Authenticate", f'Basic realm="https://{host}/",service="ecr.amazonaws.com"'),
        ("Content-Type", "text/plain; charset=utf-8"),
    )
    return Response(401, headers, b"Not Authorized\n")


def _garbage() -> Response:
    # The real one's words vary, so nobody should read them.
    return Response(400, (VERSION, ("Content-Type", "text/plain; charset=utf-8")), b"Bad Request\n")
