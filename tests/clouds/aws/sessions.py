"""What both ways to assume a role share: the question's fields, how long, how limited, and the answer."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn
from uuid import uuid4
from xml.sax.saxutils import escape

from tests.clouds.aws.model import AccessKey, Principal, Role
from tests.clouds.aws.policy import Statement, read_policy
from tests.clouds.aws.refusals import AwsRefusalError, Refused
from tests.clouds.aws.state import AwsState
from tests.clouds.wire import Response

_CHAINED_SECONDS = 3600
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
# field: required, shortest, longest, grammar; botocore data/sts/2011-06-15/service-2.json
_FIELDS = {
    "RoleArn": (True, 20, 2048, r"[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF]+"),
    "RoleSessionName": (True, 2, 64, r"[\w+=,.@-]*"),
    "ExternalId": (False, 2, 1224, r"[\w+=,.@:\/-]*"),
    "Policy": (False, 1, 2048, r"[\u0009\u000A\u000D\u0020-\u00FF]+"),
    "WebIdentityToken": (False, 4, 20000, r".*"),
}


def check_fields(form: Mapping[str, str]) -> None:
    """Refuse what does not fit the model."""
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


def opened(state: AwsState, role: Role, form: Mapping[str, str], principal: Principal | None) -> AccessKey:
    """Open the session that was asked for; `principal` is who signed the question."""
    limits = _limits(state, form.get("Policy"))
    seconds: float = _duration(form, role, principal)
    if state.session_seconds is not None:
        seconds = min(seconds, state.session_seconds)
    return state.model.open_session(role, form["RoleSessionName"], state.clock.now() + seconds, limits)


def assumed(key: AccessKey) -> str:
    """Return the part of the answer that tells of the session."""
    assert key.expires_at is not None
    expiration = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"<Credentials><AccessKeyId>{key.access_key_id}</AccessKeyId>"
        f"<SecretAccessKey>{key.secret}</SecretAccessKey><SessionToken>{key.session_token}</SessionToken>"
        f"<Expiration>{expiration}</Expiration></Credentials>"
        f"<AssumedRoleUser><AssumedRoleId>{escape(key.principal.user_id)}</AssumedRoleId>"
        f"<Arn>{escape(key.principal.arn)}</Arn></AssumedRoleUser>"
    )


def answer(action: str, result: str) -> Response:
    """Answer in the query protocol."""
    request_id = str(uuid4())
    body = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
    return Response(200, (("x-amzn-RequestId", request_id), ("Content-Type", "text/xml")), body.encode())


def _limits(state: AwsState, policy: str | None) -> tuple[Statement, ...] | None:
    if policy is None:
        return None
    if len(policy) > state.packed_policy_limit:
        percent = 100 * len(policy) // state.packed_policy_limit
        message = f"Packed size of session tags consumes {percent}% of allotted space."
        raise AwsRefusalError(Refused.POLICY_SIZE, message)
    try:
        return read_policy(policy)
    except ValueError as error:
        raise AwsRefusalError(Refused.POLICY, str(error)) from None


def _duration(form: Mapping[str, str], role: Role, principal: Principal | None) -> int:
    text = form.get("DurationSeconds", "3600")
    if not text.isdecimal():
        raise AwsRefusalError(Refused.INVALID, "DurationSeconds must be a number")
    seconds = int(text)
    if seconds < 900:
        _invalid(text, "durationSeconds", "Member must have value greater than or equal to 900")
    if seconds > 43200:
        _invalid(text, "durationSeconds", "Member must have value less than or equal to 43200")
    if principal is not None and principal.is_session and seconds > _CHAINED_SECONDS:
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


def _invalid(value: str, where: str, constraint: str) -> NoReturn:
    shown = value if where != "webIdentityToken" else "***"
    raise AwsRefusalError(
        Refused.INVALID,
        f"1 validation error detected: Value '{shown}' at '{where}' failed to satisfy constraint: "
        f"{constraint}",
    )
