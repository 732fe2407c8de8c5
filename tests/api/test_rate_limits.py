"""`GET /upstreams/{id}/rate_limit`: what the proxies heard, or honestly that nobody knows."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.api_world import Api
from tests.support.clock import ManualClock
from vreg_api.upstreams.rate_limits import telling
from vreg_proxy.rate_limit_requests import RateLimitRequests
from vreg_proxy.rate_limits import RateLimits
from vreg_shared.messages.rate_limit import ObservedRateLimit
from vreg_shared.rate_limit import RateLimit, RateLimitSource

HUB = {"name": "docker-hub", "kind": "oci", "host": "registry-1.docker.io"}
NOTHING = {"limit": None, "remaining": None, "window_seconds": None, "source": None, "observed_at": None}


@pytest.fixture
async def upstream(api: Api) -> dict[str, Any]:
    await api.bus.come_up()
    return await api.create("upstreams", HUB)


def proxy(api: Api) -> RateLimits:
    """Add a proxy's process to those that answer."""
    rate_limits = RateLimits(api.clock)
    api.bus.proxies.append(RateLimitRequests(rate_limits).answer)
    return rate_limits


async def read(api: Api, upstream: dict[str, Any]) -> dict[str, Any]:
    answer = await api.call("GET", f"/upstreams/{upstream['id']}/rate_limit")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_the_tightest_of_all_proxies_is_shown(api: Api, upstream: dict[str, Any]) -> None:
    for remaining in (76, 12, 90):
        hear = proxy(api).listener(upstream["id"])
        hear(RateLimit(remaining, 100, 21600, RateLimitSource.ADDRESS))
    proxy(api)
    assert await read(api, upstream) == {
        "limit": 100,
        "remaining": 12,
        "window_seconds": 21600,
        "source": "address",
        "observed_at": "2026-11-23T12:00:00Z",
        "proxy_processes": 4,
    }


async def test_what_nobody_has_heard_is_null(api: Api, upstream: dict[str, Any]) -> None:
    proxy(api).listener("another upstream")(RateLimit(1))
    assert await read(api, upstream) == NOTHING | {"proxy_processes": 1}


async def test_a_proxy_of_another_version_is_left_out(api: Api, upstream: dict[str, Any]) -> None:
    async def answer(_: bytes) -> bytes:
        return b'{"observed":{"rate_limit":{"remaining":"many"},"observed_at":"yesterday"}}'

    api.bus.proxies.append(answer)
    refused = await api.call("GET", f"/upstreams/{upstream['id']}/rate_limit")
    assert (refused.status_code, refused.json()["code"]) == (503, "no_proxy_answers")
    proxy(api)
    assert await read(api, upstream) == NOTHING | {"proxy_processes": 1}


async def test_no_proxy_and_no_bus_are_problems_and_no_empty_answers(
    api: Api, upstream: dict[str, Any]
) -> None:
    path = f"/upstreams/{upstream['id']}/rate_limit"
    no_proxy = await api.call("GET", path)
    api.bus.go_down()
    no_bus = await api.call("GET", path)
    for answer in (no_proxy, no_bus):
        assert (answer.status_code, answer.json()["code"]) == (503, "no_proxy_answers")
        assert answer.headers["Retry-After"] == "5"
    assert "the bus is down" in no_bus.json()["detail"]


async def test_an_upstream_that_is_not_there_asks_nobody(api: Api) -> None:
    answer = await api.call("GET", "/upstreams/01KAS1G6V5X4T3NQ7R8M2C9B0Z/rate_limit")
    assert answer.status_code == 404


CLOCK = ManualClock()


def observed(remaining: int, seconds_ago: float, window: int | None = 60) -> ObservedRateLimit:
    return ObservedRateLimit(
        rate_limit=RateLimit(remaining, 100, window),
        observed_at=CLOCK.now() - timedelta(seconds=seconds_ago),
    )


@pytest.mark.parametrize(
    ("heard", "remaining"),
    [
        ([], None),
        ([observed(5, 10)], 5),
        ([observed(5, 10), observed(3, 20)], 3),
        ([observed(5, 10), observed(0, 61)], 5),
        ([observed(0, 100), observed(7, 61)], 7),
        ([observed(0, 59, None), observed(7, 1, 1)], 0),
        ([observed(0, 61, None), observed(7, 1, 1)], 7),
    ],
)
def test_a_window_that_is_over_tells_only_when_there_is_no_other(
    heard: list[ObservedRateLimit], remaining: int | None
) -> None:
    told = telling(heard, CLOCK.now())
    assert (told.rate_limit.remaining if told is not None else None) == remaining
