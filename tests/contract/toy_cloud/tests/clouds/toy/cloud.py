"""The emulated Toy Cloud: its IAM, and its registries."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tests.clouds.cloud import Cloud, Parts
from tests.clouds.oci_answers import oci_error
from tests.clouds.shelf import Shelf, whole
from tests.clouds.wire import Request, Response, Service

_REGISTRIES = ".registry.toy.example.test"


@dataclass
class State:
    parts: Parts
    keys: dict[str, str] = field(default_factory=dict)
    readers: dict[str, set[str]] = field(default_factory=dict)
    shelves: dict[tuple[str, str], Shelf] = field(default_factory=dict)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    token_seconds: float = 3600.0


class Iam:
    name = "toy-iam"

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        request.note.operation, request.note.principal = "Token", form.get("account", "")
        account, now = form.get("account", ""), self._state.parts.clock.now()
        if not secrets.compare_digest(self._state.keys.get(account, "\0"), form.get("key", "")):
            return Response.of_json(401, {"error": "unknown key"})
        token = secrets.token_urlsafe(32)
        self._state.tokens[token] = (account, now + self._state.token_seconds)
        return Response.of_json(200, {"token": token, "expires_in": self._state.token_seconds})

    def throttled(self, retry_after: int | None) -> Response:
        return Response(429, () if retry_after is None else (("Retry-After", str(retry_after)),))

    def failed(self, status: int) -> Response:
        return Response(status)


class Registry:
    name = "toy-registry"

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        account, ends = self._state.tokens.get(token, ("", 0.0))
        if self._state.parts.clock.now() >= ends:
            return oci_error(401, "UNAUTHORIZED", "token expired")
        registry = request.host.removesuffix(_REGISTRIES)
        if account not in self._state.readers.get(registry, ()):
            return oci_error(403, "DENIED", f"{account} may not read {registry}")
        repository, _, rest = request.plain_path.removeprefix("/v2/").rpartition("/")
        name, _, what = repository.rpartition("/")
        shelf = self._state.shelves.get((registry, name), Shelf())
        if what == "blobs" and rest in shelf.blobs:
            return Response(200, (), whole(self._state.parts.content, rest))
        found = shelf.manifest(rest, request.headers.get("accept")) if what == "manifests" else None
        if found is None:
            return oci_error(404, "MANIFEST_UNKNOWN", "nothing of this name")
        headers = (("Content-Type", found[1]), ("Docker-Content-Digest", found[0]))
        return Response(200, headers, whole(self._state.parts.content, found[0]))

    def throttled(self, retry_after: int | None) -> Response:
        del retry_after
        return oci_error(429, "TOOMANYREQUESTS", "slowly")

    def failed(self, status: int) -> Response:
        return Response(status)


class ToyControl:
    def __init__(self, state: State) -> None:
        self._state = state

    def set_key(self, account: str, key: str) -> None:
        self._state.keys[account] = key

    def set_readers(self, registry: str, accounts: tuple[str, ...]) -> None:
        self._state.readers[registry] = set(accounts)

    def put_manifest(
        self, place: tuple[str, str], digest: str, media_type: str, blobs: tuple[str, ...], tag: str | None
    ) -> None:
        self._state.shelves.setdefault(place, Shelf()).put(digest, media_type, blobs, tag)

    def set_life(self, seconds: float) -> None:
        self._state.token_seconds = seconds

    def end_tokens(self) -> None:
        self._state.tokens = {token: (account, 0.0) for token, (account, _) in self._state.tokens.items()}


class Toy:
    def __init__(self, parts: Parts) -> None:
        state = State(parts)
        self._iam, self._registry = Iam(state), Registry(state)
        self.control: object = ToyControl(state)
        self.local: Mapping[str, Service] = {}

    def find(self, host: str) -> Service | None:
        if host == "iam.toy.example.test":
            return self._iam
        return self._registry if host.endswith(_REGISTRIES) else None


def cloud(parts: Parts) -> Cloud:
    return Toy(parts)
