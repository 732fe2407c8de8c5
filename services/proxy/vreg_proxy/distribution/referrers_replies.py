"""The index that answers a question for referrers, filtered as it was asked for.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from typing import Final
from urllib.parse import parse_qsl

from vreg_proxy.distribution.replies import Problem, Reply, json_reply
from vreg_proxy.referrers import Listed, index_document
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.media_types import OCI_INDEX, is_media_type

MAX_QUERY_BYTES: Final = 1024
_BAD_TYPE: Final = Problem(OciError.NAME_INVALID, message="artifactType must be one media type")


def artifact_type_of(query: bytes) -> str | Problem | None:
    """Return the artifact type a query wants, None for all; parameters we do not know are ignored."""
    if not query:
        return None
    if len(query) > MAX_QUERY_BYTES:
        return _BAD_TYPE
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        return _BAD_TYPE
    # A plus sign is part of a type; whoever sends it as it is gets a space of it.
    wanted = [value.replace(" ", "+") for name, value in pairs if name == "artifactType"]
    if not wanted:
        return None
    return wanted[0] if len(wanted) == 1 and is_media_type(wanted[0]) else _BAD_TYPE


def referrers_reply(listed: Listed, wanted: str | None) -> Reply:
    """Return the index of those that are of the wanted type."""
    if wanted is None:
        return json_reply(200, index_document(listed), content_type=OCI_INDEX)
    chosen = tuple(each for each in listed if each.artifact_type == wanted)
    applied = (b"oci-filters-applied", b"artifactType")
    return json_reply(200, index_document(chosen), [applied], content_type=OCI_INDEX)
