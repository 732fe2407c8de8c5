"""A registry that behaves, with knobs for every way we know of registries not behaving."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.support.fake_server import Reply, Seen
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_INDEX, OCI_MANIFEST

_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)")
_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list")
_REFERRERS = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)")
_RANGE = re.compile(r"bytes=(\d+)-")

Override = Callable[[Seen], Reply | None]


def image_manifest(*layers: bytes, config: bytes = b"{}") -> bytes:
    """Return the bytes of an image manifest for these layers."""
    described = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": str(Digest.of(one)),
            "size": len(one),
        }
        for one in layers
    ]
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(Digest.of(config)),
                "size": len(config),
            },
            "layers": described,
        }
    ).encode()


def artifact(subject: bytes, artifact_type: str, content: bytes = b"signed", **more: object) -> bytes:
    """Return the bytes of an artifact's manifest that refers to `subject`."""
    document = json.loads(image_manifest(content))
    described = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(subject)), "size": len(subject)}
    return json.dumps({**document, "artifactType": artifact_type, "subject": described, **more}).encode()


def index_of(*described: dict[str, Any]) -> bytes:
    """Return the bytes of an image index."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described}).encode()


def _subject(body: bytes) -> str | None:
    document = json.loads(body)
    return document.get("subject", {}).get("digest") if isinstance(document, dict) else None


def error_reply(
    status: int, code: str, message: str = "", headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    """Return an OCI error."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, (("Content-Type", "application/json"), *headers), body)


