"""The ECR API as far as a puller needs it: GetAuthorizationToken, in JSON 1.1."""

from tests.clouds.aws import json_api
from tests.clouds.aws.places import Place, find_place, registry_host
from tests.clouds.aws.policy import TOKEN_ACTION
from tests.clouds.aws.refusals import AwsRefusalError, json_answer, json_refusal
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.tokens import Token
from tests.clouds.wire import Request, Response

_TARGET = "AmazonEC2ContainerRegistry_V20150921"


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
        request.note.operation = request.headers.get("x-amz-target", "").removeprefix(f"{_TARGET}.")
        body = await request.body()
        try:
            return self._act(request, place, body)
        except AwsRefusalError as error:
            return json_refusal(error)

    def throttled(self, retry_after: int | None) -> Response:
        """ECR throttles with status 400, and says nothing of when to come back."""
        del retry_after
        return json_api.throttled()

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return json_api.failed(status)

    def _act(self, request: Request, place: Place, body: bytes) -> Response:
        key = json_api.caller(request, body, place, self._state, target=_TARGET, actions=(TOKEN_ACTION,))
        ends = self._state.clock.now() + self._state.token_seconds
        password = self._state.tokens.issue(Token(key, place.partition, place.region, ends))
        given = {
            "authorizationToken": json_api.authorization(password),
            "expiresAt": round(ends, 3),
            "proxyEndpoint": f"https://{registry_host(key.principal.account, place.region)}",
        }
        return json_answer(200, {"authorizationData": [given]})
