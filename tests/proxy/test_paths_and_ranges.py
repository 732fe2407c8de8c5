"""Paths, ranges and pages are cut by hand: whatever comes in, there is an answer."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vreg_proxy.distribution.paging import Page, repositories_page, tags_page
from vreg_proxy.distribution.paths import (
    BlobPath,
    CatalogPath,
    MalformedPath,
    ManifestPath,
    Ping,
    PushPath,
    ReferrersPath,
    TagsPath,
    TokenRequest,
    UnknownPath,
    parse_path,
)
from vreg_proxy.distribution.ranges import UNSATISFIABLE, Part, requested_part
from vreg_proxy.distribution.replies import Problem
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.reference import RepositoryName, Tag

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v2/", Ping),
        ("/v2", Ping),
        ("/v2/token", TokenRequest),
        ("/v2/main/app/manifests/1", ManifestPath),
        (f"/v2/main/app/manifests/{DIGEST}", ManifestPath),
        (f"/v2/main/app/blobs/{DIGEST}", BlobPath),
        ("/v2/main/app/tags/list", TagsPath),
        (f"/v2/main/app/referrers/{DIGEST}", ReferrersPath),
        ("/v2/main/app/blobs/uploads/", PushPath),
        ("/v2/main/app/blobs/uploads", PushPath),
        ("/v2/main/app/blobs/uploads/some-id", PushPath),
        ("/v2/_catalog", CatalogPath),
        ("/v2/main/manifests/1", UnknownPath),
        ("/v2/main/app", UnknownPath),
        ("/v1/main", UnknownPath),
        ("/", UnknownPath),
        ("/v2/main/app/manifests/manifests", ManifestPath),
        ("/v2/main/manifests/blobs/manifests/1", ManifestPath),
    ],
)
def test_a_path_is_what_it_says(path: str, kind: type) -> None:
    assert isinstance(parse_path(path.encode()), kind)


def test_a_name_is_cut_into_slug_and_repository() -> None:
    found = parse_path(b"/v2/main/manifests/tags/manifests/v1")
    assert isinstance(found, ManifestPath)
    assert (found.place.slug, found.place.repository) == ("main", RepositoryName.parse("manifests/tags"))
    assert found.reference == Tag.parse("v1")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v2/main/../app/manifests/1", OciError.NAME_INVALID),
        ("/v2/../../etc/passwd", OciError.NAME_INVALID),
        ("/v2/main/app%2f..%2fother/manifests/1", OciError.NAME_INVALID),
        ("/v2/main/%61pp/manifests/1", OciError.NAME_INVALID),
        ("/v2/main/app\0/manifests/1", OciError.NAME_INVALID),
        ("/v2/main//app/manifests/1", OciError.NAME_INVALID),
        ("/v2/main/App/manifests/1", OciError.NAME_INVALID),
        ("/v2/main/app\\x/manifests/1", OciError.NAME_INVALID),
        ("/v2/" + "a/" * 200 + "manifests/1", OciError.NAME_INVALID),
        ("/v2/main/app/manifests/..", OciError.TAG_INVALID),
        ("/v2/main/app/manifests/-x", OciError.TAG_INVALID),
        ("/v2/main/app/manifests/", OciError.TAG_INVALID),
        ("/v2/main/app/manifests/sha256:abc", OciError.DIGEST_INVALID),
        ("/v2/main/app/blobs/latest", OciError.DIGEST_INVALID),
        (f"/v2/main/app/blobs/{str(DIGEST).upper()}", OciError.DIGEST_INVALID),
        (f"/v2/main/app/blobs/{DIGEST}\n", OciError.NAME_INVALID),
    ],
)
def test_a_malformed_path_is_refused_with_its_own_code(path: str, error: OciError) -> None:
    assert parse_path(path.encode("latin-1")) == MalformedPath(error)


WORDS = st.sampled_from(
    ["v2", "token", "manifests", "blobs", "uploads", "tags", "list", "a", "..", "", "A", "%2e"]
)


@given(st.binary(max_size=1200) | st.lists(WORDS).map(lambda words: "/".join(("/v2", *words)).encode()))
@example(b"/v2/" + b"\xff" * 10)
def test_no_path_breaks_the_parser(raw: bytes) -> None:
    found = parse_path(raw)
    if isinstance(found, ManifestPath | BlobPath | TagsPath | ReferrersPath):
        assert ".." not in found.place.name
        assert raw.startswith(f"/v2/{found.place.name}/".encode())
    if isinstance(found, MalformedPath):
        assert found.error.status == 400


@given(
    st.binary(max_size=100) | st.from_regex(rb"bytes=[0-9]{0,5}-[0-9]{0,5}", fullmatch=True),
    st.integers(0, 9999),
)
def test_a_range_lies_within_the_body_or_is_none(header: bytes, size: int) -> None:
    part = requested_part(header, size)
    if isinstance(part, Part):
        assert 0 <= part.start < part.stop <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        (b"bytes=0-9", Part(0, 10)),
        (b"Bytes=3-", Part(3, 100)),
        (b"bytes=-10", Part(90, 100)),
        (b"bytes=-1000", Part(0, 100)),
        (b"bytes=50-1000", Part(50, 100)),
        (b"bytes=100-", UNSATISFIABLE),
        (b"bytes=-0", UNSATISFIABLE),
        (b"bytes=9-3", None),
        (b"bytes=-", None),
        (b"bytes=0-1,2-3", None),
        (b"bytes=0-" + b"9" * 100_000, None),
        (b"bytes=" + b"0-1," * 30_000, None),
    ],
)
def test_a_range_header_means_one_part_or_nothing(header: bytes | None, expected: object) -> None:
    assert requested_part(header, 100) == expected


@given(st.text(alphabet=string.printable, max_size=200))
def test_no_query_breaks_the_pages(query: str) -> None:
    for read in (tags_page, repositories_page):
        page = read(query.encode())
        assert isinstance(page, Problem) or 0 <= page.n <= 1000


@given(st.lists(st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True), unique=True), st.integers(1, 5))
def test_pages_put_together_are_the_whole_list(tags: list[str], n: int) -> None:
    names, seen, last = sorted(tags), [], None
    while True:
        page, link = Page(n, last).cut(names, "/v2/main/app/tags/list")
        seen.extend(page)
        if link is None:
            break
        last = page[-1]
    assert seen == names
