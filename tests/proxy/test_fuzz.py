"""Whatever clients and upstreams say: an honest answer, no failure of ours, and no file but the cache's."""

import asyncio
import base64
import json
import string
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.proxy.proxy_world import EXTERNAL_URL, ProxyWorld, proxy_world
from tests.proxy.test_pulls import BLOB, BY_TAG, LAYER, MANIFEST, holding
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import Reply, Seen
from tests.support.full import is_full
from vreg_proxy.distribution.authentication import Authenticator, Known
from vreg_proxy.distribution.tokens import TokenMint
from vreg_shared.oci.digest import Digest
from vreg_shared.signing import SigningKey

HANG_SECONDS = 10.0
"""A machine may be busy; what takes this long hangs."""
pytestmark = pytest.mark.asyncio(loop_scope="module")
fuzzed = settings(
    max_examples=5000 if is_full() else 80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Opened:
    """The files that this process opens while watched. An audit hook stays for good, so there is one."""

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.paths is not None and event in {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir"}:
            self.paths.append(str(arguments[0]))

    @contextmanager
    def within(self, folder: Path) -> Iterator[None]:
        """Fail when anything is opened elsewhere than in `folder` and where Python keeps its modules."""
        self.paths = []
        try:
            yield
        finally:
            paths, self.paths = self.paths, None
        roots = (str(folder), *{sys.prefix, sys.base_prefix}, str(Path(__file__).parents[2]))
        outside = [path for path in paths if not path.isdigit() and not path.startswith(roots)]
        assert not outside
        assert not [path for path in paths if ".." in path or "\0" in path]


OPENED = Opened()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(folder: Path) -> AsyncIterator[ProxyWorld]:
    async with proxy_world(folder) as made:
        await made.upstream("a", holding())
        made.registry("main", "a")
        made.access()
        yield made


async def prompt(world: ProxyWorld, path: str, **asked: Any) -> Any:  # noqa: ANN401 - an Answer, and any request
    async with asyncio.timeout(HANG_SECONDS):
        return await world.get(path, **asked)


SEGMENTS = st.sampled_from(
    [
        *(
            "..",
            ".",
            "",
            "%2e%2e",
            "..%2f",
            "..\\",
            "%00",
            "\0",
            "~",
            "-",
            "a" * 300,
            "A",
            "a_b",
            "a__b",
            "a..b",
        ),
        *(
            "main",
            "team",
            "app",
            "manifests",
            "blobs",
            "tags",
            "list",
            "referrers",
            "uploads",
            "_catalog",
            "token",
        ),
        *("1", "latest", str(Digest.of(LAYER)), str(Digest.of(MANIFEST)), "sha256:../../etc/passwd"),
        *(
            "sha256:" + "a" * 63,
            "sha512:" + "b" * 128,
            "md5:" + "c" * 32,
            "etc",
            "passwd",
            "proc",
            "self",
            "mem",
        ),
    ]
)
PATHS = st.lists(SEGMENTS, max_size=9).map(lambda words: "/".join(("/v2", *words))) | st.text(
    alphabet=st.characters(max_codepoint=255), max_size=300
).map(lambda text: f"/v2/{text}")
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"])
QUERIES = st.text(alphabet=string.printable, max_size=200) | st.sampled_from(
    [
        "n=0",
        "n=-1",
        f"n={2**31}",
        f"n={2**64}",
        "n=x",
        "n=1&n=2",
        "last=../../x",
        "last=%00",
        "n=",
        "n=1e3",
        "digest=x",
    ]
)


@fuzzed
@given(PATHS, METHODS, QUERIES)
@example("/v2/main/" + "../" * 30 + "etc/passwd/manifests/1", "GET", "")
@example(f"/v2/main/team/app/blobs/{Digest.of(LAYER)}/../../../x", "GET", "")
async def test_no_path_fails_or_leads_out_of_the_cache(
    world: ProxyWorld, folder: Path, path: str, method: str, query: str
) -> None:
    token = world.access()
    with OPENED.within(folder):
        answer = await prompt(world, path, token=token, method=method, query=query)
    assert answer.status < 500, (answer.status, answer.body)
    if answer.status >= 400 and method != "HEAD":
        assert json.loads(answer.body)["errors"][0]["code"]


HEADERS = st.dictionaries(
    st.sampled_from(
        ["range", "if-none-match", "accept", "if-range", "content-length", "x-forwarded-host", "host"]
    ),
    st.text(alphabet=string.printable, max_size=100)
    | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}(,[0-9]*-[0-9]*){0,3}", fullmatch=True)
    | st.from_regex(r'(W/)?"[a-z0-9:]{0,80}"(, \*)?', fullmatch=True),
    max_size=4,
)


@fuzzed
@given(st.sampled_from([BLOB, BY_TAG]), HEADERS)
@example(BLOB, {"range": "bytes=" + "0-1," * 25_000})
@example(BLOB, {"range": "bytes=0-" + "9" * 100_000})
@example(BLOB, {"range": "bytes=" + " " * 100_000 + "-1"})
@example(BLOB, {"range": "bytes=0" + "0" * 100_000 + "-"})
@example(BY_TAG, {"if-none-match": '"a",' * 25_000})
async def test_no_header_fails_or_gets_more_than_one_part(
    world: ProxyWorld, path: str, headers: dict[str, str]
) -> None:
    answer = await prompt(world, path, token=world.access(), headers=headers)
    assert answer.status in {200, 206, 304, 416}
    assert "multipart" not in answer.headers.get("content-type", "")
    if answer.status == 206:
        first, _, rest = answer.headers["content-range"].removeprefix("bytes ").partition("-")
        assert answer.body == LAYER[int(first) : int(rest.partition("/")[0]) + 1]
    if answer.status == 200:
        assert answer.body == (LAYER if path == BLOB else MANIFEST)


def mutated(token: str) -> st.SearchStrategy[str]:
    """Return what is almost a token of ours."""
    places = st.integers(0, len(token) - 1)
    letters = st.sampled_from(string.ascii_letters + string.digits + "-_.=+/ \0")
    changed = st.tuples(places, letters).map(
        lambda change: token[: change[0]] + change[1] + token[change[0] + 1 :]
    )
    cut = places.map(lambda place: token[:place])
    return (changed | cut).filter(lambda text: not _says_the_same(text, token))


def _says_the_same(one: str, other: str) -> bool:
    """Whether two tokens differ in nothing but the unused bits of their last letter, or not at all."""
    return [_read(part) for part in one.split(".")] == [_read(part) for part in other.split(".")]


def _read(part: str) -> bytes | str:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return part


async def bearer(world: ProxyWorld) -> str:
    world.access()
    answer = await world.get(
        "/v2/token", token=world.access(), query="service=registry.test&scope=repository:main/team/app:pull"
    )
    return str(json.loads(answer.body)["token"])


@fuzzed
@given(st.data())
async def test_no_changed_token_is_believed(world: ProxyWorld, data: st.DataObject) -> None:
    token = await bearer(world)
    assert (await prompt(world, BY_TAG, bearer=token)).status == 200
    forged = data.draw(mutated(token))
    assert (await prompt(world, BY_TAG, bearer=forged)).status == 401


def _basic(raw: bytes) -> str:
    return "Basic " + base64.b64encode(raw).decode()


@fuzzed
@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=300) | st.binary(max_size=100).map(_basic))
@example("Bearer " + "a" * 100_000)
@example("Bearer " + "." * 10_000)
@example("Basic " + "=" * 10_000)
async def test_no_credential_fails_and_no_challenge_says_what_it_was_told(
    world: ProxyWorld, given_: str
) -> None:
    raw = given_.encode("latin-1")
    mint = TokenMint(SigningKey.generate(), "registry.example.com")
    client = Authenticator(world.configured, mint, world.clock).client(raw)  # bytes no str header can hold
    assert not isinstance(client, Known)
    answer = await prompt(
        world, BY_TAG, headers={"authorization": given_.encode("ascii", "replace").decode()}
    )
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith(f'Bearer realm="{EXTERNAL_URL}/v2/token"')
    assert "\r" not in answer.headers["www-authenticate"]


