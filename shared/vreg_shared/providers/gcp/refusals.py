"""What Google's error answers mean, when there is no token: of token endpoints, IAM and metadata servers.

Sources: google-auth's own reading of them, live answers quoted in google-github-actions/auth#29, #60, #202,
#340, and in terraform-example-foundation#1362. The first row that holds decides.
"""

from typing import Final

from vreg_shared import aws_machine
from vreg_shared.refusals import REMEDY_CLOCK, RefusalRule

OAUTH: Final = "oauth2:token"
STS: Final = "sts:token"
IMPERSONATION: Final = "iamcredentials:generateAccessToken"
METADATA: Final = "metadata:token"

_REMEDY_KEY: Final = (
    "Check that the service account and its key exist and are enabled, and give the identity a new key."
)
_REMEDY_PROVIDER: Final = (
    "Compare project number, pool and provider with `gcloud iam workload-identity-pools providers describe`; "
    "pool and provider must be enabled."
)
_REMEDY_ISSUER: Final = (
    "Let Google reach the issuer's /.well-known/openid-configuration over public HTTPS, or upload its keys "
    "to the pool's provider (--jwk-json-path)."
)

REFUSALS: Final = (
    RefusalRule(
        reason="throttled",
        is_refused=False,
        codes=frozenset({"RESOURCE_EXHAUSTED", "rate_limit_exceeded", "slow_down"}),
    ),
    RefusalRule(
        reason="upstream_error",
        is_refused=False,
        codes=frozenset({"internal_failure", "server_error", "temporarily_unavailable"}),
    ),
    RefusalRule(reason="timeout", is_refused=False, statuses=frozenset({408})),
    RefusalRule(
        reason="settings_invalid",
        cause="An API is not enabled in the project.",
        remedy="Enable it: gcloud services enable iamcredentials.googleapis.com sts.googleapis.com",
        statuses=frozenset({403}),
        contains=("has not been used in project", "it is disabled", "service_disabled"),
    ),
    RefusalRule(
        reason="clock_skew",
        cause="The clock of the token-broker's machine is wrong by minutes.",
        remedy=REMEDY_CLOCK,
        steps=frozenset({OAUTH}),
        codes=frozenset({"invalid_grant"}),
        contains=("short-lived token", "reasonable timeframe", "check your iat and exp"),
    ),
    RefusalRule(
        reason="bad_credentials",
        cause="The key was deleted or disabled, or is another service account's.",
        remedy=_REMEDY_KEY,
        may_be_skew=True,
        steps=frozenset({OAUTH}),
        codes=frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "deleted_client"}),
    ),
    RefusalRule(
        reason="settings_invalid",
        cause="The key's fields do not belong together.",
        remedy="Take service account, key id and private key out of one and the same key file.",
        steps=frozenset({OAUTH}),
        codes=frozenset({"invalid_scope", "invalid_request"}),
    ),
    RefusalRule(
        reason="federation_config",
        cause="The pool or its provider does not exist, or is disabled or deleted.",
        remedy=_REMEDY_PROVIDER,
        steps=frozenset({STS}),
        codes=frozenset({"invalid_target"}),
    ),
    RefusalRule(
        reason="federation_config",
        cause="The project's id stands where its number should, or the pool's name is not one.",
        remedy=_REMEDY_PROVIDER,
        steps=frozenset({STS}),
        codes=frozenset({"invalid_request"}),
    ),
    RefusalRule(
        reason="federation_config",
        cause="The pool provider's attribute condition does not hold for this identity.",
        remedy="Let the attribute condition hold for the subject that vreg shows for the identity.",
        steps=frozenset({STS}),
        codes=frozenset({"unauthorized_client"}),
    ),
    RefusalRule(
        reason="issuer_unreachable",
        cause="Google cannot fetch the issuer's keys.",
        remedy=_REMEDY_ISSUER,
        is_refused=False,
        steps=frozenset({STS}),
        codes=frozenset({"invalid_grant"}),
        contains=("connecting to", "fetch", "jwks", "well-known", "unreachable"),
    ),
    RefusalRule(
        reason="audience_refused",
        cause="The token is meant for somebody else: the provider has allowed audiences of its own.",
        remedy="Remove the provider's allowed audiences, or give the identity one of them as its audience.",
        steps=frozenset({STS}),
        codes=frozenset({"invalid_grant"}),
        contains=("audience",),
    ),
    RefusalRule(
        reason="credential_expired",
        cause="The identity token had ended when it came: its file is no longer kept fresh.",
        remedy="Let the platform keep the token file fresh.",
        may_be_skew=True,
        steps=frozenset({STS}),
        codes=frozenset({"invalid_grant"}),
        contains=("expired", "stale", "not yet valid", "in the future"),
    ),
    RefusalRule(
        reason="bad_credentials",
        cause="AWS does not know the AWS identity, or its key was deleted.",
        remedy="Check the AWS access key or role, and that its account is the one the pool's provider names.",
        may_be_skew=True,
        steps=frozenset({STS}),
        codes=frozenset({"invalid_grant"}),
        contains=("aws", "getcalleridentity"),
    ),
    RefusalRule(
        reason="federation_config",
        cause="The pool's provider trusts another issuer, or an earlier key of this one.",
        remedy="Compare the provider's issuer with VREG_ISSUER_URL; upload the keys again, if they were.",
        steps=frozenset({STS}),
        codes=frozenset({"invalid_grant", "invalid_client"}),
    ),
    RefusalRule(
        reason="settings_invalid",
        cause="The token lifetime is longer than the organisation permits.",
        remedy="Set the lifetime to 3600 seconds, or extend it by organisation policy.",
        steps=frozenset({IMPERSONATION}),
        statuses=frozenset({400}),
        contains=("lifetime",),
    ),
    RefusalRule(
        reason="impersonation_denied",
        cause="One of the chain may not act as the next, or that service account does not exist.",
        remedy=(
            "Grant roles/iam.serviceAccountTokenCreator (to a federated principal: "
            "roles/iam.workloadIdentityUser) on each service account to the one before it. A new grant takes "
            "minutes to hold."
        ),
        steps=frozenset({IMPERSONATION}),
        statuses=frozenset({403, 404}),
    ),
    RefusalRule(
        reason="bad_credentials",
        cause="The first token of the chain was not accepted.",
        remedy=_REMEDY_KEY,
        may_be_skew=True,
        steps=frozenset({IMPERSONATION}),
        statuses=frozenset({401}),
    ),
    RefusalRule(
        reason="impersonation_denied",
        cause="The pod's Kubernetes service account may not act as the Google one it is annotated with.",
        remedy="Grant it roles/iam.workloadIdentityUser on the Google service account.",
        steps=frozenset({METADATA}),
        statuses=frozenset({403, 404}),
        contains=("getaccesstoken", "workload identity"),
    ),
    RefusalRule(
        reason="no_ambient_identity",
        cause="The machine has no service account, or is no machine of Google's.",
        remedy="Attach a service account to the machine, pod or service that the token-broker runs as.",
        steps=frozenset({METADATA}),
        statuses=frozenset({400, 403, 404}),
    ),
    *aws_machine.REFUSALS,
)
