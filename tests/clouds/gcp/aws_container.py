"""Where a container on AWS asks for the credentials of its role, on behalf of a token-broker there."""

import secrets
from dataclasses import dataclass

from tests.clouds.wire import Request, Response


@dataclass(frozen=True, slots=True)
class AwsSession:
    """Credentials of a role session, as AWS hands them to a container."""

    access_key_id: str
    secret_access_key: str
    session_token: str


class AwsContainer:
    """Knows one role, and who may ask for it."""

    name = "gcp-aws-container"

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.session: AwsSession | None = None

    async def answer(self, request: Request) -> Response:
        """Answer `GET /credentials`."""
        request.note.operation = "GetCredentials"
        if request.headers.get("authorization") != self.token:
            return Response(401, (), b"Unauthorized")
        if request.path != "/credentials" or self.session is None:
            return Response(404, (), b"Not Found")
        return Response.of_json(
            200,
            {
                "AccessKeyId": self.session.access_key_id,
                "SecretAccessKey": self.session.secret_access_key,
                "Token": self.session.session_token,
            },
        )

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        return Response(429, () if retry_after is None else (("Retry-After", str(retry_after)),))

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status)
