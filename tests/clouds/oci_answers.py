"""How a registry says no: the error document of the distribution protocol."""

from tests.clouds.wire import Headers, Response

VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")


def oci_error(status: int, code: str, message: str, headers: Headers = ()) -> Response:
    """Return one error."""
    document = {"errors": [{"code": code, "message": message}]}
    return Response.of_json(status, document, (VERSION, *headers))
