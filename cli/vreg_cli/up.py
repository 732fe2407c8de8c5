"""`vreg up`: the whole story of starting vreg on one machine."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vreg_cli import nats
from vreg_cli.environment import Addresses, service_environment, system_environment
from vreg_cli.home import Home, open_home
from vreg_cli.keys import ensure_keys
from vreg_cli.lock import locked
from vreg_cli.logs import last_line, open_log, size
from vreg_cli.parent_death import ending_with_parent
from vreg_cli.ports import Wanted, check_ports
from vreg_cli.readiness import answers_http, answers_nats, still_runs
from vreg_cli.supervised import Part, Report
from vreg_cli.supervisor import PartRefusedError, Supervisor
from vreg_shared.key_files import Service

_MODULES: Final = {
    Service.API: "vreg_api",
    Service.TOKEN_BROKER: "vreg_token_broker",
    Service.PROXY: "vreg_proxy",
}
_GRACE_SECONDS: Final = 10.0
_PROXY_GRACE_SECONDS: Final = 35.0
"""A proxy lets new pulls begin for 1 s and running ones finish for 30 s, unless set otherwise."""

_SETTLED_SECONDS: Final = 2.0
"""A token-broker that did not refuse its settings by then has accepted them."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person who starts vreg chose, and the environment it was started in."""

    home: Path
    addresses: Addresses
    workers: int
    inherited: Mapping[str, str]

    def environment(self, service: Service, home: Home) -> dict[str, str]:
        """Return what a service sees."""
        return service_environment(service, home, self.addresses, self.workers, self.inherited)


def up(wishes: Wishes, report: Report) -> None:
    """Run vreg until SIGINT or SIGTERM; raise VregError with one line if it cannot start."""
    home = open_home(wishes.home)
    with locked(home):
        check_ports(_wanted(wishes.addresses))
        if ensure_keys(home):
            report(f"First start: made keys in {home.keys}; back them up, they open what is stored.")
        nats.write_configuration(home, wishes.addresses.nats.port, pid_file=home.nats_pid)
        _prepare_database(wishes, home, report)
        asyncio.run(_supervise(wishes, home, report))


def _wanted(addresses: Addresses) -> tuple[Wanted, ...]:
    return (
        Wanted("bus", addresses.nats, "--nats-port (VREG_NATS_PORT)"),
        Wanted("api", addresses.api, "--api-listen (VREG_API_LISTEN)"),
        Wanted("proxy", addresses.proxy, "--proxy-listen (VREG_PROXY_LISTEN)"),
        Wanted("metrics", addresses.metrics, "--metrics-listen (VREG_PROXY_METRICS_LISTEN)"),
    )


def _prepare_database(wishes: Wishes, home: Home, report: Report) -> None:
    """Bring the schema up to date; at the first start of all, show the administrator's token this once."""
    environment = wishes.environment(Service.API, home)
    _run_api_command(environment, home, "migrate")
    if token := _run_api_command(environment, home, "bootstrap").strip():
        report(f"First start: this admin token is shown only now, so keep it:\n\n{token}\n")


def _run_api_command(environment: Mapping[str, str], home: Home, command: str) -> str:
    """Return what `python -m vreg_api <command>` printed; raise PartRefusedError with its last line."""
    log = home.log(Service.API.value)
    log_end = size(log)
    with open_log(log) as errors:
        ended = subprocess.run(  # noqa: S603 - our own module
            [*_module(Service.API), command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
            preexec_fn=ending_with_parent(),
        )
    if ended.returncode != 0:
        words = last_line(log, log_end) or f"ended with exit code {ended.returncode}"
        raise PartRefusedError(f"{command} of the database: {words} (log: {log})")
    return ended.stdout


async def _supervise(wishes: Wishes, home: Home, report: Report) -> None:
    supervisor = Supervisor(report)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run(
        [[_bus(wishes, home)], [_service(service, wishes, home) for service in _in_order()]],
        on_ready=lambda: _report_addresses(wishes, report),
    )
    report("vreg has stopped.")


def _in_order() -> tuple[Service, ...]:
    return (Service.TOKEN_BROKER, Service.API, Service.PROXY)


def _bus(wishes: Wishes, home: Home) -> Part:
    return Part(
        name="nats",
        command=nats.command(home, is_debug=wishes.inherited.get("VREG_LOG_LEVEL") == "debug"),
        environment=system_environment(wishes.inherited),
        log=home.log("nats"),
        grace=_GRACE_SECONDS,
        is_ready=answers_nats(wishes.addresses.nats),
    )


def _service(service: Service, wishes: Wishes, home: Home) -> Part:
    environment = wishes.environment(service, home)
    readiness = {
        Service.API: answers_http(wishes.addresses.api, is_tls="VREG_API_TLS_CERTIFICATE" in environment),
        Service.PROXY: answers_http(
            wishes.addresses.proxy, is_tls="VREG_PROXY_TLS_CERTIFICATE" in environment
        ),
    }
    return Part(
        name=service.value,
        command=_module(service),
        environment=environment,
        log=home.log(service.value),
        grace=_PROXY_GRACE_SECONDS if service is Service.PROXY else _GRACE_SECONDS,
        is_ready=readiness.get(service, still_runs(_SETTLED_SECONDS)),
    )


def _module(service: Service) -> tuple[str, ...]:
    """Return how to run a service; -P keeps the current folder from lending it modules."""
    return (sys.executable, "-P", "-m", _MODULES[service])


def _report_addresses(wishes: Wishes, report: Report) -> None:
    addresses = wishes.addresses
    proxy = (
        wishes.inherited.get("VREG_PROXY_EXTERNAL_URL") or f"{_scheme(wishes, 'PROXY')}://{addresses.proxy}"
    )
    report(f"api    {_scheme(wishes, 'API')}://{addresses.api}")
    report(f"proxy  {proxy}")
    report(f"pull   docker pull {proxy.partition('://')[2].rstrip('/')}/<registry>/<repository>:<tag>")
    report("vreg is up; Ctrl-C stops it.")


def _scheme(wishes: Wishes, service: str) -> str:
    return "https" if f"VREG_{service}_TLS_CERTIFICATE" in wishes.inherited else "http"
