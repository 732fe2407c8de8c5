"""What Google does with a signed question to AWS: look at it closely, ask it, and believe the answer."""

import json
import re
from dataclasses import dataclass
from urllib.parse import unquote

from tests.clouds.cloud import Asks

_URL = re.compile(r"https://sts\.[a-z0-9-]+\.amazonaws\.com/?\?Action=GetCallerIdentity&Version=2011-06-15")
_TARGET = "x-goog-cloud-target-resource"
_ARN = re.compile(r"<Arn>([^<]+)</Arn>")
_SESSION = re.compile(r"(?P<role>arn:aws:sts::[0-9]+:assumed-role/[^/]+)/.+")


class UnprovenError(Exception):
    """It proves nothing; the text is Google's, whose wording is assumed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom AWS says the question is from."""

    arn: str

    @property
    def account(self) -> str:
        """The AWS account."""
        return self.arn.split(":")[4]

    @property
    def role(self) -> str:
        """The attribute `aws_role` of the usual mapping: a session's role, or a user as it is."""
        session = _SESSION.fullmatch(self.arn)
        return session["role"] if session is not None else self.arn


class AwsProofs:
    """Asks the emulated AWS under its real name, where the signature is checked in full."""

    def __init__(self, asks: Asks) -> None:
        self._asks = asks

    async def caller(self, proof: str, provider: str) -> Caller:
        """Return whose proof it is; raise UnprovenError."""
        url, headers = _read(proof)
        if headers.get(_TARGET, "").removeprefix("https:") != provider:
            raise UnprovenError(f"The AWS request's {_TARGET} does not name the provider.")
        try:
            answer = await self._asks.post(url, headers)
        except OSError:
            raise UnprovenError("Received invalid AWS response of type GetCallerIdentity.") from None
        arn = _ARN.search(answer)
        if arn is None:
            raise UnprovenError("Received invalid AWS response of type GetCallerIdentity.")
        return Caller(arn[1])


def _read(proof: str) -> tuple[str, dict[str, str]]:
    try:
        document = json.loads(unquote(proof))
        headers = {str(each["key"]).lower(): str(each["value"]) for each in document["headers"]}
        url, method = str(document["url"]), document["method"]
    except (ValueError, KeyError, TypeError):
        raise UnprovenError("Unable to parse the AWS request.") from None
    if _URL.fullmatch(url) is None or method != "POST":
        raise UnprovenError("The AWS request is no GetCallerIdentity.")
    if missing := {"host", "authorization", "x-amz-date"} - headers.keys():
        raise UnprovenError(f"The AWS request lacks the header {min(missing)}.")
    return url, headers
