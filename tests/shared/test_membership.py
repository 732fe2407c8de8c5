"""Where a name leads in a registry, and why not elsewhere."""

from vreg_shared.catalogue import catalogue
from vreg_shared.membership import Match, Standing, matches
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.reference import RepositoryName


def upstream(identifier: str, **fields: object) -> UpstreamRecord:
    return UpstreamRecord.model_validate(
        {"id": identifier, "name": identifier, "kind": "oci", "host": "registry.example.com", **fields}
    )


UPSTREAMS = {
    each.id: each
    for each in (
        upstream("plain"),
        upstream("prefixed", repository_prefix="mirror"),
        upstream("off", enabled=False),
        upstream("strange", kind="from-the-future"),
        upstream("deep", repository_prefix="/".join(["a" * 60] * 4)),
    )
}


def found(repository: str, *memberships: MembershipRecord) -> tuple[Match, ...]:
    registry = RegistryRecord(id="r", slug="main", memberships=memberships)
    return matches(registry, UPSTREAMS, catalogue(), RepositoryName.parse(repository))


def test_every_membership_has_its_standing_in_their_order() -> None:
    names = ("prefixed", "off", "strange", "unheard", "deep", "plain")
    told = found("team/app-of-some-length", *(MembershipRecord(upstream_id=name) for name in names))
    assert [(match.membership.upstream_id, match.standing) for match in told] == [
        ("prefixed", Standing.ASKED),
        ("off", Standing.DISABLED),
        ("strange", Standing.KIND_NOT_KNOWN),
        ("unheard", Standing.UPSTREAM_NOT_KNOWN),
        ("deep", Standing.NAME_TOO_LONG),
        ("plain", Standing.ASKED),
    ]
    assert [str(match.repository) for match in told if match.repository is not None] == [
        "mirror/team/app-of-some-length",
        "team/app-of-some-length",
    ]


def test_the_pattern_that_decided_is_named() -> None:
    denied, not_allowed, allowed = found(
        "team/app",
        MembershipRecord(upstream_id="plain", allow=("team/*",), deny=("x", "*/app")),
        MembershipRecord(upstream_id="plain", allow=("public/*",)),
        MembershipRecord(upstream_id="plain", allow=("public/*", "team/*")),
    )
    assert (denied.standing, denied.pattern) == (Standing.DENIED, "*/app")
    assert (not_allowed.standing, not_allowed.pattern) == (Standing.NOT_ALLOWED, None)
    assert (allowed.standing, allowed.pattern) == (Standing.ASKED, "team/*")


def test_a_pattern_decides_before_anything_is_known_of_the_upstream() -> None:
    (match,) = found("team/app", MembershipRecord(upstream_id="unheard", deny=("team/*",)))
    assert match.standing is Standing.DENIED
