"""Mirror mode: names as another registry spells them, looked up in the registry of ours that mirrors it.

A namespace is compared with those that registries declare, and never dialled. Sources:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md (`ns`, `OCI-Namespace`) and
https://github.com/containerd/containerd/blob/main/docs/hosts.md
"""

from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.replies import Asgi, Message, Receive, Scope, Send

MAX_QUERY_BYTES: Final = 1024
_ROOT: Final = b"/v2/"
_NONE: Final = ""
"""No registry declares it."""


class Configuration(Protocol):
    """Where the current configuration is."""

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Finds the registry a name is meant for. `default` is the namespace of clients that name none."""

    default: str | None = None

    def spelled(self, name: str, namespace: str | None, snapshot: Snapshot) -> str:
        """Return a name with its slug in front, whether it had one or not.

        A slug that is there wins: a name meant for one registry must never be asked for in another, where
        anybody may have taken it. A name of no registry comes back as it is, and is refused like any other.
        """
        slug = name.partition("/")[0]
        asked = namespace if namespace is not None else self.default
        if asked is None or slug in snapshot.registries:
            return name
        registry = snapshot.mirrors.get(asked)
        return f"{registry.slug}/{name}" if registry is not None else name


class MirrorMode:
    """Stands before `/v2/` and spells paths with their slug; whatever has one passes as it is."""

    def __init__(self, surface: Asgi, configuration: Configuration, mirrors: Mirrors) -> None:
        self._surface = surface
        self._configuration = configuration
        self._mirrors = mirrors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        namespace = asked_namespace(scope["query_string"])
        if namespace is None and self._mirrors.default is None:
            await self._surface(scope, receive, send)
            return
        path = self._spelled(scope["raw_path"], namespace)
        if path == scope["raw_path"]:
            await self._surface(scope, receive, send)
            return
        answered = _announcing(send, namespace) if namespace is not None else send
        await self._surface({**scope, "raw_path": path}, receive, answered)

    def _spelled(self, raw_path: bytes, namespace: str | None) -> bytes:
        """Return the path with its slug. What has one segment only, as `/v2/token`, is ours."""
        name = raw_path.removeprefix(_ROOT)
        if name == raw_path or b"/" not in name or not name.isascii():
            return raw_path
        spelled = self._mirrors.spelled(name.decode("ascii"), namespace, self._configuration.snapshot())
        return _ROOT + spelled.encode("ascii")


def asked_namespace(query: bytes) -> str | None:
    """Return the namespace a query names; the one nobody declares when it names several or is malformed."""
    if b"ns=" not in query:
        return None
    if len(query) > MAX_QUERY_BYTES:
        return _NONE
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        return _NONE
    given = {value.lower() for name, value in pairs if name == "ns"}
    if not given:
        return None
    return given.pop() if len(given) == 1 else _NONE


def _announcing(send: Send, namespace: str) -> Send:
    """Tell the client in which namespace its name was read, as the specification wants it."""
    header = (b"oci-namespace", namespace.encode("ascii"))

    async def announce(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], header]}
        await send(message)

    return announce
