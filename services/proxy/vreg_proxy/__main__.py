"""`python -m vreg_proxy`: check the settings, listen, and keep the worker processes running."""

import math
import os
import resource
import signal
import socket
import ssl
import sys
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from vreg_proxy.certificate import server_context
from vreg_proxy.settings import ProxySettings
from vreg_proxy.strict_http import StrictHttp
from vreg_proxy.wiring import WORKERS, check_keys
from vreg_proxy.workers import forget_workers
from vreg_shared.egress import EgressPolicy
from vreg_shared.errors import VregError
from vreg_shared.settings import Listen, SettingsError, load
from vreg_shared.telemetry import configure_logging

BAD_SETTINGS: Final = 2
KEEP_ALIVE_SECONDS: Final = 65
"""Longer than the idle time of usual load balancers, so that they close first."""
WORKER_SECONDS: Final = 15
"""For a worker to answer its supervisor: also while it starts on a busy machine."""
BACKLOG: Final = 2048
FILES_BESIDES: Final = 4096
"""For blobs, fills and upstreams."""
USER_TIMEOUT_MILLISECONDS: Final = 120_000
"""For a client that acknowledges nothing and reads nothing: the kernel lets go of it."""


def main() -> int:
    """Serve until told to stop; return the exit code."""
    try:
        settings = load(ProxySettings)
        check_keys(settings)
        EgressPolicy.from_settings(settings)
        check_folders(settings)
        listener = bind(settings)
        check_metrics_listen(settings)
        forget_workers(settings.proxy_state / WORKERS)
        allow_connections(settings.proxy_max_connections)
    except VregError as error:
        sys.stderr.write(f"vreg_proxy: {error}\n")
        return BAD_SETTINGS
    configure_logging("proxy", settings.log_level, settings.log_format)
    os.environ["VREG_PROXY_EXTERNAL_URL"] = _external_url(settings, listener)
    return serve(settings, listener)


def serve(settings: ProxySettings, listener: socket.socket) -> int:
    """Run one worker in this process, or several in processes that are replaced when they die.

    Returns the exit code: not 0 when a worker could not start at all.
    """
    signal.signal(signal.SIGTERM, _already_stopped)
    config = server_config(settings)
    if settings.proxy_workers == 1:
        uvicorn.Server(config).run(sockets=[listener])
        return 0
    supervisor = Supervisor(config, sockets=[listener])
    supervisor.run()
    return max(process.exitcode == STARTUP_FAILURE for process in supervisor.processes) * STARTUP_FAILURE


def server_config(settings: ProxySettings) -> uvicorn.Config:
    """Return the server's configuration; a worker makes its application by name."""
    return uvicorn.Config(
        "vreg_proxy.wiring:create_app",
        factory=True,
        workers=settings.proxy_workers,
        loop="uvloop",
        http=StrictHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.proxy_drain_limit.total_seconds()),
        timeout_worker_healthcheck=WORKER_SECONDS,
        ssl_certfile=settings.proxy_tls_certificate,
        ssl_keyfile=settings.proxy_tls_key,
        ssl_context_factory=server_context if settings.proxy_tls_certificate is not None else None,
    )


class Supervisor(Multiprocess):
    """Lets go of the listener as its workers do, so that late clients are refused, not kept waiting."""

    def terminate_all(self) -> None:
        """Tell the workers to end."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()


def check_folders(settings: ProxySettings) -> None:
    """Make the folders for state and cache, and see that the certificate is one; raise SettingsError."""
    for name, folder in (
        ("VREG_PROXY_STATE", settings.proxy_state),
        ("VREG_PROXY_CACHE", settings.proxy_cache),
    ):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{name}: cannot make the folder {folder}: {error.strerror}") from error
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise SettingsError(f"{name}: the folder {folder} is not readable and writable for this user")
    if settings.proxy_tls_certificate is not None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.proxy_tls_certificate, settings.proxy_tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                "VREG_PROXY_TLS_CERTIFICATE and VREG_PROXY_TLS_KEY: not a PEM certificate and its key"
            ) from error


def bind(settings: ProxySettings) -> socket.socket:
    """Return the listening address, bound, for all workers to share; raise SettingsError."""
    address = settings.proxy_listen
    try:
        listener = socket.socket(_family(address))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MILLISECONDS)
        listener.bind((address.host, address.port))
    except OSError as error:
        raise SettingsError(
            f"VREG_PROXY_LISTEN: cannot listen on {address}: {error.strerror};"
            " choose another address, or stop what uses it"
        ) from error
    listener.set_inheritable(True)
    return listener


def check_metrics_listen(settings: ProxySettings) -> None:
    """See that workers will be able to listen for those who read metrics; raise SettingsError."""
    address = settings.proxy_metrics_listen
    if address is None:
        return
    try:
        with socket.create_server((address.host, address.port), family=_family(address)):
            pass
    except OSError as error:
        raise SettingsError(
            f"VREG_PROXY_METRICS_LISTEN: cannot listen on {address}: {error.strerror};"
            " choose another address, or stop what uses it"
        ) from error


def allow_connections(connections: int) -> None:
    """Raise the limit of open files, for workers too, to what so many connections need, where allowed."""
    wanted = connections + FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _family(address: Listen) -> int:
    return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]


def _external_url(settings: ProxySettings, listener: socket.socket) -> str:
    """Return the external URL, with the port the system chose when it was asked to choose one."""
    if settings.proxy_external_url is not None or settings.proxy_listen.port:
        return settings.external_url
    return settings.external_url.removesuffix(":0") + f":{listener.getsockname()[1]}"


def _already_stopped(_signal: int, _frame: FrameType | None) -> None:
    """Uvicorn raises the signal again once all is closed; then there is nothing left to do."""


if __name__ == "__main__":
    sys.exit(main())
