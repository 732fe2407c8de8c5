"""Rate limits as upstreams write them, and as they had better not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.messages.rate_limit import ObservedRateLimit, RateLimitReply
from vreg_shared.rate_limit import RateLimit, RateLimitSource, read_rate_limit

ADDRESS, ACCOUNT = RateLimitSource.ADDRESS, RateLimitSource.ACCOUNT
HUB = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (HUB | {"docker-ratelimit-source": "203.0.113.7"}, RateLimit(76, 100, 21600, ADDRESS)),
        (HUB | {"docker-ratelimit-source": "2001:db8:1:2::/64"}, RateLimit(76, 100, 21600, ADDRESS)),
        (
            HUB | {"docker-ratelimit-source": "7d3c1f0e-6a4b-4d3c-9d6a-0f2c8f1b5a77"},
            RateLimit(76, 100, 21600, ACCOUNT),
        ),
        (HUB, RateLimit(76, 100, 21600)),
        ({"ratelimit-remaining": " 76 ; w=60 "}, RateLimit(76, None, 60)),
        ({"ratelimit-limit": "100;w=60", "ratelimit-remaining": "0"}, RateLimit(0, 100, 60)),
        ({"ratelimit-remaining": "5;w=0"}, RateLimit(5)),
        ({"x-ms-ratelimit-remaining-calls-per-second": "166.65"}, RateLimit(166, None, 1)),
        ({"ratelimit-limit": "100;w=21600"}, None),
        ({}, None),
    ],
)
def test_what_is_said_is_read(headers: dict[str, str], expected: RateLimit | None) -> None:
    assert read_rate_limit(headers) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "1e9",
        "9999999999",
        "\uff11\uff12",
        "76;w=",
        "76;w=-1",
        "76, 100",
        "76;w=1;w=2",
        "0x10",
        "7" * 100_000,
    ],
)
def test_what_cannot_be_read_is_not_guessed_at(value: str) -> None:
    assert read_rate_limit({"ratelimit-remaining": value}) is None


@pytest.mark.parametrize(
    "source", ["", "<script>", "a b", "x" * 100_000, "\x00", "1.2.3.4 or so", "203.0.113.7" + " " * 99]
)
def test_a_strange_source_is_none_and_spoils_nothing_else(source: str) -> None:
    assert read_rate_limit(HUB | {"docker-ratelimit-source": source}) == RateLimit(76, 100, 21600)


_NAMES = st.sampled_from(
    [
        "ratelimit-limit",
        "ratelimit-remaining",
        "docker-ratelimit-source",
        "x-ms-ratelimit-remaining-calls-per-second",
    ]
)


@given(st.dictionaries(_NAMES, st.text(max_size=80) | st.from_regex(r"[0-9]{1,12};w=[0-9]{1,12}")))
def test_no_header_breaks_us_or_says_more_than_a_small_number(headers: dict[str, str]) -> None:
    read = read_rate_limit(headers)
    if read is not None:
        numbers = [each for each in (read.remaining, read.limit, read.window_seconds) if each is not None]
        assert all(0 <= number < 10**9 for number in numbers)
        assert read.window_seconds != 0


_NUMBERS = st.integers(0, 10**9 - 1)


@given(_NUMBERS, _NUMBERS, st.integers(1, 10**9 - 1))
def test_what_docker_hub_writes_is_read_back(limit: int, remaining: int, window: int) -> None:
    headers = {
        "ratelimit-limit": f"{limit};w={window}",
        "ratelimit-remaining": f"{remaining};w={window}",
        "docker-ratelimit-source": "198.51.100.1",
    }
    assert read_rate_limit(headers) == RateLimit(remaining, limit, window, ADDRESS)


@pytest.mark.parametrize(
    ("rate_limit", "is_low"),
    [
        (RateLimit(10, 100), False),
        (RateLimit(9, 100), True),
        (RateLimit(0, 100), True),
        (RateLimit(0), False),
        (RateLimit(0, 0), False),
    ],
)
def test_less_than_a_tenth_is_low(rate_limit: RateLimit, is_low: bool) -> None:  # noqa: FBT001 - a case
    assert rate_limit.is_low is is_low


def test_a_reply_crosses_the_bus_unchanged() -> None:
    observed = ObservedRateLimit.model_validate(
        {"rate_limit": RateLimit(76, 100, 21600, ACCOUNT), "observed_at": "2026-11-23T12:00:00Z"}
    )
    reply = RateLimitReply(observed=observed)
    assert RateLimitReply.model_validate_json(reply.model_dump_json()) == reply
