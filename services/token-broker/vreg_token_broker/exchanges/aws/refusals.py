"""What AWS's error codes mean: a pure table from code, text and status to an outcome.

Sources: the error lists of STS and ECR in botocore's models, its throttle codes (retries/standard.py) and
AWS's common errors. The same code means the same in both services, so there is one table.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vreg_token_broker.exchange import Refused, Unavailable

CLOCK_SKEW_SECONDS: Final = 240
"""AWS refuses signatures five minutes off; a little less leaves room for the answer's way."""
_SERVER_ERROR: Final = 500
_TOO_MANY_REQUESTS: Final = 429
_DETAIL_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class AwsRefusal:
    """An error answer. `operation` is IAM's word for the call, `date` the answer's own Date."""

    operation: str
    code: str
    message: str
    status: int
    request_id: str = ""
    date: datetime | None = None


THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
UNWELL: Final = frozenset(
    {
        "IDPCommunicationError",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
UNPROVEN: Final = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
UNTIMELY: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
CLOSED_REGION: Final = frozenset(
    {"OptInRequired", "RegionDisabledException", "SubscriptionRequiredException"}
)
MALFORMED: Final = frozenset(
    {
        "InvalidParameter",
        "InvalidParameterException",
        "InvalidParameterValue",
        "MalformedPolicyDocument",
        "PackedPolicyTooLarge",
        "ValidationError",
        "ValidationException",
    }
)
_SKEWED_TEXTS: Final = ("signature expired", "not yet current", "request has expired", "too skewed")

_REMEDY_CLOCK: Final = "Set the clock of the machine the token-broker runs on; NTP keeps it right."
_REMEDY_KEY: Final = "Check the access key in IAM, and give the identity its key id and secret again."
_REMEDY_KEY_ENDED: Final = "The temporary key has ended and cannot be refreshed: give the identity a new one."
_REMEDY_REGION: Final = "Activate the region (and STS in it) in the AWS account's settings."
_REMEDY_MALFORMED: Final = "Correct the identity's settings: the provider's words name the field."
_REMEDY_UNKNOWN: Final = (
    "Look up the provider's words; a firewall or proxy that answers in AWS's place does this too."
)
_REMEDY_DENIED: Final = {
    "sts:AssumeRole": (
        "Let the role's trust policy name this key's user and require the external id that vreg shows for "
        "the identity, and allow the user sts:AssumeRole on the role."
    ),
    "ecr:GetAuthorizationToken": 'Allow ecr:GetAuthorizationToken on resource "*" for this user or role.',
}

_CASES: Final = (
    (EXPIRED, "credential_expired", _REMEDY_KEY_ENDED),
    (UNPROVEN, "bad_credentials", _REMEDY_KEY),
    (CLOSED_REGION, "region_disabled", _REMEDY_REGION),
    (MALFORMED, "settings_invalid", _REMEDY_MALFORMED),
)


def judge(refusal: AwsRefusal, now: datetime) -> Refused | Unavailable:
    """Return what an error answer means; `now` is our time when it came."""
    code, ids = refusal.code, (refusal.request_id,) if refusal.request_id else ()
    detail = f"{refusal.operation}: {code}: {refusal.message}"[:_DETAIL_LIMIT]
    if code in THROTTLED or refusal.status == _TOO_MANY_REQUESTS:
        return Unavailable("throttled", detail, request_ids=ids)
    if code in UNWELL or refusal.status >= _SERVER_ERROR:
        return Unavailable("upstream_error", detail, request_ids=ids)
    reason, remedy = _case(refusal, now)
    return Refused(reason, detail, remedy, request_ids=ids)


def _case(refusal: AwsRefusal, now: datetime) -> tuple[str, str]:
    code = refusal.code
    if code in UNTIMELY or (code in UNPROVEN and _is_skewed(refusal, now)):
        return "clock_skew", _REMEDY_CLOCK
    if code in DENIED:
        return "permission_denied", _REMEDY_DENIED.get(refusal.operation, _REMEDY_UNKNOWN)
    for codes, reason, remedy in _CASES:
        if code in codes:
            return reason, remedy
    return "unexpected_answer", _REMEDY_UNKNOWN


def _is_skewed(refusal: AwsRefusal, now: datetime) -> bool:
    """Whether time is the culprit: AWS says so, or its clock and ours differ by more than it permits."""
    text = refusal.message.lower()
    if any(skewed in text for skewed in _SKEWED_TEXTS):
        return True
    return refusal.date is not None and abs((refusal.date - now).total_seconds()) > CLOCK_SKEW_SECONDS
