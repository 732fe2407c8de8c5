"""How the registry says no, with the number that its support asks for."""

from uuid import uuid4

from tests.clouds.azure.model import Registry
from tests.clouds.oci_answers import VERSION
from tests.clouds.wire import Headers, Request, Response


def acr_headers() -> Headers:
    """Return what every answer of the registry carries."""
    return (
        ("Server", "openresty"),
        VERSION,
        ("X-Ms-Correlation-Request-Id", str(uuid4())),
        ("X-Ms-Ratelimit-Remaining-Calls-Per-Second", "333.3"),
    )


def acr_error(status: int, code: str, message: str, detail: object = None, headers: Headers = ()) -> Response:
    """Return one error."""
    error = {"code": code, "message": message} | ({"detail": detail} if detail is not None else {})
    return Response.of_json(status, {"errors": [error]}, (*acr_headers(), *headers))


def unauthorized(detail: object = None, headers: Headers = ()) -> Response:
    """Return the 401 of the exchange, the token endpoint and the data plane."""
    words = "authentication required, visit https://aka.ms/acr/authorization for more information."
    return acr_error(401, "UNAUTHORIZED", words, detail, headers)


def challenge(request: Request, scope: tuple[str, str, str] | None, error: str = "") -> Response:
    """Return a 401 that says which token is wanted: type, name and action."""
    parameters = f'realm="https://{request.host}/oauth2/token",service="{request.host}"'
    detail = None
    if scope is not None:
        parameters += f',scope="{":".join(scope)}"'
        detail = [dict(zip(("Type", "Name", "Action"), scope, strict=True))]
    if error:
        parameters += f',error="{error}"'
    return unauthorized(detail, (("Www-Authenticate", f"Bearer {parameters}"),))


def without_role() -> Response:
    """Return the 403 for somebody who has no role on the registry."""
    return acr_error(403, "DENIED", "retrieving permissions failed")


def blocked(registry: Registry) -> Response | None:
    """Return the firewall's 403, or None when everybody is let in."""
    if registry.blocked_address is None:
        return None
    words = (
        f"client with IP '{registry.blocked_address}' is not allowed access. "
        "Refer https://aka.ms/acr/firewall to grant access."
    )
    return acr_error(403, "DENIED", f"{words} CorrelationId: {uuid4()}")
