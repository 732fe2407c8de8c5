"""What comes over the wire by hand: each connection gets one answer to one request, or a refusal."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.proxy.proxy_process import Keys, proxy_process
from tests.support.full import is_full
from tests.support.nats_server import UserNkey
from vreg_shared.key_files import Service

ANSWER_SECONDS = 10.0
"""For a hang; an answer takes a few milliseconds."""
GET = b"GET /v2/ HTTP/1.1\r\n"
HOST = b"Host: x\r\n"
END = b"\r\n"
CLOSE = b"Connection: close\r\n"
SMUGGLED = b"GET /v2/_catalog HTTP/1.1\r\nHost: smuggled\r\n\r\n"


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, b"Host: x", *headers, b"", body))


def get(*headers: bytes, path: bytes = b"/v2/", body: bytes = b"") -> bytes:
    return request(b"GET " + path + b" HTTP/1.1", *headers, body=body)


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return request(b"POST /v2/ HTTP/1.1", *headers, body=body)


def framed_twice() -> dict[str, bytes]:
    """Return requests whose end two servers may see at two places."""
    chunked = (b"chunked", b" chunked", b"Chunked", b"chunked ", b"\tchunked")
    odd = (b"xchunked", b"chunked, identity", b"identity, x", b"chunked\x0b", b"gzip, chunked, gzip")
    lengths = (b"+1", b"-1", b"0x1", b"1 1", b"1,1", b"1_0", b"", b"9" * 40, b"1.0", b"\xb2")
    names = (b"Transfer-Encoding ", b" Transfer-Encoding", b"Transfer_Encoding\t", b"Transfer-Encoding\x00")
    found = {
        f"length and {each!r}": post(b"Content-Length: 4", b"Transfer-Encoding:" + each) for each in chunked
    }
    found |= {
        f"{each!r} and length": post(b"Transfer-Encoding:" + each, b"Content-Length: 4") for each in chunked
    }
    found |= {f"encoding {each!r}": post(b"Transfer-Encoding: " + each) for each in odd}
    found |= {f"length {each!r}": post(b"Content-Length: " + each) for each in lengths}
    found |= {f"name {each!r}": post(each + b": chunked") for each in names}
    found |= {
        "two lengths": post(b"Content-Length: 0", b"Content-Length: 5", body=b"abcde"),
        "two equal lengths": post(b"Content-Length: 5", b"Content-Length: 5", body=b"abcde"),
        "encoding of http 1.0": request(
            b"POST /v2/ HTTP/1.0", b"Transfer-Encoding: chunked", b"Content-Length: 3"
        ),
    }
    return {name: sent + b"0\r\n\r\n" + SMUGGLED for name, sent in found.items()}


def badly_chunked() -> dict[str, bytes]:
    sizes = (b"x", b"-1", b"+1", b"0x1", b" 1", b"1 ", b"f" * 17, b"1;a\n", b"1\n", b"\n")
    bodies = {f"chunk size {size!r}": size + b"\r\na\r\n0\r\n\r\n" for size in sizes}
    bodies["chunk without its end"] = b"1\r\nab\r\n0\r\n\r\n"
    return {name: post(b"Transfer-Encoding: chunked", body=body + SMUGGLED) for name, body in bodies.items()}


REFUSED: Mapping[str, bytes] = {
    **framed_twice(),
    "bare line feeds": b"GET /v2/ HTTP/1.1\nHost: x\n\n",
    "one bare line feed": b"GET /v2/ HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare carriage return": b"GET /v2/ HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "space before colon": GET + b"Host : x\r\n\r\n",
    "no colon": GET + HOST + b"abc\r\n\r\n",
    "no name": GET + HOST + b": abc\r\n\r\n",
    "folded header": GET + HOST + b"A: b\r\n c\r\n\r\n",
    "folded first header": GET + b" Host: x\r\n\r\n",
    "no host": GET + END,
    "two hosts": GET + HOST + b"Host: y\r\n\r\n",
    "two equal hosts": GET + HOST + HOST + END,
    "absolute form": request(b"GET http://evil.example/v2/ HTTP/1.1"),
    "absolute form of ours": request(b"GET http://x/v2/ HTTP/1.1"),
    "authority form": request(b"CONNECT evil.example:443 HTTP/1.1"),
    "asterisk": request(b"OPTIONS * HTTP/1.1"),
    "no path": request(b"GET v2/ HTTP/1.1"),
    "no target": request(b"GET  HTTP/1.1"),
    "tab for space": request(b"GET\t/v2/ HTTP/1.1"),
    "space in target": request(b"GET /v2/ x HTTP/1.1"),
    "large header": get(b"A: " + b"x" * 100_000),
    "large name": get(b"x" * 100_000 + b": a"),
    "many headers": get(*(b"A%d: x" % number for number in range(200))),
    "large range": get(b"Range: bytes=" + b"0-1," * 25_000),
    "long target": get(path=b"/v2/" + b"a" * 70_000),
    "http 0.9": b"GET /v2/\r\n\r\n",
    "http 1.2": b"GET /v2/ HTTP/1.2\r\nHost: x\r\n\r\n",
    "http 2": b"GET /v2/ HTTP/2.0\r\nHost: x\r\n\r\n",
    "http 11": b"GET /v2/ HTTP/11\r\nHost: x\r\n\r\n",
    "lower-case protocol": b"GET /v2/ http/1.1\r\nHost: x\r\n\r\n",
    "http 2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": request(b"BREW /v2/ HTTP/1.1"),
    "lower-case method": request(b"get /v2/ HTTP/1.1"),
    "control in header": get(b"A: \x01"),
    "null in header": get(b"A: a\0b"),
    "null in name": get(b"A\0: b"),
    "null in path": get(path=b"/v2/\0"),
    "delete in path": get(path=b"/v2/\x7f"),
    "high byte in path": get(path=b"/v2/\xff/manifests/1"),
    "encoded traversal": get(path=b"/v2/a%2f..%2fb/manifests/1"),
    "dots": get(path=b"/v2/../../etc/passwd"),
    "backslashes": get(path=b"/v2/..\\..\\etc/manifests/1"),
    "fragment": get(path=b"/v2/a/b/manifests/1#x"),
    "two credentials": get(b"Authorization: Basic a", b"Authorization: Basic b"),
    "reading with a body": get(b"Content-Length: 5", body=b"abcde"),
    "reading with a chunked body": get(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n"),
    "tls": bytes.fromhex("16030100c8010000c40303") + b"\0" * 50,
    "socks": b"\x05\x01\x00" + b"\0" * 8,
    "ssh": b"SSH-2.0-OpenSSH_9.9\r\n",
    "nothing but line ends": b"\r\n" * 30_000,
}
ANSWERED: Mapping[str, tuple[bytes, bytes]] = {
    "plain": (get(), b"401"),
    "two spaces": (request(b"GET  /v2/ HTTP/1.1"), b"401"),
    "connection close": (get(b"Connection: close"), b"401"),
    "http 1.0": (b"GET /v2/ HTTP/1.0\r\n\r\n", b"401"),
    "line ends before the request": (b"\r\n\r\n" + get(), b"401"),
    "empty body": (get(b"Content-Length: 0"), b"401"),
    "a range of many": (get(b"Range: bytes=" + b"0-1," * 6000), b"401"),
    "pushing": (request(b"PUT /v2/a/b/manifests/1 HTTP/1.1", b"Content-Length: 5", body=b"abcde"), b"401"),
    "waiting to push": (post(b"Content-Length: 5", b"Expect: 100-continue"), b"401"),
    "another protocol": (get(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"), b"401"),
    "a web socket": (get(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: x"), b"401"),
    "deleting": (request(b"DELETE /v2/a/b/manifests/1 HTTP/1.1"), b"401"),
    "query without end": (get(path=b"/v2/a/b/tags/list?" + b"n=1&" * 1000), b"401"),
    "encoded question mark": (get(path=b"/v2/token%3fservice=x"), b"400"),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    folder = tmp_path_factory.mktemp("raw")
    keys = Keys.make(folder / "keys", {service: UserNkey.generate().seed for service in Service})
    async with AsyncExitStack() as stack:
        yield (await stack.enter_async_context(proxy_process(folder, keys))).port


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def said(port: int, sent: bytes) -> tuple[bytes, bool]:
    """Send bytes and, after the first answer, a last request.

    Return what came back but for the answer to that, and whether the other side had closed by then.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(sent)
            while not _is_whole(answer) and (piece := await reader.read(65536)):
                answer += piece
            writer.write(LAST)
            while piece := await reader.read(65536):
                answer += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    first, is_open, _ = answer.rpartition(ALIVE) if answer.endswith(b'alive"}') else (answer, b"", b"")
    return first, not is_open