def basic(username: str, password: str) -> str:
    """Return a Basic header's value."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@dataclass
class FakeRegistry:
    """A handler for `serving`. `auth` is `none`, `basic` or `bearer`; `override` may answer instead of it.

    With `storage` set, blobs are redirected to `<storage>/<digest>?X-Sig=...` and served there by
    `storage_reply`, which refuses requests with Authorization and signatures that were rewritten.
    """

    auth: str = "none"
    credential: str = basic("vreg", "hunter2")
    realm: str = ""
    service: str = "registry.test"
    override: Override | None = None
    storage: str | None = None
    expires_in: int | None = 300
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    issued: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    hides_digest_on_head: bool = False
    ignores_range: bool = False
    has_referrers: bool = True
    referrers_per_page: int | None = None
    filters_referrers: bool = False

    signature = "X-Amz-Credential=A%2F20260101%2Fs3&X-Sig=a%2Bb+c%20d//e"

    def add_manifest(
        self, name: str, tag: str, body: bytes, media_type: str = OCI_MANIFEST, algorithm: str = "sha256"
    ) -> Digest:
        digest = Digest.of(body, algorithm)
        self.manifests[name, tag] = self.manifests[name, str(digest)] = (media_type, body)
        return digest

    def add_blob(self, name: str, body: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(body, algorithm)
        self.blobs[name, str(digest)] = body
        return digest

    def __call__(self, seen: Seen) -> Reply:
        if self.override is not None and (reply := self.override(seen)) is not None:
            return reply
        if seen.path == "/token":
            return self._token(seen)
        if not self._is_authorized(seen):
            return self._challenge(seen)
        return self._content(seen)

    def _is_authorized(self, seen: Seen) -> bool:
        given = seen.headers.get("authorization")
        if self.auth == "none":
            return True
        if self.auth == "basic":
            return given == self.credential
        token = (given or "").removeprefix("Bearer ")
        if token not in self.issued or token in self.revoked:
            return False
        name = _name(seen)
        return name is None or f"repository:{name}:pull" in base64.b64decode(token).decode()

    def _challenge(self, seen: Seen) -> Reply:
        if self.auth == "basic":
            value = f'Basic realm="https://elsewhere.example/",service="{self.service}"'
        else:
            value = f'Bearer realm="{self.realm}",service="{self.service}"'
            if (name := _name(seen)) is not None:
                value += f',scope="repository:{name}:pull"'
        return error_reply(401, "UNAUTHORIZED", "who are you", (("WWW-Authenticate", value),))

    def _token(self, seen: Seen) -> Reply:
        given = seen.headers.get("authorization")
        if given is not None and given != self.credential:
            return error_reply(401, "UNAUTHORIZED", "no such account")
        scopes = parse_qs(seen.query).get("scope", [])
        token = base64.b64encode(json.dumps([len(self.issued), *scopes]).encode()).decode()
        self.issued.append(token)
        answer: dict[str, Any] = {"token": token}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return Reply(200, (("Content-Type", "application/json"),), json.dumps(answer).encode())

    def _content(self, seen: Seen) -> Reply:
        if seen.path == "/v2/":
            return Reply(200, (("Docker-Distribution-Api-Version", "registry/2.0"),), b"{}")
        if (match := _MANIFEST.fullmatch(seen.path)) is not None:
            return self._manifest(seen, match["name"], match["reference"])
        if (match := _BLOB.fullmatch(seen.path)) is not None:
            return self._blob(seen, match["name"], match["digest"])
        if (match := _TAGS.fullmatch(seen.path)) is not None:
            return self._tags(seen, match["name"])
        if self.has_referrers and (match := _REFERRERS.fullmatch(seen.path)) is not None:
            return self._referrers(seen, match["name"], match["digest"])
        return error_reply(404, "NAME_UNKNOWN")

    def _manifest(self, seen: Seen, name: str, reference: str) -> Reply:
        found = self.manifests.get((name, reference))
        if found is None:
            return error_reply(404, "MANIFEST_UNKNOWN", f"no {reference}")
        media_type, body = found
        headers = [("Content-Type", media_type)]
        if not (self.hides_digest_on_head and seen.method == "HEAD"):
            algorithm = "sha512" if (name, str(Digest.of(body, "sha512"))) in self.manifests else "sha256"
            headers.append(("Docker-Content-Digest", str(Digest.of(body, algorithm))))
        return Reply(200, tuple(headers), body)

    def _blob(self, seen: Seen, name: str, digest: str) -> Reply:
        body = self.blobs.get((name, digest))
        if body is None:
            return error_reply(404, "BLOB_UNKNOWN")
        if self.storage is not None and seen.method == "GET":
            return Reply(307, (("Location", f"{self.storage}//blobs/{digest}?{self.signature}"),))
        return self._ranged(seen, body)

    def storage_reply(self, seen: Seen) -> Reply:
        """Answer as an object store does."""
        if "authorization" in seen.headers:
            return Reply(400, (), b"<Error><Code>InvalidArgument</Code></Error>")
        if seen.query != self.signature or not seen.path.startswith("//blobs/"):
            return Reply(403, (), b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        digest = seen.path.rpartition("/")[2]
        body = next((body for (_, known), body in self.blobs.items() if known == digest), None)
        if body is None:
            return Reply(404, (), b"<Error><Code>NoSuchKey</Code></Error>")
        return self._ranged(seen, body)

    def _ranged(self, seen: Seen, body: bytes) -> Reply:
        match = _RANGE.fullmatch(seen.headers.get("range", ""))
        if match is None or self.ignores_range:
            return Reply(200, (("Content-Type", "application/octet-stream"),), body)
        offset = int(match[1])
        if offset >= len(body):
            return Reply(416, (("Content-Range", f"bytes */{len(body)}"),))
        span = f"bytes {offset}-{len(body) - 1}/{len(body)}"
        return Reply(206, (("Content-Range", span),), body[offset:])

    def _referrers(self, seen: Seen, name: str, subject: str) -> Reply:
        """List all, by digest; a page at a time where `referrers_per_page` says so."""
        query = parse_qs(seen.query)
        listed = sorted(
            (
                _described(body, media_type)
                for (known, reference), (media_type, body) in self.manifests.items()
                if known == name and ":" in reference and _subject(body) == subject
            ),
            key=lambda each: str(each["digest"]),
        )
        if self.filters_referrers and "artifactType" in query:
            listed = [each for each in listed if each["artifactType"] == query["artifactType"][0]]
        start = int(query.get("from", ["0"])[0])
        stop = start + (self.referrers_per_page or len(listed))
        headers = [("Content-Type", OCI_INDEX)]
        if stop < len(listed):
            headers.append(("Link", f'</v2/{name}/referrers/{subject}?from={stop}>; rel="next"'))
        return Reply(200, tuple(headers), index_of(*listed[start:stop]))

    def _tags(self, seen: Seen, name: str) -> Reply:
        tags = sorted(tag for known, tag in self.manifests if known == name and ":" not in tag)
        if not tags:
            return error_reply(404, "NAME_UNKNOWN")
        query = parse_qs(seen.query)
        later = [tag for tag in tags if tag > query.get("last", [""])[0]]
        page = later[: int(query["n"][0])] if "n" in query else later
        headers = []
        if len(page) < len(later):
            headers.append(("Link", f'</v2/{name}/tags/list?last={page[-1]}&n={len(page)}>; rel="next"'))
        return Reply(200, tuple(headers), json.dumps({"name": name, "tags": page}).encode())


def _described(body: bytes, media_type: str) -> dict[str, Any]:
    """Return the descriptor of an artifact, as a list of referrers has it."""
    document = json.loads(body)
    described: dict[str, Any] = {
        "mediaType": media_type,
        "digest": str(Digest.of(body)),
        "size": len(body),
        "artifactType": document.get("artifactType", document["config"]["mediaType"]),
    }
    if "annotations" in document:
        described["annotations"] = document["annotations"]
    return described


def _name(seen: Seen) -> str | None:
    for pattern in (_MANIFEST, _BLOB, _TAGS, _REFERRERS):
        if (match := pattern.fullmatch(seen.path)) is not None:
            return match["name"]
    return None
