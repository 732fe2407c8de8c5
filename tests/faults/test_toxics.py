"""The toxics themselves, for a fault that does not happen proves nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.toxics import Direction, Toxic, ToxicProxy, toxic
from tests.support.wait import eventually

SENT = bytes(range(256)) * 1000


@asynccontextmanager
async def sender() -> AsyncIterator[ToxicProxy]:
    """A server that says SENT to whoever says a line, behind toxics."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if await reader.readline():
                writer.write(SENT)
                await writer.drain()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, toxic(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def heard(proxy: ToxicProxy) -> tuple[bytes, bool]:
    """Return what a client hears, and whether it ended with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    got = b""
    try:
        writer.write(b"hello\n")
        while piece := await reader.read(65536):
            got += piece
    except ConnectionResetError:
        return got, True
    finally:
        writer.close()
    return got, False


async def test_the_healthy_pass_everything_on() -> None:
    async with sender() as proxy:
        assert await heard(proxy) == (SENT, False)
        assert proxy.passed[Direction.UP] == len(b"hello\n")
        assert proxy.passed[Direction.DOWN] == len(SENT)


@pytest.mark.parametrize("cut", [0, 1, 100_000])
async def test_a_connection_ends_after_just_so_many_bytes(cut: int) -> None:
    async with sender() as proxy:
        proxy.afflict(down=Toxic(reset_after=cut))
        assert await heard(proxy) == (SENT[:cut], True)
        proxy.afflict(down=Toxic(end_after=cut))
        assert await heard(proxy) == (SENT[:cut], False)
        assert proxy.cuts == 2


async def test_one_bit_is_turned_over() -> None:
    async with sender() as proxy:
        proxy.afflict(down=Toxic(flip_at=70_000))
        got, _ = await heard(proxy)
    assert [at for at in range(len(SENT)) if got[at] != SENT[at]] == [70_000]


async def test_nobody_listens_until_somebody_does() -> None:
    async with sender() as proxy:
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await heard(proxy)
        await proxy.listen()
        assert await heard(proxy) == (SENT, False)


async def test_a_black_hole_says_nothing_until_it_is_healed() -> None:
    async with sender() as proxy:
        proxy.afflict(up=Toxic(is_black_hole=True))
        waiting = asyncio.create_task(heard(proxy))
        await eventually(lambda: proxy.connections)
        assert not proxy.passed[Direction.UP]
        proxy.heal()
        assert await waiting == (SENT, False)


async def test_slow_bytes_are_the_same_bytes() -> None:
    async with sender() as proxy:
        proxy.afflict(down=Toxic(rate=5_000_000, piece=1000, latency=0.01, jitter=0.01))
        assert await heard(proxy) == (SENT, False)


async def test_every_connection_may_have_a_toxic_of_its_own() -> None:
    async with sender() as proxy:
        cuts = iter((10, 20))
        proxy.afflict_each(lambda: Toxic(end_after=next(cuts)))
        assert [len((await heard(proxy))[0]) for _ in range(2)] == [10, 20]
