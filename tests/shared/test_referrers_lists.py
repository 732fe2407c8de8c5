"""Lists of referrers as upstreams send them: read whole, or refused."""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from vreg_shared.oci.digest import Digest
from vreg_shared.registry_client import Referrer, referrers_of
from vreg_shared.registry_client.transport import RequestFailedError

DIGEST = Digest.of(b"signature")
TEXT = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["a/b", str(DIGEST)])
FIELDS = st.sampled_from(["digest", "mediaType", "size", "artifactType", "annotations", "urls", "data"])
ENTRIES = st.dictionaries(FIELDS, TEXT | st.dictionaries(st.text(max_size=3), TEXT, max_size=2))


def test_what_clouds_add_or_leave_out_does_not_matter() -> None:
    bare = {"digest": str(DIGEST), "mediaType": "a/b", "size": 0, "urls": ["http://evil.example"]}
    assert referrers_of(json.dumps({"manifests": [bare]}).encode()) == (Referrer(DIGEST, "a/b", 0),)
    nothing = {**bare, "artifactType": "", "annotations": None}
    assert referrers_of(json.dumps({"manifests": [nothing], "x": 1}).encode()) == (
        Referrer(DIGEST, "a/b", 0),
    )
    assert referrers_of(b'{"manifests": null}') == ()


@given(
    st.binary(max_size=100)
    | st.builds(lambda each: json.dumps({"manifests": each}).encode(), st.lists(ENTRIES))
)
def test_a_list_is_read_whole_or_refused(body: bytes) -> None:
    with suppress(RequestFailedError):
        assert len(referrers_of(body)) == len(json.loads(body)["manifests"] or [])
