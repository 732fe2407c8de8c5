"""What the APIs of ECR and of ECR Public share: JSON 1.1, signed, one operation, and how they say no."""

import base64
import json
from collections.abc import Iterable

from tests.clouds.aws.model import AccessKey
from tests.clouds.aws.places import Place
from tests.clouds.aws.refusals import AwsRefusalError, Refused, json_answer, json_refusal
from tests.clouds.aws.signature import signing_key
from tests.clouds.aws.state import AwsState
from tests.clouds.wire import Request, Response

_OPERATION = "GetAuthorizationToken"


def caller(  # noqa: PLR0913 -- who, where, and what of it
    request: Request, body: bytes, place: Place, state: AwsState, *, target: str, actions: Iterable[str]
) -> AccessKey:
    """Return whose key signed a question for a token, if IAM allows all `actions`; raise AwsRefusalError."""
    key = signing_key(request, body, place, state.model, state.clock.now())
    principal = key.principal
    request.note.principal = principal.arn
    if (principal.account, place.region) in state.model.disabled_regions:
        raise AwsRefusalError(Refused.REGION, "The security token included in the request is invalid.")
    if request.headers.get("x-amz-target") != f"{target}.{_OPERATION}":
        raise AwsRefusalError(Refused.UNKNOWN_ACTION, "")
    _check_body(request, body)
    for action in actions:
        why = state.model.refusal(principal, action, "*")
        if why is not None:
            raise AwsRefusalError(Refused.DENIED, why)
    return key


def authorization(password: str) -> str:
    """Return a registry token as the APIs give it."""
    return base64.b64encode(f"AWS:{password}".encode()).decode()


def throttled() -> Response:
    """Throttle with status 400, and say nothing of when to come back."""
    return json_refusal(AwsRefusalError(Refused.THROTTLED, "Rate exceeded"))


def failed(status: int) -> Response:
    """Be unwell."""
    return json_answer(status, {"__type": "ServerException", "message": None})


def _check_body(request: Request, body: bytes) -> None:
    if request.headers.get("content-type") != "application/x-amz-json-1.1":
        raise AwsRefusalError(Refused.UNKNOWN_ACTION, "")
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise AwsRefusalError(Refused.INVALID, "The request's body is not a JSON object.")
    ids = document.get("registryIds", ["000000000000"])
    if not (isinstance(ids, list) and 1 <= len(ids) <= 10):
        raise AwsRefusalError(
            Refused.INVALID,
            "Invalid parameter at 'registryIds' failed to satisfy constraint: "
            "'Member must have length less than or equal to 10'",
        )
