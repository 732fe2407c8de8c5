"""The topology as data: what is declared, and what the server is told."""

from pathlib import Path
from types import ModuleType

import pytest

from vreg_shared.key_files import Service
from vreg_shared.messages import access, audit, identity, lease, rate_limit, refresh, registry, upstream
from vreg_shared.topology import (
    BUCKETS,
    CREATOR,
    INBOX_ROOT,
    REQUESTS,
    UnknownStreamError,
    grants,
    inbox_prefix,
    nats_configuration,
    stored,
)

NKEYS = {
    Service.API: ["UAPI"],
    Service.TOKEN_BROKER: ["UBROKER"],
    Service.PROXY: ["UPROXY", "UPROXYNEW"],
}


def configuration() -> str:
    return nats_configuration(port=4222, store=Path("/x/store"), nkeys=NKEYS)


@pytest.mark.parametrize("message", [registry, upstream, access, identity, lease], ids=lambda m: m.__name__)
def test_every_record_has_a_bucket_whose_writer_may_write_its_keys(message: ModuleType) -> None:
    bucket = stored(message.BUCKET)
    assert message.KEY_FILTER in bucket.keys
    assert f"$KV.{bucket.name}.{message.KEY_FILTER}" in grants(bucket.writer).publish


def test_the_audit_stream_and_the_refresh_request_are_the_ones_the_messages_name() -> None:
    assert stored(audit.STREAM).subjects == audit.SUBJECTS
    assert refresh.SUBJECT in {request.subject for request in REQUESTS}


def test_the_api_may_ask_and_proxies_may_answer_for_rate_limits() -> None:
    assert "vreg.proxy.>" in grants(Service.API).publish
    assert "vreg.proxy.>" in grants(Service.PROXY).subscribe
    assert rate_limit.SUBJECT.startswith("vreg.proxy.")


def test_an_undeclared_stream_is_an_error_and_not_made_up() -> None:
    with pytest.raises(UnknownStreamError, match="vreg_other"):
        stored("vreg_other")


@pytest.mark.parametrize("service", Service)
def test_no_grant_deletes_purges_lists_or_reads_by_sequence(service: Service) -> None:
    for subject in grants(service).publish:
        for word in ("DELETE", "PURGE", "MSG.GET", "NAMES", "LIST", "SNAPSHOT", "RESTORE", "$SYS"):
            assert word not in subject


@pytest.mark.parametrize("service", Service)
def test_no_grant_begins_with_a_wildcard(service: Service) -> None:
    for subject in (*grants(service).publish, *grants(service).subscribe):
        assert subject.split(".")[0] not in {"*", ">"}


@pytest.mark.parametrize("service", Service)
def test_a_service_listens_on_its_own_inbox_and_no_other(service: Service) -> None:
    inboxes = [subject for subject in grants(service).subscribe if subject.startswith(INBOX_ROOT)]
    assert inboxes == [f"{inbox_prefix(service)}.>"]


def test_only_the_broker_reads_identities_and_only_it_makes_streams() -> None:
    for service in (Service.API, Service.PROXY):
        publish = grants(service).publish
        assert not [s for s in publish if "KV_vreg_identities" in s]
        assert not [s for s in publish if s.startswith("$JS.API.STREAM")]
    assert CREATOR is Service.TOKEN_BROKER


def test_only_the_broker_and_the_proxies_read_leases_and_only_the_broker_writes_them() -> None:
    bucket = stored("vreg_leases")
    assert [s for s in Service if f"$KV.vreg_leases.{bucket.keys[0]}" in grants(s).publish] == [CREATOR]
    assert not [s for s in grants(Service.API).publish if "vreg_leases" in s]


def test_every_bucket_is_on_disk_bounded_and_cannot_be_emptied() -> None:
    for bucket in BUCKETS:
        made = bucket.configuration()
        assert made["storage"] == "file"
        assert made["max_msgs_per_subject"] == 1
        assert made["max_bytes"] > 0
        assert made["deny_delete"]
        assert made["deny_purge"]
        assert not made["allow_rollup_hdrs"]


def test_the_server_syncs_always_and_opens_no_other_door() -> None:
    text = configuration()
    assert "sync_interval: always" in text
    for door in (
        "no_auth_user",
        "http",
        "monitor",
        "websocket",
        "leafnodes",
        "cluster",
        "gateway",
        "mqtt",
        "deny",
    ):
        assert door not in text


def test_a_service_may_have_two_nkeys_while_one_is_replaced() -> None:
    text = configuration()
    assert text.count('nkey: "UPROXY') == 2
    assert text.count("nkey:") == 4


def test_a_path_with_quotes_and_spaces_stays_one_string() -> None:
    text = nats_configuration(port=-1, store=Path('/a "b" \\c'), nkeys={}, ports_file_dir=Path("/p"))
    assert 'store_dir: "/a \\"b\\" \\\\c"' in text
    assert 'ports_file_dir: "/p"' in text
