"""The three calls to Google that end in an access token. URLs and scopes are constants.

Source: the requests google-auth 2.62.2 makes, recorded.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from vreg_shared.providers.gcp.refusals import IMPERSONATION, OAUTH, STS
from vreg_shared.secret import Secret
from vreg_token_broker.exchanges.gcp.answers import Answer
from vreg_token_broker.exchanges.gcp.proofs import OAUTH_URL
from vreg_token_broker.exchanges.gcp.wire import Wire

READ_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform.read-only"
IAM_SCOPE: Final = "https://www.googleapis.com/auth/iam"
"""What a token needs that is only to make another one."""
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
AWS_REQUEST_TYPE: Final = "urn:ietf:params:aws:token-type:aws4_request"
NOMINAL_SECONDS: Final = 3600
LONGEST_LIFE: Final = timedelta(hours=12)
"""Of an impersonated token, where the organisation's policy permits it."""
UNKNOWN_LIFE: Final = timedelta(seconds=60)
"""For an answer without an end: OAuth's default, since a guess too long is a pull that fails."""
_DIGITS: Final = 10
_STS_URL: Final = "https://sts.googleapis.com/v1/token"
_IMPERSONATE_URL: Final = (
    "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken"
)
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Rung 2, which is also rung 3: Artifact Registry takes it as it is. `life` counts from the answer."""

    token: Secret
    life: timedelta
    request_ids: tuple[str, ...] = ()


async def by_assertion(wire: Wire, assertion: Secret) -> AccessToken:
    """Exchange a service account's own assertion."""
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion.reveal()}
    return oauth_token(await wire.ask(OAUTH, "POST", OAUTH_URL, _FORM, urlencode(form).encode()))


async def by_federation(
    wire: Wire, provider_name: str, subject_token: Secret, subject_type: str, scope: str
) -> AccessToken:
    """Exchange somebody else's proof at a workload identity pool."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": provider_name,
        "scope": scope,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": subject_token.reveal(),
        "subject_token_type": subject_type,
    }
    return oauth_token(await wire.ask(STS, "POST", _STS_URL, _FORM, urlencode(form).encode()))


async def by_impersonation(wire: Wire, base: AccessToken, chain: tuple[str, ...], life: int) -> AccessToken:
    """Exchange the token of whoever stands before the chain for one of the chain's last."""
    *delegates, target = chain
    wanted: dict[str, Any] = {"scope": [READ_SCOPE], "lifetime": f"{life}s"}
    if delegates:
        wanted["delegates"] = [f"projects/-/serviceAccounts/{each}" for each in delegates]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {base.token.reveal()}"}
    url = _IMPERSONATE_URL.format(target)
    answer = await wire.ask(IMPERSONATION, "POST", url, headers, json.dumps(wanted).encode())
    document = answer.document()
    ids = (*base.request_ids, *_ids(answer))
    left = life_until(document.get("expireTime"), answer.date)
    return AccessToken(answer.secret(document, "accessToken"), left, ids)


def oauth_token(answer: Answer) -> AccessToken:
    """Read the token endpoint's answer, which the metadata server's is as well."""
    document = answer.document()
    life = life_of(document.get("expires_in"))
    return AccessToken(answer.secret(document, "access_token"), life, _ids(answer))


def life_of(expires_in: object) -> timedelta:
    """Read seconds, a number or its text, and believe no more than the nominal hour."""
    try:
        seconds = int(str(expires_in)[:_DIGITS])
    except ValueError:
        return UNKNOWN_LIFE
    return timedelta(seconds=max(0, min(seconds, NOMINAL_SECONDS)))


def life_until(expire_time: object, date: datetime | None) -> timedelta:
    """Read an RFC 3339 time by the clock of the answer it came in; without both there is no knowing."""
    try:
        end = datetime.fromisoformat(str(expire_time))
    except ValueError:
        return UNKNOWN_LIFE
    if date is None or end.tzinfo is None:
        return UNKNOWN_LIFE
    return max(timedelta(0), min(end.astimezone(UTC) - date, LONGEST_LIFE))


def _ids(answer: Answer) -> tuple[str, ...]:
    return (answer.request_id,) if answer.request_id else ()
