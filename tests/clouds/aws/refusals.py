"""Why AWS says no, and the two dialects it says it in: the query protocol's XML and JSON 1.1.

Codes and statuses: those that boto3 parses, and live answers quoted in public; where the status of a JSON
error is not documented it is 400.
"""

from enum import StrEnum
from uuid import uuid4
from xml.sax.saxutils import escape

from tests.clouds.wire import Response


class Refused(StrEnum):
    """The cases that AWS tells apart."""

    UNSIGNED = "unsigned"
    INCOMPLETE = "incomplete"
    UNKNOWN_KEY = "unknown key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    DENIED = "denied"
    INVALID = "invalid"
    UNKNOWN_ACTION = "unknown action"
    REGION = "region"
    THROTTLED = "throttled"
    POLICY = "session policy"
    POLICY_SIZE = "session policy too large"
    IDENTITY_TOKEN = "identity token"
    IDENTITY_TOKEN_EXPIRED = "identity token expired"
    CLAIM = "claim"
    ISSUER = "issuer"


class AwsRefusalError(Exception):
    """AWS refuses; `message` is in its words."""

    def __init__(self, why: Refused, message: str) -> None:
        super().__init__(message)
        self.why = why
        self.message = message


_QUERY = {
    Refused.UNSIGNED: (403, "MissingAuthenticationToken"),
    Refused.INCOMPLETE: (400, "IncompleteSignature"),
    Refused.UNKNOWN_KEY: (403, "InvalidClientTokenId"),
    Refused.SIGNATURE: (403, "SignatureDoesNotMatch"),
    Refused.EXPIRED: (403, "ExpiredToken"),
    Refused.DENIED: (403, "AccessDenied"),
    Refused.INVALID: (400, "ValidationError"),
    Refused.UNKNOWN_ACTION: (400, "InvalidAction"),
    Refused.REGION: (403, "RegionDisabledException"),
    Refused.THROTTLED: (400, "Throttling"),
    Refused.POLICY: (400, "MalformedPolicyDocument"),
    Refused.POLICY_SIZE: (400, "PackedPolicyTooLarge"),
    Refused.IDENTITY_TOKEN: (400, "InvalidIdentityToken"),
    Refused.IDENTITY_TOKEN_EXPIRED: (400, "ExpiredTokenException"),
    Refused.CLAIM: (403, "IDPRejectedClaim"),
    Refused.ISSUER: (400, "IDPCommunicationError"),
}
_JSON = {
    Refused.UNSIGNED: (400, "MissingAuthenticationTokenException"),
    Refused.INCOMPLETE: (400, "IncompleteSignatureException"),
    Refused.UNKNOWN_KEY: (400, "UnrecognizedClientException"),
    Refused.SIGNATURE: (400, "InvalidSignatureException"),
    Refused.EXPIRED: (400, "ExpiredTokenException"),
    Refused.DENIED: (400, "AccessDeniedException"),
    Refused.INVALID: (400, "InvalidParameterException"),
    Refused.UNKNOWN_ACTION: (400, "UnknownOperationException"),
    Refused.REGION: (400, "UnrecognizedClientException"),
    Refused.THROTTLED: (400, "ThrottlingException"),
}


def query_refusal(error: AwsRefusalError) -> Response:
    """Answer as STS does."""
    status, code = _QUERY[error.why]
    return query_error(status, code, error.message)


def query_error(status: int, code: str, message: str) -> Response:
    """Answer with the query protocol's error document."""
    kind, request_id = ("Sender" if status < 500 else "Receiver"), str(uuid4())
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n'
        f"  <Error>\n    <Type>{kind}</Type>\n    <Code>{code}</Code>\n"
        f"    <Message>{escape(message)}</Message>\n  </Error>\n"
        f"  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n"
    )
    return Response(status, (("x-amzn-RequestId", request_id), ("Content-Type", "text/xml")), body.encode())


def json_refusal(error: AwsRefusalError) -> Response:
    """Answer as the ECR API does."""
    status, code = _JSON[error.why]
    # AWS spells the field both ways; the common layer, which refuses, uses lower case.
    spelling = "Message" if error.why is Refused.DENIED else "message"
    return json_answer(status, {"__type": code, spelling: error.message})


def json_answer(status: int, document: object) -> Response:
    """Answer in JSON 1.1."""
    headers = (("x-amzn-RequestId", str(uuid4())), ("Content-Type", "application/x-amz-json-1.1"))
    return Response.of_json(status, document, headers)
