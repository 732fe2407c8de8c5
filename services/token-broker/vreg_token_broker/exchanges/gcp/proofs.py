"""What Google takes as proof before it gives a token: signed with keys that are handed in, and nothing else.

google-auth signs for a service account and botocore for AWS. Their credential classes are left alone: those
retry, keep time and read environments by themselves, and google-auth leaves the pool's name out of what it
signs for AWS, so that the proof would do for anybody's pool.
"""

import json
from datetime import datetime
from typing import Final
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from google.auth import crypt, jwt

from vreg_shared.providers.gcp.auth_methods import Impersonation, ServiceAccountKey
from vreg_shared.secret import Secret
from vreg_token_broker.exchanges.aws.rungs import AwsKeys

OAUTH_URL: Final = "https://oauth2.googleapis.com/token"
_ASSERTION_SECONDS: Final = 3600
_TARGET: Final = "x-goog-cloud-target-resource"


def assertion(method: ServiceAccountKey | Impersonation, scope: str, now: datetime) -> Secret:
    """Return the JWT by which a service account asks for a token of this scope."""
    signer = crypt.RSASigner.from_string(  # type: ignore[no-untyped-call]  # google-auth has no types
        method.private_key.reveal(), method.private_key_id
    )
    issued_at = int(now.timestamp())
    claims = {
        "iss": method.client_email,
        "aud": OAUTH_URL,
        "scope": scope,
        "iat": issued_at,
        "exp": issued_at + _ASSERTION_SECONDS,
    }
    return Secret(jwt.encode(signer, claims).decode())  # type: ignore[no-untyped-call]  # the same


def aws_request(keys: AwsKeys, region: str, provider_name: str) -> Secret:
    """Return the question "who am I?" to AWS, signed for one pool's provider, as Google wants it."""
    url = f"https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("POST", url, headers={"host": f"sts.{region}.amazonaws.com", _TARGET: provider_name})
    token = keys.session_token.reveal() if keys.session_token is not None else None
    credentials = Credentials(keys.access_key_id, keys.secret_access_key.reveal(), token)
    SigV4Auth(credentials, "sts", region).add_auth(request)
    headers = [{"key": name.lower(), "value": value} for name, value in request.headers.items()]
    return Secret(quote(json.dumps({"url": url, "method": "POST", "headers": headers}, sort_keys=True)))


def federated_principal(pool_name: str, identity_token: Secret) -> str:
    """Return whom Google takes the bearer of an identity token for, by the usual mapping of its subject."""
    try:
        claims = jwt.decode(identity_token.reveal(), verify=False)  # type: ignore[no-untyped-call]  # the same
        return f"principal://{pool_name}/subject/{claims['sub']}"
    except (ValueError, KeyError, TypeError):
        return f"principalSet://{pool_name}/*"
