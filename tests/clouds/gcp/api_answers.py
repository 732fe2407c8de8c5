"""How Google says no outside the registry: OAuth's errors at token endpoints, and those of its APIs."""

from tests.clouds.wire import Response

_JSON = (("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store"))


def oauth_error(error: str, description: str, status: int = 400) -> Response:
    """Refuse as a token endpoint."""
    return Response.of_json(status, {"error": error, "error_description": description}, _JSON)


def token_answer(token: str, seconds: int, **more: str) -> Response:
    """Give a token as a token endpoint."""
    document = {"access_token": token, **more, "token_type": "Bearer", "expires_in": seconds}
    return Response.of_json(200, document, _JSON)


def api_error(code: int, status: str, message: str, details: tuple[object, ...] = ()) -> Response:
    """Refuse as an API."""
    error: dict[str, object] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = list(details)
    return Response.of_json(code, {"error": error}, _JSON)


def error_info(reason: str, domain: str, **metadata: str) -> dict[str, object]:
    """Return the detail by which programs tell errors apart."""
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": domain, "metadata": metadata}


def throttled(retry_after: int | None) -> Response:
    """Say that a quota is used up."""
    answer = api_error(
        429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Token exchange requests' and limit"
    )
    if retry_after is None:
        return answer
    return Response(answer.status, (*answer.headers, ("Retry-After", str(retry_after))), answer.body)


def failed(status: int) -> Response:
    """Be unwell, as an API behind Google's front end."""
    return api_error(status, "UNAVAILABLE" if status == 503 else "INTERNAL", "Internal error encountered.")
