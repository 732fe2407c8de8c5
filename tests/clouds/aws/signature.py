"""Signature version 4, checked in full; written from the specification and not with the SDK it is to test."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import quote, unquote

from tests.clouds.aws.model import AccessKey, AwsModel
from tests.clouds.aws.places import Place
from tests.clouds.aws.refusals import AwsRefusalError, Refused
from tests.clouds.wire import Request

_ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW_SECONDS = 5 * 60
_SIGNING_NAMES = {"sts": "sts", "ecr-api": "ecr", "ecr-public-api": "ecr-public"}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[A-Z0-9]+)/(?P<date>\d{8})/(?P<region>[a-z0-9-]+)/"
    r"(?P<service>[a-z0-9-]+)/aws4_request, ?SignedHeaders=(?P<headers>[a-z0-9;-]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_INVALID_TOKEN = "The security token included in the request is invalid."


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the Authorization header says."""

    key_id: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str


def signing_key(request: Request, body: bytes, place: Place, model: AwsModel, now: float) -> AccessKey:
    """Return the key that signed this request; raise AwsRefusalError."""
    claim = _claim(request)
    key = model.keys.get(claim.key_id)
    if key is None or key.principal.partition != place.partition:
        raise AwsRefusalError(Refused.UNKNOWN_KEY, _INVALID_TOKEN)
    _check_session(request, key, now)
    _check_scope(claim, place.region, _SIGNING_NAMES[place.service])
    _check_time(claim, _amz_date(request), now)
    if not hmac.compare_digest(_signature(request, body, claim, key.secret), claim.signature):
        _refuse_signature(
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details."
        )
    return key


def _claim(request: Request) -> _Claim:
    value = request.headers.get("authorization")
    if value is None:
        raise AwsRefusalError(Refused.UNSIGNED, "Request is missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(value)
    if match is None:
        raise AwsRefusalError(
            Refused.INCOMPLETE,
            "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.",
        )
    headers = tuple(match["headers"].split(";"))
    required = {"host", "x-amz-date", *(name for name in request.headers if name.startswith("x-amz-"))}
    if missing := sorted(required - set(headers)):
        _refuse_signature(f"'{missing[0]}' must be a 'SignedHeader' in the AWS Authorization.")
    return _Claim(match["key"], match["date"], match["region"], match["service"], headers, match["signature"])


def _check_scope(claim: _Claim, region: str, service: str) -> None:
    if claim.region != region:
        _refuse_signature(f"Credential should be scoped to a valid region, not '{claim.region}'. ")
    if claim.service != service:
        _refuse_signature(f"Credential should be scoped to correct service: '{service}'. ")


def _check_time(claim: _Claim, signed_at: str, now: float) -> None:
    if not signed_at.startswith(claim.date):
        _refuse_signature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date")
    moment = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    earliest, latest = now - _SKEW_SECONDS, now + _SKEW_SECONDS
    if moment < earliest:
        _refuse_signature(
            f"Signature expired: {signed_at} is now earlier than {_basic(earliest)} ({_basic(now)} - 5 min.)"
        )
    if moment > latest:
        _refuse_signature(
            f"Signature not yet current: {signed_at} is still later than {_basic(latest)} "
            f"({_basic(now)} + 5 min.)"
        )


def _check_session(request: Request, key: AccessKey, now: float) -> None:
    given = request.headers.get("x-amz-security-token")
    if given != key.session_token:
        raise AwsRefusalError(Refused.UNKNOWN_KEY, _INVALID_TOKEN)
    if key.expires_at is not None and now >= key.expires_at:
        raise AwsRefusalError(Refused.EXPIRED, "The security token included in the request is expired")


def _amz_date(request: Request) -> str:
    value = request.headers.get("x-amz-date", "")
    if re.fullmatch(r"\d{8}T\d{6}Z", value) is None:
        raise AwsRefusalError(
            Refused.INCOMPLETE,
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        )
    return value


def _signature(request: Request, body: bytes, claim: _Claim, secret: str) -> str:
    signed_at = _amz_date(request)
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    canonical = "\n".join(
        (
            request.method,
            quote(quote(unquote(request.path), safe="/~")) if request.path != "/" else "/",
            _canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in claim.headers),
            "",
            ";".join(claim.headers),
            hashlib.sha256(body).hexdigest(),
        )
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, f"{_ALGORITHM}\n{signed_at}\n{scope}\n{hashed}".encode(), "sha256").hex()


def _canonical_query(query: str) -> str:
    pairs = sorted(pair.partition("=") for pair in query.split("&") if pair)
    return "&".join(
        f"{quote(unquote(name), safe='~')}={quote(unquote(value), safe='~')}" for name, _, value in pairs
    )


def _basic(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")


def _refuse_signature(message: str) -> NoReturn:
    raise AwsRefusalError(Refused.SIGNATURE, message)
