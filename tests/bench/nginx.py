"""nginx serving files from a folder: the floor that any server of bytes is measured against."""

import asyncio
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.upstream import Certificate
from tests.support.ports import free_ports

_CONFIGURATION = """
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {certificate.chain};
    ssl_certificate_key {certificate.key};
    root {folder}/files;
    keepalive_requests 1000000;
    location /v2/ {{ limit_rate 125m; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running server; files put into `files` are served below `url`, those below /v2/ at 125 MB/s."""

    url: str
    tls_url: str
    files: Path
    pid: int


@asynccontextmanager
async def nginx(folder: Path, workers: int, certificate: Certificate) -> AsyncIterator[Nginx]:
    """Run nginx while the block runs."""
    port, tls_port = free_ports(2)
    files = folder / "files"
    files.mkdir(parents=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, port=port, tls_port=tls_port, workers=workers, certificate=certificate
        )
    )
    folder.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "nginx", "-c", str(configuration), "-p", str(folder), stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _answers(url)
        yield Nginx(url, f"https://localhost:{tls_port}", files, process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> None:
    async with asyncio.timeout(10), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
