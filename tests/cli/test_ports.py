import socket

import pytest

from tests.support.ports import free_ports
from vreg_cli.ports import PortTakenError, Wanted, check_ports
from vreg_shared.settings import Listen


def wanted(port: int, host: str = "127.0.0.1") -> Wanted:
    return Wanted("proxy", Listen(f"{host}:{port}"), "--proxy-listen (VREG_PROXY_LISTEN)")


def test_free_ports_pass_and_stay_free() -> None:
    ports = free_ports(3)

    check_ports(map(wanted, ports))
    check_ports(map(wanted, ports))


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortTakenError, match=rf"port {port} for the proxy is taken.*VREG_PROXY_LISTEN"):
            check_ports([wanted(port)])


def test_one_port_for_two_listeners_is_taken() -> None:
    [port] = free_ports(1)

    with pytest.raises(PortTakenError, match=f"port {port}"):
        check_ports([wanted(port), wanted(port)])


def test_a_port_that_changes_at_each_start_is_refused() -> None:
    with pytest.raises(PortTakenError, match="choose a port"):
        check_ports([wanted(0)])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortTakenError, match=r"cannot listen on 192\.0\.2\.1:\d+: "):
        check_ports([wanted(free_ports(1)[0], "192.0.2.1")])
