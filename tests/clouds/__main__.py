"""`python -m tests.clouds --directory D`: a world in a process of its own, with its controls over HTTP.

Addresses are printed as one line of JSON and written to D/clouds.json. It ends on SIGINT and SIGTERM.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import uvloop
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.clouds.hosting import ADDRESSES
from tests.clouds.remote import ControlError
from tests.clouds.wire import Receive, Scope, Send
from tests.clouds.world import World


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.clouds", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where content and the CA bundle go")
    parser.add_argument("--gateway-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--registry", action="append", default=[], help="host of an open docker-registry")
    parser.add_argument(
        "--protected-registry", action="append", default=[], help="host of a docker-registry with htpasswd"
    )
    parser.add_argument("--until-input-ends", action="store_true", help="also end when standard input does")
    uvloop.run(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if arguments.until_input_ends:
        loop.add_reader(sys.stdin.fileno(), lambda: _read_input(stop))
    folder: Path = arguments.directory.absolute()
    world = World(folder)
    try:
        addresses = await world.start(arguments.gateway_port)
        control = await _serve_control(world, arguments.control_port)
        said = {
            "gateway_url": addresses.gateway_url,
            "control_url": f"http://127.0.0.1:{control.sockets[0].getsockname()[1]}",
            "ca_bundle": str(addresses.ca_bundle),
            "content": str(addresses.content),
            "local": addresses.local,
            "registries": [json.loads(one) for one in await _start_registries(world, arguments)],
        }
        (folder / ADDRESSES).write_text(json.dumps(said, indent=2))
        print(json.dumps(said), flush=True)  # noqa: T201 -- this is what the program is asked for
        await stop.wait()
        control.close()
    finally:
        await world.stop()


async def _start_registries(world: World, arguments: argparse.Namespace) -> list[str]:
    wanted = [(host, False) for host in arguments.registry]
    wanted += [(host, True) for host in arguments.protected_registry]
    return [
        await world.control("registries", "start", json.dumps({"host": host, "is_protected": is_protected}))
        for host, is_protected in wanted
    ]


async def _serve_control(world: World, port: int) -> asyncio.Server:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body, is_more = body + message.get("body", b""), message.get("more_body", False)
        _, name, method = (*scope["path"].split("/"), "", "")[:3]
        try:
            status, text = 200, await world.control(name, method, body.decode())
        except ControlError as error:
            status, text = 400, str(error)
        length = str(len(text.encode())).encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]}
        )
        await send({"type": "http.response.body", "body": text.encode()})

    config = Config(answer, lifespan="off", log_config=None, access_log=False, ws="none")
    config.load()
    state = ServerState()
    return await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", port
    )


def _read_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


if __name__ == "__main__":
    main()
