"""The ECR API as far as a puller needs it: GetAuthorizationToken, in JSON 1.1."""

import base64
import json

from tests.clouds.aws.places import Place, find_place, registry_host
from tests.clouds.aws.policy import TOKEN_ACTION
from tests.clouds.aws.refusals import AwsRefusalError, Refused, json_answer, json_refusal
from tests.clouds.aws.signature import signing_key
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.tokens import Token
from tests.clouds.wire import Request, Response

_TARGET = "AmazonEC2ContainerRegistry_V20150921."


class EcrApi:
    """Answers for every region, each under its own name and for signatures of that region alone."""

    name = "ecr-api"

    def __init__(self, state: AwsState) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        """Dispatch on X-Amz-Target; refusals are JSON."""
        place = find_place(request.host)
        assert place is not None
        request.note.region = place.region
        request.note.operation = request.headers.get("x-amz-target", "").removeprefix(_TARGET)
        body = await request.body()
        try:
            return self._act(request, place, body)
        except AwsRefusalError as error:
            return json_refusal(error)

    def throttled(self, retry_after: int | None) -> Response:
        """ECR throttles with status 400, and says nothing of when to come back."""
        del retry_after
        return json_refusal(AwsRefusalError(Refused.THROTTLED, "Rate exceeded"))

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return json_answer(status, {"__type": "ServerException", "message": None})

    def _act(self, request: Request, place: Place, body: bytes) -> Response:
        now = self._state.clock.now()
        key = signing_key(request, body, place, self._state.model, now)
        principal = key.principal
        request.note.principal = principal.arn
        if (principal.account, place.region) in self._state.model.disabled_regions:
            raise AwsRefusalError(Refused.REGION, "The security token included in the request is invalid.")
        if request.headers.get("x-amz-target") != f"{_TARGET}GetAuthorizationToken":
            raise AwsRefusalError(Refused.UNKNOWN_ACTION, "")
        _check_body(request, body)
        why = self._state.model.refusal(principal, TOKEN_ACTION, "*")
        if why is not None:
            raise AwsRefusalError(Refused.DENIED, why)
        token = Token(key, place.partition, place.region, now + self._state.token_seconds)
        password = self._state.tokens.issue(token)
        return json_answer(
            200,
            {
                "authorizationData": [
                    {
                        "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
                        "expiresAt": round(token.expires_at, 3),
                        "proxyEndpoint": f"https://{registry_host(principal.account, place.region)}",
                    }
                ]
            },
        )


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