LAST = get(b"Connection: close", path=b"/livez")
ALIVE = b"HTTP/1.1 200 OK"


def _is_whole(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(separator) and len(body) >= sum(lengths)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    port: int, name: str
) -> None:
    answer, is_closed = await said(port, REFUSED[name])
    assert answer.count(b"HTTP/1.1 ") == 1, answer[:300]
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"_catalog" not in answer
    assert is_closed or name in HARMLESS


HARMLESS = {"encoded traversal", "dots", "backslashes", "high byte in path"}
"""Well-framed; the answer is an OCI error, and the next request on the connection is read as what it is."""


@pytest.mark.parametrize("name", badly_chunked())
async def test_a_body_that_is_badly_cut_never_becomes_a_second_request(port: int, name: str) -> None:
    answer, is_closed = await said(port, badly_chunked()[name])
    assert answer.count(b"HTTP/1.1 ") == 1, answer[:300]
    assert answer[9:12] in {b"400", b"401"}
    assert is_closed


@pytest.mark.parametrize("name", ANSWERED)
async def test_one_request_gets_one_answer(port: int, name: str) -> None:
    sent, status = ANSWERED[name]
    answer, _ = await said(port, sent)
    assert answer.count(b"HTTP/1.") == 1, answer[:300]
    assert answer[9:12] == status