WORDS = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "fsLayers"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
BODIES = st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode())
HOSTILE_HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("Content-Type", "Docker-Content-Digest", "WWW-Authenticate", "Link", "Location", "Retry-After"),
            *("Content-Range", "RateLimit-Limit", "RateLimit-Remaining", "ETag", "Content-Encoding"),
        ]
    ),
    WORDS
    | st.sampled_from(
        [
            *("sha256:../../../../etc/passwd", "sha256:" + "0" * 64, "bytes 0-1/*", "gzip", "-1", "9" * 400),
            *(
                'Bearer realm="http://169.254.169.254/",service="x"',
                'Bearer realm="file:///etc/passwd"',
                "Basic",
            ),
            *(
                '<http://evil.example/x>; rel="next"',
                '</v2/../../x>; rel="next"',
                "//evil.example/",
                "file:///etc",
            ),
        ]
    ),
    max_size=4,
)
REPLIES = st.builds(
    lambda status, headers, body: Reply(status, tuple(headers.items()), body),
    st.sampled_from([200, 206, 301, 307, 400, 401, 403, 404, 416, 429, 500, 503]),
    HOSTILE_HEADERS,
    BODIES,
)


@fuzzed
@given(
    REPLIES,
    st.sampled_from(["manifests/1", f"manifests/{Digest.of(b'x')}", f"blobs/{Digest.of(b'x')}", "tags/list"]),
)
async def test_no_answer_of_an_upstream_is_a_failure_of_ours(
    hostile: "Hostile", folder: Path, reply: Reply, asked: str
) -> None:
    world = hostile.world
    hostile.reply = reply
    for upstream_id in world.configured.snapshot().upstreams:
        world.pulls.asking.upstream_changed(upstream_id)
    with OPENED.within(folder):
        answer = await prompt(world, f"/v2/main/team/app/{asked}", token=world.access())
    assert answer.status in {200, 206, 403, 404, 429, 502, 503}, (answer.status, answer.body)
    if answer.status >= 400:
        assert answer.reason() != "internal_error" if b"reason" in answer.body else answer.error_code()
    if answer.status == 200 and answer.is_complete and "sha256" in asked:
        assert answer.body == b"x"
    for value in answer.headers.values():
        assert "evil" not in value


class Hostile:
    """An upstream that says whatever it is told to."""

    def __init__(self, world: ProxyWorld) -> None:
        self.world = world
        self.reply = Reply()

    def override(self, _seen: Seen) -> Reply:
        return self.reply


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hostile(folder: Path) -> AsyncIterator[Hostile]:
    async with proxy_world(folder / "hostile") as made:
        found = Hostile(made)
        await made.upstream("a", FakeRegistry(override=found.override), tag_validity_seconds=0)
        made.registry("main", "a")
        yield found
