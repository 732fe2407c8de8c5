"""The API of ECR Public as far as a puller needs it: an object where ECR has a list, and two permissions."""

from tests.clouds.aws import json_api
from tests.clouds.aws.places import Place, find_place
from tests.clouds.aws.policy import PUBLIC_TOKEN_ACTIONS
from tests.clouds.aws.refusals import AwsRefusalError, json_answer, json_refusal
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.tokens import PUBLIC, Token
from tests.clouds.wire import Request, Response

_TARGET = "SpencerFrontendService"


class EcrPublicApi:
    """One token opens all of ECR Public."""

    name = "ecr-public-api"

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
        """Throttle as ECR does."""
        del retry_after
        return json_api.throttled()

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return json_api.failed(status)

    def _act(self, request: Request, place: Place, body: bytes) -> Response:
        key = json_api.caller(request, body, place, self._state, target=_TARGET, actions=PUBLIC_TOKEN_ACTIONS)
        ends = self._state.clock.now() + self._state.token_seconds
        password = self._state.tokens.issue(Token(key, place.partition, PUBLIC, ends))
        given = {"authorizationToken": json_api.authorization(password), "expiresAt": round(ends, 3)}
        return json_answer(200, {"authorizationData": given})
