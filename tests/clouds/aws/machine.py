"""What a machine in AWS asks in clear: the credentials of its pod or task, and of its instance."""

import json
import secrets
from datetime import UTC, datetime

from tests.clouds.aws.model import AccessKey, Role
from tests.clouds.aws.state import AwsState
from tests.clouds.wire import Request, Response

POD_SERVICE = "pods.eks.amazonaws.com"
INSTANCE_SERVICE = "ec2.amazonaws.com"
CREDENTIALS_PATH = "/v1/credentials"
INSTANCE_ID = "i-0123456789abcdef0"
_TEXT = (("Content-Type", "text/plain"),)
_ROLES = "/latest/meta-data/iam/security-credentials/"
_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
_LONGEST_TTL = 21600


class ContainerCredentials:
    """The agent of EKS Pod Identity: one address for all pods, each with an authorization token of its own.

    Source of the shapes: botocore utils.py ContainerMetadataFetcher; the words of refusals are assumed.
    """

    name = "aws-container"

    def __init__(self, state: AwsState) -> None:
        self._state = state
        self.roles: dict[str, str] = {}
        """Authorization token to role ARN."""

    async def answer(self, request: Request) -> Response:
        """Answer GET with the token as it is, without a scheme."""
        request.note.operation = "ContainerCredentials"
        if request.path != CREDENTIALS_PATH or request.method != "GET":
            return Response(404, _TEXT, b"404 page not found\n")
        token = request.headers.get("authorization")
        if token is None:
            return _refused(400, "BadRequest", "Authorization header is missing")
        role = self._state.model.roles.get(self.roles.get(token, ""))
        if role is None or POD_SERVICE not in role.trusted:
            return _refused(403, "AccessDeniedException", "Unauthorized to get credentials for the pod")
        key = _opened(self._state, role, "eks-cluster-pod")
        request.note.principal = key.principal.arn
        return Response.of_json(200, _credentials(key) | {"AccountId": role.account})

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response(429, (*_TEXT, *headers), b"Too many requests\n")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, _TEXT, b"internal error\n")


class InstanceMetadata:
    """The metadata service of the one EC2 instance there is, as it is by default: both versions answer.

    `put_status` answers PUT with a status instead of a token; `is_too_far` lets the answer to PUT get lost,
    as it does for a container while the hop limit is one.
    """

    name = "aws-instance"

    def __init__(self, state: AwsState) -> None:
        self._state = state
        self._tokens: dict[str, float] = {}
        self.role_arn: str | None = None
        self.put_status: int | None = None
        self.is_too_far = False

    async def answer(self, request: Request) -> Response:
        """Answer with the token of version 2, or by version 1 without one."""
        if request.path == "/latest/api/token":
            return await self._session(request)
        token = request.headers.get("x-aws-ec2-metadata-token")
        request.note.operation = "InstanceMetadataV1" if token is None else "InstanceMetadata"
        if token is not None and self._tokens.get(token, 0) <= self._state.clock.now():
            return Response(401, _TEXT, b"")
        role = self._state.model.roles.get(self.role_arn or "")
        if role is None or not request.path.startswith(_ROLES):
            return Response(404, _TEXT, b"404 - Not Found\n")
        asked = request.path.removeprefix(_ROLES)
        if not asked:
            return Response(200, _TEXT, role.name.encode())
        return Response(200, _TEXT, json.dumps(self._role(request, role)).encode())

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response(429, (*_TEXT, *headers), b"")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, _TEXT, b"")

    async def _session(self, request: Request) -> Response:
        request.note.operation = "InstanceMetadataToken"
        if self.is_too_far:
            await request.connection.closed.wait()
        if self.put_status is not None:
            return Response(self.put_status, _TEXT, b"")
        if request.method != "PUT" or "x-forwarded-for" in request.headers:
            return Response(405 if request.method != "PUT" else 403, _TEXT, b"")
        seconds = request.headers.get(_TTL, "")
        if not seconds.isdecimal() or not 1 <= int(seconds) <= _LONGEST_TTL:
            return Response(400, _TEXT, b"")
        token = secrets.token_urlsafe(40)
        self._tokens[token] = self._state.clock.now() + int(seconds)
        return Response(200, (*_TEXT, (_TTL, seconds)), token.encode())

    def _role(self, request: Request, role: Role) -> dict[str, str]:
        if INSTANCE_SERVICE not in role.trusted:
            message = f"EC2 cannot assume the role {role.name}."
            return {"Code": "AssumeRoleUnauthorizedAccess", "Message": message}
        key = _opened(self._state, role, INSTANCE_ID)
        request.note.principal = key.principal.arn
        now = datetime.fromtimestamp(self._state.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"Code": "Success", "LastUpdated": now, "Type": "AWS-HMAC"} | _credentials(key)


def _opened(state: AwsState, role: Role, session_name: str) -> AccessKey:
    return state.model.open_session(role, session_name, state.clock.now() + state.machine_session_seconds)


def _credentials(key: AccessKey) -> dict[str, str]:
    assert key.expires_at is not None
    return {
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret,
        "Token": key.session_token or "",
        "Expiration": datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _refused(status: int, code: str, message: str) -> Response:
    return Response.of_json(status, {"code": code, "message": message})
