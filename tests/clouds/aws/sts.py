"""STS: AssumeRole and GetCallerIdentity, in the query protocol."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs
from uuid import uuid4
from xml.sax.saxutils import escape

from tests.clouds.aws.model import AccessKey, Principal, Role
from tests.clouds.aws.places import Place, find_place
from tests.clouds.aws.refusals import AwsRefusalError, Refused, query_error, query_refusal
from tests.clouds.aws.signature import signing_key
from tests.clouds.aws.state import AwsState
from tests.clouds.wire import Request, Response

_CHAINED_SECONDS = 3600
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
# field: required, shortest, longest, grammar; botocore data/sts/2011-06-15/service-2.json
_FIELDS = {
    "RoleArn": (True, 20, 2048, r"[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF]+"),
    "RoleSessionName": (True, 2, 64, r"[\w+=,.@-]*"),
    "ExternalId": (False, 2, 1224, r"[\w+=,.@:\/-]*"),
    "Policy": (False, 1, 2048, r"[\u0009\u000A\u000D\u0020-\u00FF]+"),
}


class Sts:
    """Answers for every region, each under its own name and for signatures of that region alone."""

    name = "sts"

    def __init__(self, state: AwsState) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        """Dispatch on Action; refusals are XML."""
        place = find_place(request.host)
        assert place is not None
        request.note.region = place.region
        body = await request.body()
        try:
            return self._act(request, place, body)
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

    def _act(self, request: Request, place: Place, body: bytes) -> Response:
        form = {
            name: values[0]
            for name, values in parse_qs(body.decode() or request.query, keep_blank_values=True).items()
        }
        action = form.get("Action", "")
        request.note.operation = action
        now = self._state.clock.now()
        principal = signing_key(request, body, place, self._state.model, now).principal
        request.note.principal = principal.arn
        if (principal.account, place.region) in self._state.model.disabled_regions:
            raise AwsRefusalError(
                Refused.REGION,
                f"STS is not activated in this region for account:{principal.account}. Your account "
                "administrator can activate STS in this region using the IAM Console.",
            )
        if form.get("Version") != "2011-06-15" or action not in {"AssumeRole", "GetCallerIdentity"}:
            raise AwsRefusalError(
                Refused.UNKNOWN_ACTION,
                f"Could not find operation {action} for version {form.get('Version')}",
            )
        if action == "GetCallerIdentity":
            return _answer(action, _identity(principal))
        request.note.subject = form.get("RoleArn", "")
        return _answer(action, _assumed(self._assume(principal, form)))

    def _assume(self, principal: Principal, form: Mapping[str, str]) -> AccessKey:
        _check_fields(form)
        role_arn = form["RoleArn"]
        role = self._state.model.may_assume(principal, role_arn, form.get("ExternalId"))
        if role is None:
            raise AwsRefusalError(
                Refused.DENIED,
                f"User: {principal.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
            )
        seconds: float = _duration(form, role, principal)
        if self._state.session_seconds is not None:
            seconds = min(seconds, self._state.session_seconds)
        expires_at = self._state.clock.now() + seconds
        return self._state.model.open_session(role, form["RoleSessionName"], expires_at)


def _check_fields(form: Mapping[str, str]) -> None:
    for name, (is_required, shortest, longest, grammar) in _FIELDS.items():
        value, where = form.get(name), name[0].lower() + name[1:]
        if value is None and is_required:
            _invalid("null", where, "Member must not be null")
        if value is None:
            continue
        if len(value) < shortest:
            _invalid(value, where, f"Member must have length greater than or equal to {shortest}")
        if len(value) > longest:
            _invalid(value, where, f"Member must have length less than or equal to {longest}")
        if re.fullmatch(grammar, value, re.ASCII) is None:
            _invalid(value, where, f"Member must satisfy regular expression pattern: {grammar}")
    if re.fullmatch(r"arn:[a-z-]+:iam::\d{12}:role/.+", form["RoleArn"]) is None:
        raise AwsRefusalError(Refused.INVALID, f"{form['RoleArn']} is invalid")


def _duration(form: Mapping[str, str], role: Role, principal: Principal) -> int:
    text = form.get("DurationSeconds", "3600")
    if not text.isdecimal():
        raise AwsRefusalError(Refused.INVALID, "DurationSeconds must be a number")
    seconds = int(text)
    if seconds < 900:
        _invalid(text, "durationSeconds", "Member must have value greater than or equal to 900")
    if seconds > 43200:
        _invalid(text, "durationSeconds", "Member must have value less than or equal to 43200")
    if principal.is_session and seconds > _CHAINED_SECONDS:
        raise AwsRefusalError(
            Refused.INVALID,
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by "
            "role chaining",
        )
    if seconds > role.max_session_seconds:
        raise AwsRefusalError(
            Refused.INVALID, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return seconds


def _invalid(value: str, where: str, constraint: str) -> None:
    raise AwsRefusalError(
        Refused.INVALID,
        f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: "
        f"{constraint}",
    )


def _identity(principal: Principal) -> str:
    return (
        f"<Arn>{escape(principal.arn)}</Arn><UserId>{escape(principal.user_id)}</UserId>"
        f"<Account>{principal.account}</Account>"
    )


def _assumed(key: AccessKey) -> str:
    assert key.expires_at is not None
    expiration = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"<Credentials><AccessKeyId>{key.access_key_id}</AccessKeyId>"
        f"<SecretAccessKey>{key.secret}</SecretAccessKey><SessionToken>{key.session_token}</SessionToken>"
        f"<Expiration>{expiration}</Expiration></Credentials>"
        f"<AssumedRoleUser><AssumedRoleId>{escape(key.principal.user_id)}</AssumedRoleId>"
        f"<Arn>{escape(key.principal.arn)}</Arn></AssumedRoleUser>"
    )


def _answer(action: str, result: str) -> Response:
    request_id = str(uuid4())
    body = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
    return Response(200, (("x-amzn-RequestId", request_id), ("Content-Type", "text/xml")), body.encode())
