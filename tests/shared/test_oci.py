"""Names, tags, digests, challenges and media types."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.oci.challenge import parse_challenges
from vreg_shared.oci.digest import Digest, InvalidDigestError
from vreg_shared.oci.errors import OciError, error_body
from vreg_shared.oci.media_types import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    AmbiguousManifestError,
    manifest_media_type,
)
from vreg_shared.oci.reference import (
    InvalidNameError,
    InvalidTagError,
    RepositoryName,
    Tag,
    parse_reference,
)

EMPTY_SHA256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class TestDigest:
    def test_reads_back_what_it_writes(self) -> None:
        assert str(Digest.parse(EMPTY_SHA256)) == EMPTY_SHA256

    def test_names_the_bytes_it_was_made_of(self) -> None:
        assert Digest.of(b"") == Digest.parse(EMPTY_SHA256)
        assert str(Digest.of(b"", "sha512")).startswith("sha512:cf83e1357eefb8bd")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "sha256:",
            EMPTY_SHA256[:-1],
            EMPTY_SHA256 + "0",
            EMPTY_SHA256 + "\n",
            EMPTY_SHA256.upper(),
            EMPTY_SHA256.replace("e3b0", "g3b0"),
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha512:" + "0" * 64,
            "sha256:../../etc/passwd",
        ],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidDigestError):
            Digest.parse(text)

    @given(st.binary(max_size=64), st.sampled_from(["sha256", "sha512"]))
    def test_a_hasher_fed_the_same_bytes_matches(self, content: bytes, algorithm: str) -> None:
        digest = Digest.of(content, algorithm)
        hasher = digest.hasher()
        hasher.update(content)
        assert digest.matches(hasher)
        hasher.update(b"more")
        assert not digest.matches(hasher)


class TestReference:
    @pytest.mark.parametrize("text", ["a", "team-a/app", "a/b/c/d", "a__b", "a.b-c--d", "0/1", "a" * 255])
    def test_names_of_the_grammar_are_read(self, text: str) -> None:
        assert str(RepositoryName.parse(text)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "A",
            "a/",
            "/a",
            "a//b",
            "a..b",
            "..",
            "a/../b",
            "a___b",
            "-a",
            "a-",
            "a\x00",
            "a\n",
            "a%2fb",
            "é",
            "a" * 256,
            "a/" * 200 + "a",
            "a b",
            "a:b",
            "a@b",
            ".a",
        ],
    )
    def test_other_names_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidNameError):
            RepositoryName.parse(text)

    @given(st.text(max_size=300))
    def test_no_text_that_is_read_can_leave_its_folder(self, text: str) -> None:
        try:
            name = RepositoryName.parse(text)
        except InvalidNameError:
            return
        assert ".." not in name.value
        assert not name.value.startswith("/")
        assert "\x00" not in name.value

    def test_a_prefix_is_put_before_the_name(self) -> None:
        name = RepositoryName.parse("app")
        assert str(name.with_prefix("team/a")) == "team/a/app"
        assert name.with_prefix("") is name

    def test_a_prefix_that_makes_a_name_too_long_is_refused(self) -> None:
        with pytest.raises(InvalidNameError):
            RepositoryName.parse("a" * 250).with_prefix("prefix")

    def test_a_reference_is_a_tag_or_a_digest(self) -> None:
        assert parse_reference("v1.0_x-Y") == Tag("v1.0_x-Y")
        assert parse_reference(EMPTY_SHA256) == Digest.parse(EMPTY_SHA256)

    @pytest.mark.parametrize("text", ["", ".a", "-a", "a/b", "a" * 129, "a\n", "ä"])
    def test_other_tags_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidTagError):
            parse_reference(text)


class TestChallenge:
    def test_reads_the_token_servers_usual_words(self) -> None:
        (challenge,) = parse_challenges(
            ['Bearer realm="https://auth.docker.io/token",service="r",scope="repository:a:pull,push"']
        )
        assert challenge.scheme == "bearer"
        assert challenge.parameters["realm"] == "https://auth.docker.io/token"
        assert challenge.parameters["scope"] == "repository:a:pull,push"

    def test_reads_several_schemes_in_one_header_and_in_several(self) -> None:
        found = parse_challenges(['BASIC realm=plain, Bearer Realm="q\\"uoted"', "Negotiate"])
        assert [challenge.scheme for challenge in found] == ["basic", "bearer", "negotiate"]
        assert found[0].parameters["realm"] == "plain"
        assert found[1].parameters["realm"] == 'q"uoted'

    @given(st.lists(st.text(max_size=200), max_size=3))
    def test_never_raises(self, values: list[str]) -> None:
        for challenge in parse_challenges(values):
            assert challenge.scheme == challenge.scheme.lower()

    def test_a_long_hostile_header_is_read_in_linear_time(self) -> None:
        parse_challenges(['Bearer a="' + '\\"' * 100_000, "Bearer " + "a=b," * 100_000, "a" * 100_000])


class TestManifestMediaType:
    def test_the_document_says_its_type(self) -> None:
        body = json.dumps({"mediaType": OCI_MANIFEST, "layers": [], "config": {}}).encode()
        assert manifest_media_type(body, "text/plain") == OCI_MANIFEST
        assert manifest_media_type(body, None) == OCI_MANIFEST

    @pytest.mark.parametrize("content_type", [None, "text/plain", OCI_INDEX, OCI_INDEX + "; charset=utf-8"])
    def test_the_shape_says_it_when_the_document_does_not(self, content_type: str | None) -> None:
        assert manifest_media_type(b'{"manifests": []}', content_type) == OCI_INDEX

    def test_an_artifact_keeps_the_type_it_gives_itself(self) -> None:
        body = json.dumps({"mediaType": OCI_MANIFEST, "artifactType": "a/b", "config": {}, "layers": []})
        assert manifest_media_type(body.encode(), OCI_MANIFEST) == OCI_MANIFEST
        other = b'{"mediaType": "application/vnd.example.v1+json", "blobs": []}'
        assert manifest_media_type(other, "application/json") == "application/vnd.example.v1+json"

    @pytest.mark.parametrize(
        ("document", "content_type"),
        [
            ({"layers": [], "manifests": []}, OCI_MANIFEST),
            ({"config": {}, "manifests": [], "mediaType": OCI_INDEX}, None),
            ({"mediaType": OCI_MANIFEST, "layers": []}, DOCKER_MANIFEST),
            ({"mediaType": OCI_INDEX, "config": {}}, None),
            ({"mediaType": OCI_MANIFEST, "manifests": []}, None),
            ({"mediaType": 7, "layers": []}, OCI_MANIFEST),
            ({"mediaType": OCI_MANIFEST, "config": {}, "layers": [], "Manifests": []}, OCI_MANIFEST),
            ({"mediaType": OCI_MANIFEST, "MEDIATYPE": OCI_INDEX, "config": {}, "layers": []}, OCI_MANIFEST),
            ({"config": {}, "layers": [], "manife\u017fts": []}, OCI_MANIFEST),
            ({"config": {}, "layers": []}, DOCKER_MANIFEST),
            ({"config": {}, "layers": []}, OCI_INDEX),
            ({"manifests": []}, DOCKER_LIST),
            ({"mediaType": "a/b\r\nSet-Cookie: c=d", "config": {}, "layers": []}, "application/json"),
            ({"mediaType": "a/b; charset=utf-8", "config": {}, "layers": []}, "application/json"),
            ({"mediaType": "ä/b", "config": {}, "layers": []}, "application/json"),
            ({}, None),
            ([], OCI_INDEX),
        ],
    )
    def test_what_could_be_read_as_two_things_is_refused(
        self, document: object, content_type: str | None
    ) -> None:
        with pytest.raises(AmbiguousManifestError):
            manifest_media_type(json.dumps(document).encode(), content_type)

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"{", b"\xff", b"[" * 100_000, b'{"manifests": []} {}'),
            *('{"manifests": []}'.encode(each) for each in ("utf-8-sig", "utf-16", "utf-32")),
        ],
    )
    def test_what_is_not_json_is_refused(self, body: bytes) -> None:
        with pytest.raises(AmbiguousManifestError):
            manifest_media_type(body, OCI_INDEX)

    @pytest.mark.parametrize(
        "body",
        [
            b'{"mediaType": "a/b", "mediaType": "c/d", "manifests": []}',
            b'{"manifests": [], "manifests": [{}]}',
            b'{"config": {}, "layers": [{"digest": "a", "digest": "b"}]}',
        ],
    )
    def test_a_key_given_twice_is_refused(self, body: bytes) -> None:
        with pytest.raises(AmbiguousManifestError):
            manifest_media_type(body, None)

    @given(
        st.dictionaries(
            st.sampled_from(["mediaType", "manifests", "layers", "config", "fsLayers", "Layers", "subject"]),
            st.sampled_from([*MANIFEST_TYPES, "a/b", "", None, 1]) | st.builds(list) | st.builds(dict),
        ),
        st.lists(st.none() | st.sampled_from([*MANIFEST_TYPES, "text/plain", "a/b"]), min_size=2),
    )
    def test_one_digest_has_one_type_whatever_the_headers_say(
        self, document: dict[str, object], headers: list[str | None]
    ) -> None:
        body, types = json.dumps(document).encode(), set()
        for header in headers:
            with suppress(AmbiguousManifestError):
                types.add(manifest_media_type(body, header))
        assert len(types) <= 1

    @given(st.binary(max_size=200), st.none() | st.text(max_size=50))
    def test_no_bytes_break_the_reader(self, body: bytes, content_type: str | None) -> None:
        with suppress(AmbiguousManifestError):
            manifest_media_type(body, content_type)


def test_an_error_body_has_the_specifications_shape() -> None:
    body = json.loads(error_body(OciError.NAME_UNKNOWN, detail={"id": "x"}))
    assert body == {
        "errors": [{"code": "NAME_UNKNOWN", "message": OciError.NAME_UNKNOWN.message, "detail": {"id": "x"}}]
    }


def test_no_two_errors_are_the_same() -> None:
    assert len({error.message for error in OciError}) == len(OciError.__members__)
