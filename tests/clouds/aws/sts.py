"""STS: AssumeRole, with keys or with an identity token, and GetCallerIdentity, in the query protocol."""

from collections.abc import Mapping
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.clouds.aws.model import AccessKey, Principal
from tests.clouds.aws.places import Place, find_place
from tests.clouds.aws.refusals import AwsRefusalError, Refused, query_error, query_refusal
from tests.clouds.aws.sessions import answer, assumed, check_fields, opened
from tests.clouds.aws.signature import signing_key
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.web_identity import WebIdentities
from tests.clouds.wire import Request, Response

_ACTIONS = {"AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"}


class Sts:
    """Answers for every region, each under its own name and for signatures of that region alone.

    Another cloud's emulator checks who signed a GetCallerIdentity by sending it here, as that cloud does:
    as a POST with the question in the body, or in the query where the body is empty.
    """

    name = "sts"

    def __init__(self, state: AwsState, web_identities: WebIdentities) -> None:
        self._state = state
        self._web_identities = web_identities

    async def answer(self, request: Request) -> Response:
        """Dispatch on Action; refusals are XML."""
        place = find_place(request.host)
        assert place is not None
        request.note.region = place.region
        body = await request.body()
        try:
            return await self._act(request, place, body)
        except AwsRefusalError as error:
            return query_refusal(error)

    def throttled(self, retry_after: int | None) -> Response:
        """STS throttles with status 400, and says nothing of when to come back."""
        del retry_after
        return query_refusal(AwsRefusalError(Refused.THROTTLED, "Rate exceeded"))

    def failed(self, status: int) -> Response:
        """Be unwell."""
        code = "ServiceUnavailable" if status == 503 else "InternalFailure"
        return query_error(status, code, "The request processing has failed because of an unknown error.")

    async def _act(self, request: Request, place: Place, body: bytes) -> Response:
        form = {
            name: values[0]
            for name, values in parse_qs(body.decode() or request.query, keep_blank_values=True).items()
        }
        action = form.get("Action", "")
        request.note.operation = action
        if action == "AssumeRoleWithWebIdentity" and _is_known(form):
            request.note.subject = form.get("RoleArn", "")
            return answer(action, await self._web_identities.assume(form, place))
        principal = signing_key(request, body, place, self._state.model, self._state.clock.now()).principal
        request.note.principal = principal.arn
        self._state.require_region(principal.account, place.region)
        if not _is_known(form):
            raise AwsRefusalError(
                Refused.UNKNOWN_ACTION,
                f"Could not find operation {action} for version {form.get('Version')}",
            )
        if action == "GetCallerIdentity":
            return answer(action, _identity(principal))
        request.note.subject = form.get("RoleArn", "")
        return answer(action, assumed(self._assume(principal, form)))

    def _assume(self, principal: Principal, form: Mapping[str, str]) -> AccessKey:
        check_fields(form)
        role_arn = form["RoleArn"]
        role = self._state.model.may_assume(principal, role_arn, form.get("ExternalId"))
        if role is None:
            raise AwsRefusalError(
                Refused.DENIED,
                f"User: {principal.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
            )
        return opened(self._state, role, form, principal)


def _is_known(form: Mapping[str, str]) -> bool:
    return form.get("Version") == "2011-06-15" and form.get("Action") in _ACTIONS


def _identity(principal: Principal) -> str:
    return (
        f"<Arn>{escape(principal.arn)}</Arn><UserId>{escape(principal.user_id)}</UserId>"
        f"<Account>{principal.account}</Account>"
    )
