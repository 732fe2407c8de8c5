"""Headers an upstream writes: links to pages, ranges, lengths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from vreg_shared.registry_client.content_range import content_length, resumed_size
from vreg_shared.registry_client.links import PageLinkRejectedError, next_page

PAGE = URL("https://registry.example/v2/a/tags/list?n=2", encoded=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "/v2/a/tags/list?last=b&n=2"),
        ("</v2/a/tags/list?last=b%2Fc>; rel=next", "/v2/a/tags/list?last=b%2Fc"),
        ('<https://registry.example/v2/x?y=%2f>; rel="next"', "/v2/x?y=%2f"),
        ('<https://REGISTRY.example:443/v2/x>; rel="next"', "/v2/x"),
        ('<list?last=b>; rel="next"', "/v2/a/tags/list?last=b"),
        ('<?last=b>; rel="next"', "/v2/a/tags/list?last=b"),
        ('</v2/first>; rel="first", </v2/x,y>; title="a, b"; rel="prev next"', "/v2/x,y"),
        ('</v2/x>; REL="NEXT"', "/v2/x"),
        ('</v2/x>; rel="nexte"', None),
        ("</v2/x>", None),
        ("", None),
        ("garbage", None),
        ('<>; rel="prev"', None),
    ],
)
def test_the_next_page_is_taken_verbatim(value: str, expected: str | None) -> None:
    assert next_page([value], PAGE) == expected


@pytest.mark.parametrize(
    "target",
    [
        "http://registry.example/v2/",
        "https://other.example/v2/",
        "//other.example/",
        "https://registry.example:1/",
        "javascript:1",
    ],
)
def test_a_page_elsewhere_is_rejected(target: str) -> None:
    with pytest.raises(PageLinkRejectedError):
        next_page([f'<{target}>; rel="next"'], PAGE)


def test_an_endless_link_is_rejected() -> None:
    with pytest.raises(PageLinkRejectedError):
        next_page(["</v2/" + "x" * 9000 + '>; rel="next"'], PAGE)


_QUERY = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='<>#\\"'),
    min_size=1,
    max_size=80,
)


@given(_QUERY)
def test_any_query_survives(query: str) -> None:
    assert next_page([f'</v2/a/tags/list?{query}>; rel="next"'], PAGE) == f"/v2/a/tags/list?{query}"


@given(st.lists(st.text(max_size=100), max_size=3))
def test_no_link_header_breaks_us_or_leads_away(values: list[str]) -> None:
    try:
        page = next_page(values, PAGE)
    except PageLinkRejectedError:
        return
    assert page is None or page.startswith("/")


@given(st.text(max_size=300).map(lambda text: f'<{text}>; rel="next"'))
def test_no_link_target_leads_away(value: str) -> None:
    try:
        page = next_page([value], PAGE)
    except PageLinkRejectedError:
        return
    assert page is None or URL("https://registry.example" + page, encoded=True).host == "registry.example"


@given(st.integers(0, 2**50), st.integers(1, 2**50))
def test_a_range_to_the_end_gives_the_size(offset: int, rest: int) -> None:
    size = offset + rest
    assert resumed_size(f"bytes {offset}-{size - 1}/{size}", offset) == size


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_no_other_range_does(first: int, last: int, size: int, offset: int) -> None:
    told = resumed_size(f"bytes {first}-{last}/{size}", offset)
    assert (told == size) is (first == offset and last == size - 1 and first <= last)


@given(st.none() | st.text(max_size=60))
def test_no_content_range_or_length_breaks_us(value: str | None) -> None:
    assert resumed_size(value, 7) is None or value is not None
    assert content_length(value) is None or (value or "").strip().isascii()


@pytest.mark.parametrize("value", ["-1", "+1", "1_0", "٣", "1, 1", "0x1", "1e3", "", "9" * 30])
def test_an_odd_length_is_none(value: str) -> None:
    assert content_length(value) is None