async def test_requests_in_a_row_are_answered_in_a_row(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get() + get(path=b"/v2/../x") + get(path=b"/livez") + get(b"Connection: close"))
    async with asyncio.timeout(ANSWER_SECONDS):
        answer = await reader.read()
    writer.close()
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"401", b"400", b"200", b"401"]


REFLECTING = (
    b"Host",
    b"X-Forwarded-Host",
    b"X-Forwarded-Proto",
    b"X-Forwarded-For",
    b"Forwarded",
    b"X-Real-IP",
)


@pytest.mark.parametrize("name", REFLECTING)
async def test_the_challenge_names_our_own_address_whatever_the_request_says(port: int, name: bytes) -> None:
    other = [] if name == b"Host" else [HOST.rstrip()]
    sent = b"\r\n".join((b"GET /v2/ HTTP/1.1", name + b": evil.example", *other, b"", b""))
    answer, _ = await said(port, sent)
    assert b"evil" not in answer
    assert b'realm="http://127.0.0.1:%d/v2/token"' % port in answer


PIECES = (
    *(
        b"GET ",
        b"POST ",
        b"/v2/",
        b"/v2/a/b/blobs/",
        b"/v2/token?",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\n",
    ),
    *(b"Host: x\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"3\r\n"),
    *(b"0\r\n\r\n", b"\0", b"\xff", b":", b" ", b"\t", b"%2e%2e", b"Range: bytes=0-\r\n", b"a" * 300),
    *(b"Authorization: Basic eDp5\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"),
)
"""What a request is made of; in any order it is mostly none."""


async def test_no_bytes_break_or_hang_the_listener(port: int) -> None:
    dice = random.Random(19)  # noqa: S311 - the same bytes each time
    for _ in range(20_000 if is_full() else 300):
        sent = b"".join(dice.choices(PIECES, k=dice.randint(1, 14)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await reader.read()
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        assert b"HTTP/1.1 5" not in answer, sent
    answer, _ = await said(port, get())
    assert answer[9:12] == b"401"
