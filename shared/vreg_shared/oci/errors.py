"""The error codes of the OCI distribution specification, as one table.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
"""

import json
from enum import Enum
from http import HTTPStatus


class OciError(Enum):
    """Code, HTTP status and our own words for each error a client of `/v2/` can meet."""

    BLOB_UNKNOWN = (HTTPStatus.NOT_FOUND, "no upstream of this registry has this blob")
    MANIFEST_UNKNOWN = (HTTPStatus.NOT_FOUND, "no upstream of this registry has this manifest")
    NAME_UNKNOWN = (HTTPStatus.NOT_FOUND, "this registry or repository is not known")
    NAME_INVALID = (HTTPStatus.BAD_REQUEST, "the repository name is malformed")
    TAG_INVALID = (HTTPStatus.BAD_REQUEST, "the tag is malformed")
    DIGEST_INVALID = (HTTPStatus.BAD_REQUEST, "the digest is malformed")
    MANIFEST_INVALID = (HTTPStatus.BAD_GATEWAY, "the upstream's manifest is malformed or ambiguous")
    RANGE_INVALID = (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "the range lies outside the blob")
    UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, "sign in with an access token of this registry")
    DENIED = (HTTPStatus.FORBIDDEN, "the upstream refused vreg's credential for this repository")
    UNSUPPORTED = (HTTPStatus.METHOD_NOT_ALLOWED, "this registry is read only")
    TOOMANYREQUESTS = (HTTPStatus.TOO_MANY_REQUESTS, "too many requests; try again later")
    UNAVAILABLE = (HTTPStatus.SERVICE_UNAVAILABLE, "the upstream cannot be reached now; try again later")

    @property
    def code(self) -> str:
        """The code as clients compare it."""
        return self.name

    @property
    def status(self) -> int:
        """The HTTP status sent with it."""
        return int(self.value[0])

    @property
    def message(self) -> str:
        """Our words, used when the place has none of its own."""
        return self.value[1]


def error_body(error: OciError, message: str | None = None, detail: object = None) -> bytes:
    """Render the JSON body of an error; neither argument may hold an upstream's words."""
    entry: dict[str, object] = {"code": error.code, "message": message or error.message}
    if detail is not None:
        entry["detail"] = detail
    return json.dumps({"errors": [entry]}, separators=(",", ":")).encode()
