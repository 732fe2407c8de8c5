"""The rules of where we may connect, without a socket."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from tests.support.hostile_hosts import ADDRESSES, LOCAL_NAMES, SPELLINGS, hosts
from tests.support.registry_world import CA_PEM
from vreg_shared.egress import (
    Destination,
    EgressPolicy,
    EgressProxy,
    EgressRefusedError,
    EgressScope,
    InvalidProxyError,
    Reach,
    reach,
    read_url,
)
from vreg_shared.secret import Secret
from vreg_shared.settings import EgressSettings, SettingsError

PUBLIC = ("8.8.8.8", "1.1.1.1", "151.101.1.69", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8")
STRICT = EgressPolicy()


def _policy(*cidrs: str, **more: object) -> EgressPolicy:
    return EgressPolicy(tuple(map(ipaddress.ip_network, cidrs)), **more)  # type: ignore[arg-type]


def test_the_corpus_is_large_enough() -> None:
    assert len(set(hosts())) >= 80


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_special_address_is_public(address: str) -> None:
    assert reach(ipaddress.ip_address(address)) is not Reach.PUBLIC
    with pytest.raises(EgressRefusedError, match="VREG_EGRESS_ALLOWED_CIDRS"):
        STRICT.check_address("registry.example", ipaddress.ip_address(address))


@pytest.mark.parametrize("address", [*PUBLIC, "64:ff9b::8.8.8.8"])
def test_public_addresses_are_reached_also_through_nat64(address: str) -> None:
    STRICT.check_address("registry.example", ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inner = getattr(address, "ipv4_mapped", None) or address
    if inner.is_private or inner.is_multicast or inner.is_link_local or inner.is_reserved:
        nat64 = inner in ipaddress.ip_network("64:ff9b::/96") if inner.version == 6 else False
        assert nat64 or reach(address) is not Reach.PUBLIC


@given(st.ip_addresses(v=4))
def test_an_embedded_address_reaches_as_far_as_it_does_by_itself(address: ipaddress.IPv4Address) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert reach(ipaddress.ip_address(f"{prefix}{address}")) is reach(address)
    for tunnel in (f"::{address}", f"64:ff9b:1::{address}", f"::ffff:0:{address}", f"2600::5efe:{address}"):
        assert reach(ipaddress.ip_address(tunnel)) is not Reach.PUBLIC


@pytest.mark.parametrize("host", [host for host in hosts() if host not in LOCAL_NAMES])
def test_no_spelling_passes_as_a_url(host: str) -> None:
    with pytest.raises(EgressRefusedError):
        STRICT.check_url(read_url(f"https://{host}/v2/"))


@pytest.mark.parametrize("host", SPELLINGS)
def test_an_unusual_spelling_is_refused_even_when_its_address_is_allowed(host: str) -> None:
    with pytest.raises(EgressRefusedError):
        _policy("0.0.0.0/0", "::/0").check_url(read_url(f"https://{host}/v2/"))


@pytest.mark.parametrize(
    "url",
    [
        "http://registry.example/",
        "ftp://registry.example/",
        "file:///etc/passwd",
        "gopher://registry.example/",
        "https:registry.example",
        "https:/registry.example",
        "//registry.example/",
        "registry.example",
        "https://registry.example:22/",
        "https://registry.example:0/",
        "https://registry.example:99999/",
        "https://registry.example:x/",
        "https://registry.example/" + "x" * 20_000,
        " https://registry.example/",
        "https://registry.example/\r\nX: y",
        "https://registry.example/ü",
        "",
    ],
)
def test_other_schemes_ports_and_shapes_are_refused(url: str) -> None:
    with pytest.raises(EgressRefusedError):
        STRICT.check_url(read_url(url))


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("https://registry.example/", {443}),
        ("https://registry.example:443/", {443}),
        ("https://REGISTRY.example:5000/", {443, 5000}),
        ("https://my_bucket.s3.example/", {443}),
    ],
)
def test_https_to_a_name_and_a_known_port_passes(url: str, ports: set[int]) -> None:
    policy = STRICT.scoped(EgressScope(ports=frozenset(ports)))
    assert policy.check_url(read_url(url)).literal is None


@pytest.mark.parametrize(
    "url", ["https://10.1.2.3/", "https://[::ffff:10.1.2.3]/", "https://[64:ff9b::a01:203]/"]
)
def test_a_literal_passes_when_the_operator_lists_its_network(url: str) -> None:
    with pytest.raises(EgressRefusedError, match="VREG_EGRESS_ALLOWED_CIDRS"):
        STRICT.check_url(read_url(url))
    assert _policy("10.0.0.0/8").check_url(read_url(url)).literal is not None
    with pytest.raises(EgressRefusedError):
        _policy("10.0.0.0/8").check_url(read_url("https://8.8.8.8/"))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "fd00:ec2::1"]
)
def test_metadata_opens_only_when_it_is_listed_alone(address: str) -> None:
    one = ipaddress.ip_address(address)
    wide = _policy("0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00:ec2::/32")
    with pytest.raises(EgressRefusedError, match="metadata"):
        wide.check_address("registry.example", one)
    inner = getattr(one, "ipv4_mapped", None) or one
    _policy(f"{inner}/{inner.max_prefixlen}").check_address("registry.example", one)


def test_private_addresses_are_for_the_upstreams_own_names_only() -> None:
    scope = EgressScope(names=("1.dkr.ecr.example", "*.s3.example"), may_be_private=True)
    policy = STRICT.scoped(scope)
    private = [ipaddress.ip_address(one) for one in ("10.0.0.1", "192.168.1.1", "100.64.0.1", "fd12::1")]
    for address in private:
        policy.check_address("1.dkr.ecr.example", address)
        policy.check_address("Bucket.S3.example", address)
        with pytest.raises(EgressRefusedError):
            policy.check_address("elsewhere.example", address)
    for never in (
        "127.0.0.1",
        "::1",
        "169.254.1.1",
        "fe80::1",
        "169.254.169.254",
        "100.100.100.200",
        "224.0.0.1",
    ):
        with pytest.raises(EgressRefusedError):
            policy.check_address("1.dkr.ecr.example", ipaddress.ip_address(never))


def _through(no_proxy: str = "", **more: object) -> EgressPolicy:
    proxy = EgressProxy.parse(Secret("http://proxy.example:3128"), no_proxy)
    scope = EgressScope(names=("registry.example", "*.storage.example", "localhost"))
    return EgressPolicy(proxy=proxy, **more).scoped(scope)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["registry.example", "REGISTRY.example", "a.b.storage.example"])
def test_through_the_proxy_listed_names_pass(name: str) -> None:
    _through().check_url(read_url(f"https://{name}/"))


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "registry.example.evil.example",
        "storage.example",
        "localhost",
        "metadata.google.internal",
        "10.0.0.1",
        "8.8.8.8",
        "[::1]",
        "127.1",
    ],
)
def test_through_the_proxy_other_names_and_all_literals_are_refused(name: str) -> None:
    policy = _through(allowed_cidrs=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("8.8.8.8/32")))
    with pytest.raises(EgressRefusedError):
        policy.check_url(read_url(f"https://{name}/"))


def test_the_operators_names_pass_through_the_proxy() -> None:
    policy = _through(allowed_names=("*.corp.example",))
    policy.check_url(read_url("https://cdn.corp.example/"))
    with pytest.raises(EgressRefusedError, match="VREG_EGRESS_ALLOWED_NAMES"):
        policy.check_url(read_url("https://corp.example/"))


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_exempt"),
    [
        ("registry.example", "registry.example", True),
        ("registry.example", "eu.registry.example", True),
        ("registry.example", "notregistry.example", False),
        (".registry.example", "eu.registry.example", True),
        ("*.registry.example", "eu.registry.example", True),
        ("other.example, REGISTRY.example ,", "registry.example", True),
        ("*", "anything.example", True),
        ("", "registry.example", False),
        ("registry.example:443", "registry.example", True),
        ("registry.example:5000", "registry.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:5000", "10.1.2.3", False),
        ("::1", "[::1]", True),
        ("10.0.0.0/8", "registry.example", False),
    ],
)
def test_no_proxy_exempts_names_suffixes_networks_and_ports(
    no_proxy: str, host: str, *, is_exempt: bool
) -> None:
    proxy = EgressProxy.parse(Secret("http://proxy.example:3128"), no_proxy)
    destination = Destination.of(URL(f"https://{host}/", encoded=True))
    assert proxy.carries(destination) is not is_exempt


@pytest.mark.parametrize("url", ["socks5://proxy:1080", "http://", "http://[::1", "proxy:x:y"])
def test_a_proxy_that_cannot_be_used_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidProxyError, match="HTTPS_PROXY"):
        EgressProxy.parse(Secret(url))


def test_the_proxys_password_is_kept_apart_and_masked() -> None:
    proxy = EgressProxy.parse(Secret("http://me:p%40ss@proxy.example:3128/"))
    assert str(proxy.url) == "http://proxy.example:3128"
    assert proxy.authorization == Secret("Basic bWU6cEBzcw==")
    assert "p@ss" not in repr(proxy)
    assert EgressProxy.parse(Secret("proxy.example:3128")).port == 3128


def test_settings_become_a_policy(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(CA_PEM)
    settings = EgressSettings.model_validate(
        {
            "ca_bundle": bundle,
            "HTTPS_PROXY": "http://proxy.example:3128",
            "NO_PROXY": "internal.example",
            "egress_allowed_cidrs": "10.0.0.0/8",
            "egress_allowed_names": "*.Corp.example",
        }
    )
    policy = EgressPolicy.from_settings(settings)
    assert policy.ca_pem == CA_PEM
    assert policy.allowed_names == ("*.corp.example",)
    assert policy.carried(Destination("x.example", 443, None))
    assert not policy.carried(Destination("internal.example", 443, None))


def test_broken_settings_are_named(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(SettingsError, match="VREG_CA_BUNDLE"):
        EgressPolicy.from_settings(EgressSettings.model_validate({"ca_bundle": bundle}))
    with pytest.raises(SettingsError, match="HTTPS_PROXY"):
        EgressPolicy.from_settings(EgressSettings.model_validate({"HTTPS_PROXY": "socks5://x:1"}))


@example("?")
@given(st.text(max_size=80))
def test_reading_a_url_keeps_it_or_refuses_it(text: str) -> None:
    try:
        url = read_url("https://registry.example/" + text)
    except EgressRefusedError:
        return
    assert str(url) == ("https://registry.example/" + text).partition("#")[0]


@given(st.text(max_size=40))
def test_no_authority_is_read_in_two_ways(text: str) -> None:
    try:
        destination = Destination.of(read_url(f"https://{text}/"))
    except EgressRefusedError:
        return
    shown = text.partition("/")[0].partition("?")[0].lower()
    assert shown.startswith(destination.name if ":" not in destination.name else f"[{destination.name}]")
