"""What AWS says when it gives no token: rows from step, code, text and status to what that means.

Sources: the error lists of STS, ECR and ECR Public in botocore's models, its throttle codes
(retries/standard.py), AWS's common errors, and answers quoted in public issues. The first row that holds
counts.
"""

from typing import Final

from vreg_shared import aws_machine
from vreg_shared.refusals import REMEDY_CLOCK, RefusalRule

ASSUME_ROLE: Final = "sts:AssumeRole"
WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
ECR_LOGIN: Final = "ecr:GetAuthorizationToken"
ECR_PUBLIC_LOGIN: Final = "ecr-public:GetAuthorizationToken"

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
        "ValidationError",
        "ValidationException",
    }
)
_INVALID_IDENTITY_TOKEN: Final = frozenset({"InvalidIdentityToken"})
_UNREACHABLE_ISSUER_CAUSE: Final = "AWS cannot fetch the issuer's discovery document or its keys."
_UNREACHABLE_ISSUER_REMEDY: Final = (
    "Let <issuer>/.well-known/openid-configuration and the keys it names be reachable from the internet, on "
    "port 443 and with a public certificate."
)

_PASSING: Final = (
    RefusalRule(reason="throttled", is_refused=False, codes=THROTTLED),
    RefusalRule(reason="throttled", is_refused=False, statuses=frozenset({429})),
    RefusalRule(reason="upstream_error", is_refused=False, codes=UNWELL),
    RefusalRule(reason="upstream_error", is_refused=False, statuses=frozenset(range(500, 600))),
    RefusalRule(
        reason="issuer_unreachable",
        is_refused=False,
        codes=frozenset({"IDPCommunicationError"}),
        cause=_UNREACHABLE_ISSUER_CAUSE,
        remedy=_UNREACHABLE_ISSUER_REMEDY,
    ),
    RefusalRule(
        reason="issuer_unreachable",
        is_refused=False,
        codes=_INVALID_IDENTITY_TOKEN,
        contains=("couldn't retrieve verification key",),
        cause=_UNREACHABLE_ISSUER_CAUSE,
        remedy=_UNREACHABLE_ISSUER_REMEDY,
    ),
)
_CLOCK: Final = (
    RefusalRule(
        reason="clock_skew",
        codes=UNTIMELY,
        cause="The token-broker's clock is wrong by more than five minutes.",
        remedy=REMEDY_CLOCK,
    ),
    RefusalRule(
        reason="clock_skew",
        codes=UNPROVEN,
        contains=("signature expired", "not yet current", "request has expired", "too skewed"),
        cause="The token-broker's clock is wrong by more than five minutes.",
        remedy=REMEDY_CLOCK,
    ),
)
_FEDERATION: Final = (
    RefusalRule(
        reason="federation_config",
        codes=_INVALID_IDENTITY_TOKEN,
        contains=("no openidconnect provider found",),
        cause="The role's account has no OIDC provider for the token's issuer.",
        remedy="Make an OIDC provider in the role's account, as the trust steps show; its URL must be the "
        "issuer's, to the last slash.",
    ),
    RefusalRule(
        reason="audience_refused",
        codes=_INVALID_IDENTITY_TOKEN,
        contains=("audience",),
        cause="The token's audience is not among the OIDC provider's client ids.",
        remedy="Add the identity's audience: aws iam add-client-id-to-open-id-connect-provider.",
    ),
    RefusalRule(
        reason="federation_config",
        codes=_INVALID_IDENTITY_TOKEN,
        may_be_skew=True,
        cause="AWS does not accept the token: another issuer's keys, or a token that is not the issuer's.",
        remedy="Compare the issuer's URL and keys with those of the OIDC provider in the role's account. "
        "Keys that were replaced a moment ago are known after a while.",
    ),
    RefusalRule(
        reason="federation_config",
        codes=frozenset({"IDPRejectedClaim", "IDPRejectedClaimException"}),
        cause="The issuer, or AWS on its behalf, rejected a claim of the token.",
        remedy="Compare the token's claims with what the OIDC provider in the role's account expects.",
    ),
    RefusalRule(
        reason="credential_expired",
        steps=frozenset({WEB_IDENTITY}),
        codes=EXPIRED,
        may_be_skew=True,
        cause="The identity token had ended when AWS read it.",
        remedy="See to it that the platform keeps the token file fresh, and that the clock is right.",
    ),
    RefusalRule(
        reason="permission_denied",
        steps=frozenset({WEB_IDENTITY}),
        codes=DENIED,
        cause="The role's trust policy names another provider, audience or subject, or there is no role.",
        remedy="Let the trust policy allow sts:AssumeRoleWithWebIdentity to the OIDC provider, with exactly "
        "the audience and subject that vreg shows for the identity. New trust may take a minute.",
    ),
)
_PERMISSIONS: Final = (
    RefusalRule(
        reason="permission_denied",
        steps=frozenset({ASSUME_ROLE}),
        codes=DENIED,
        cause="The role does not trust who assumes it, wants another external id, or there is no such role.",
        remedy="Let the role's trust policy name this key's user, or the role before it in the chain, and "
        "require the external id that vreg shows for the identity; and allow that user or role "
        "sts:AssumeRole on it.",
    ),
    RefusalRule(
        reason="permission_denied",
        steps=frozenset({ECR_LOGIN}),
        codes=DENIED,
        cause="The user or role may not get a token of ECR.",
        remedy='Allow ecr:GetAuthorizationToken on resource "*" for this user or role.',
    ),
    RefusalRule(
        reason="permission_denied",
        steps=frozenset({ECR_PUBLIC_LOGIN}),
        codes=DENIED,
        contains=("sts:getservicebearertoken",),
        cause="The user or role lacks the second permission that a token of ECR Public needs.",
        remedy='Allow sts:GetServiceBearerToken on resource "*" as well; a managed policy may lack it.',
    ),
    RefusalRule(
        reason="permission_denied",
        steps=frozenset({ECR_PUBLIC_LOGIN}),
        codes=DENIED,
        cause="The user or role may not get a token of ECR Public.",
        remedy="Allow ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken on resource "
        '"*" for this user or role.',
    ),
)
_CREDENTIALS: Final = (
    RefusalRule(
        reason="credential_expired",
        codes=EXPIRED,
        cause="A temporary key has ended.",
        remedy="The temporary key has ended and cannot be refreshed: give the identity a new one.",
    ),
    RefusalRule(
        reason="bad_credentials",
        codes=UNPROVEN,
        may_be_skew=True,
        cause="The access key is unknown, of another partition, or its secret is wrong.",
        remedy="Check the access key in IAM, and give the identity its key id and secret again.",
    ),
    RefusalRule(
        reason="region_disabled",
        codes=CLOSED_REGION,
        cause="The account has not activated the registry's region, or STS in it.",
        remedy="Activate the region (and STS in it) in the AWS account's settings.",
    ),
    RefusalRule(
        reason="settings_invalid",
        codes=frozenset({"MalformedPolicyDocument", "PackedPolicyTooLarge"}),
        cause="The session policy for the identity's repositories is too long for AWS, or not to its liking.",
        remedy="Use fewer patterns in the identity's repositories, or an identity for each account.",
    ),
    RefusalRule(
        reason="settings_invalid",
        codes=MALFORMED,
        cause="A setting is not what the role permits, most often the session's duration.",
        remedy="Correct the identity's settings: the provider's words name the field.",
    ),
)
REFUSALS: Final = (*_PASSING, *_CLOCK, *_FEDERATION, *_PERMISSIONS, *_CREDENTIALS, *aws_machine.REFUSALS)
