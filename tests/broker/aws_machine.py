"""What a machine on AWS is told of its role: by a container's endpoint, and by an instance's in two steps."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.support.fake_server import FakeServer, Reply, Seen

_CONTAINER_TOKEN = "a-token-for-the-container"
_SESSION = "a-session-token"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ROLE = "vreg broker/1"


@asynccontextmanager
async def aws_machine(credentials: Mapping[str, object] | None) -> AsyncIterator[Mapping[str, str]]:
    """Give the environment of a process on such a machine; without credentials it has no role."""
    place = FakeServer(lambda seen: _answer(seen, credentials), "127.0.0.1")
    server = await asyncio.start_server(place.answer, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{origin}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": _CONTAINER_TOKEN,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{origin}/",
        }


def _answer(seen: Seen, credentials: Mapping[str, object] | None) -> Reply:
    if (seen.method, seen.path) == ("PUT", "/latest/api/token"):
        has_life = seen.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "").isdigit()
        return Reply(body=_SESSION.encode()) if has_life else Reply(400)
    is_container = seen.path == "/v1/credentials"
    shown = seen.headers.get("authorization" if is_container else "x-aws-ec2-metadata-token")
    if shown != (_CONTAINER_TOKEN if is_container else _SESSION):
        return Reply(401)
    if credentials is None:
        return Reply(404, body=b"<html>Not Found</html>")
    if seen.path == _ROLES:
        return Reply(body=_ROLE.encode())
    if is_container or seen.path == f"{_ROLES}vreg%20broker%2F1":
        return Reply(body=json.dumps(credentials).encode())
    return Reply(404)
