"""Seals, signatures, signed records, leases and tokens: what holds, and what every alteration does."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vreg_shared.key_files import KeyFolder, MissingKeyError, PublicKeyFolder, Service
from vreg_shared.lease import Generation, InvalidGenerationError, Lease, RegistryCredential
from vreg_shared.messages.access import AccessRecord, InvalidTokenError, access_id_of, hash_token, new_token
from vreg_shared.messages.audit import AuditEvent, AuditEventRejectedError, audit_event, verify
from vreg_shared.messages.identity import seal_context
from vreg_shared.messages.lease import LeaseRecord, key_of, open_lease, seal_lease
from vreg_shared.messages.record import RecordRejectedError, SignedRecord, decode, encode
from vreg_shared.pem import InvalidKeyError
from vreg_shared.provider import Presentation
from vreg_shared.sealing import (
    SealBrokenError,
    SealingKey,
    SealingPublicKey,
    open_sealed,
    seal,
)
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey, VerifyingKey

BROKER = SealingKey.generate()
WRITER = SigningKey.generate()
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONTEXT = seal_context("01J", "aws.access_key", {"partition": "aws", "accounts": ["123456789012"]}, 3)


class TestSeal:
    @given(st.text(max_size=200))
    @settings(max_examples=30)
    def test_its_reader_opens_it_in_its_own_place(self, text: str) -> None:
        assert open_sealed(seal(Secret(text), BROKER.public, CONTEXT), BROKER, CONTEXT).reveal() == text

    @pytest.mark.parametrize(
        "elsewhere",
        [
            seal_context("01K", "aws.access_key", {"partition": "aws", "accounts": ["123456789012"]}, 3),
            seal_context("01J", "aws.assume_role", {"partition": "aws", "accounts": ["123456789012"]}, 3),
            seal_context("01J", "aws.access_key", {"partition": "aws", "accounts": ["123456789013"]}, 3),
            seal_context("01J", "aws.access_key", {"partition": "aws", "accounts": ["123456789012"]}, 2),
            {},
        ],
    )
    def test_moved_elsewhere_it_is_broken(self, elsewhere: dict[str, object]) -> None:
        with pytest.raises(SealBrokenError):
            open_sealed(seal(Secret("s"), BROKER.public, CONTEXT), BROKER, elsewhere)

    def test_another_key_does_not_open_it(self) -> None:
        with pytest.raises(SealBrokenError, match="another key"):
            open_sealed(seal(Secret("s"), BROKER.public, CONTEXT), SealingKey.generate(), CONTEXT)

    @given(st.data())
    @settings(max_examples=200)
    def test_altered_in_any_bit_it_is_broken(self, data: st.DataObject) -> None:
        raw = bytearray(base64.urlsafe_b64decode(seal(Secret("secret"), BROKER.public, CONTEXT)))
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBrokenError):
            open_sealed(base64.urlsafe_b64encode(raw).decode(), BROKER, CONTEXT)

    @given(st.text(max_size=100))
    def test_text_that_is_no_seal_is_broken(self, text: str) -> None:
        with pytest.raises(SealBrokenError):
            open_sealed(text, BROKER, CONTEXT)

    def test_two_seals_of_one_secret_differ(self) -> None:
        assert seal(Secret("s"), BROKER.public, {}) != seal(Secret("s"), BROKER.public, {})


class TestRecord:
    RECORD = SignedRecord("upstream.01J", 7, deleted=False, body='{"a":1}')

    def test_its_reader_gets_what_its_writer_wrote(self) -> None:
        raw = encode(self.RECORD, WRITER, "vreg_config")
        assert decode(raw, WRITER.verifying, "vreg_config", "upstream.01J") == self.RECORD

    @pytest.mark.parametrize(
        ("bucket", "key"), [("vreg_leases", "upstream.01J"), ("vreg_config", "upstream.01K")]
    )
    def test_found_in_another_place_it_is_rejected(self, bucket: str, key: str) -> None:
        with pytest.raises(RecordRejectedError):
            decode(encode(self.RECORD, WRITER, "vreg_config"), WRITER.verifying, bucket, key)

    def test_signed_by_another_it_is_rejected(self) -> None:
        raw = encode(self.RECORD, SigningKey.generate(), "vreg_config")
        with pytest.raises(RecordRejectedError, match="not signed"):
            decode(raw, WRITER.verifying, "vreg_config", "upstream.01J")

    @pytest.mark.parametrize(
        "altered",
        [
            replace(RECORD, version=8),
            replace(RECORD, deleted=True),
            replace(RECORD, body='{"a":2}'),
        ],
    )
    def test_with_another_field_under_the_same_signature_it_is_rejected(self, altered: SignedRecord) -> None:
        honest = encode(self.RECORD, WRITER, "vreg_config")
        forged = encode(altered, SigningKey.generate(), "vreg_config")
        signature = honest.partition(b'"signature":')[2]
        spliced = forged.partition(b'"signature":')[0] + b'"signature":' + signature
        with pytest.raises(RecordRejectedError, match="not signed"):
            decode(spliced, WRITER.verifying, "vreg_config", "upstream.01J")

    @given(st.binary(max_size=300))
    def test_bytes_that_are_no_record_are_rejected(self, raw: bytes) -> None:
        with pytest.raises(RecordRejectedError):
            decode(raw, WRITER.verifying, "vreg_config", "upstream.01J")

    def test_an_endless_record_is_rejected(self) -> None:
        with pytest.raises(RecordRejectedError, match="larger"):
            decode(b" " * 600_000, WRITER.verifying, "vreg_config", "upstream.01J")


def a_lease() -> Lease:
    return Lease(
        scope="01J/aws/eu-west-1",
        identity_id="01J",
        hosts=("123456789012.dkr.ecr.eu-west-1.amazonaws.com",),
        generation=Generation(3, 1795459080123, "broker-1"),
        issued_at=NOON,
        refresh_at=NOON + timedelta(hours=6),
        not_after=NOON + timedelta(hours=12),
        credential=RegistryCredential("AWS", Secret("canary"), Presentation.BASIC),
    )


class TestLease:
    def test_the_proxies_open_what_the_broker_sealed(self) -> None:
        lease = a_lease()
        record = LeaseRecord.model_validate_json(seal_lease(lease, BROKER.public).model_dump_json())
        assert "canary" not in record.model_dump_json()
        assert open_lease(record, BROKER) == lease

    @pytest.mark.parametrize(
        "change",
        [
            {"hosts": ("evil.example",)},
            {"not_after": None},
            {"generation": "0000000009-0001795459080123-broker-1"},
            {"presentation": Presentation.BEARER},
            {"scope": "x"},
        ],
    )
    def test_a_changed_header_breaks_the_seal(self, change: dict[str, object]) -> None:
        record = seal_lease(a_lease(), BROKER.public).model_copy(update=change)
        with pytest.raises(SealBrokenError):
            open_lease(record, BROKER)

    def test_it_covers_its_hosts_and_ends_by_its_own_account(self) -> None:
        lease = a_lease()
        assert lease.covers("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
        assert not lease.covers("evil.example")
        assert lease.is_usable(NOON)
        assert not lease.is_usable(NOON + timedelta(hours=12))

    def test_its_key_is_safe_for_the_bus(self) -> None:
        assert key_of("a/b c*>").removeprefix("lease.").isalnum()

    @given(st.integers(0, 9_999_999_999), st.integers(0, 10**16 - 1))
    def test_a_generation_reads_back_and_its_text_sorts_as_it_does(self, version: int, instant: int) -> None:
        one, other = Generation(version, instant, "b"), Generation(5, 5, "b")
        assert Generation.parse(str(one)) == one
        assert (str(one) < str(other)) == (one < other)

    @pytest.mark.parametrize("text", ["", "1-2-b", "0000000001-0000000000000002-", "x" * 40])
    def test_other_texts_are_no_generation(self, text: str) -> None:
        with pytest.raises(InvalidGenerationError):
            Generation.parse(text)


class TestAccessToken:
    ID = "01J0000000000000000000000A"

    def record(self, token: Secret) -> AccessRecord:
        return AccessRecord(id=self.ID, name="ci", secret_sha256=hash_token(token), role="puller")

    def test_a_new_token_names_and_proves_its_record(self) -> None:
        token = new_token(self.ID)
        assert access_id_of(token) == self.ID
        assert self.record(token).proves(token, NOON)
        assert not self.record(token).proves(new_token(self.ID), NOON)

    @pytest.mark.parametrize("text", ["", "vreg_x_y", "vreg_" + "l" * 26 + "_" + "a" * 43, "a" * 5000])
    def test_other_texts_are_no_token(self, text: str) -> None:
        with pytest.raises(InvalidTokenError):
            access_id_of(Secret(text))


class TestAuditEvent:
    def event(self) -> AuditEvent:
        return audit_event(
            writer=Service.TOKEN_BROKER,
            instance="b1",
            kind="exchange.intent",
            subject="identity/01J",
            time=NOON,
            data={"method": "aws.access_key", "text": "a\r\nb"},
            signing_key=WRITER,
        )

    def test_its_writer_is_verified_after_a_journey(self) -> None:
        event = AuditEvent.model_validate_json(self.event().model_dump_json())
        verify(event, WRITER.verifying)
        assert event.bus_subject == "vreg.audit.token-broker.exchange.intent"
        assert "\n" not in event.model_dump_json()

    def test_altered_or_unsigned_it_is_rejected(self) -> None:
        event = self.event()
        for forged in (
            event.model_copy(update={"data": {"method": "none"}}),
            event.model_copy(update={"signature": ""}),
            event.model_copy(update={"signature": "no base64!"}),
        ):
            with pytest.raises(AuditEventRejectedError):
                verify(forged, WRITER.verifying)


class TestKeyFiles:
    def test_keys_read_back_from_pem(self) -> None:
        assert SealingKey.from_pem(BROKER.to_pem()).public == BROKER.public
        assert SealingPublicKey.from_pem(BROKER.public.to_pem()).key_id == BROKER.public.key_id
        signature = SigningKey.from_pem(WRITER.to_pem()).sign(b"x")
        VerifyingKey.from_pem(WRITER.verifying.to_pem()).verify(signature, b"x")

    def test_a_key_of_another_type_is_refused(self) -> None:
        with pytest.raises(InvalidKeyError):
            SealingKey.from_pem(WRITER.to_pem())
        with pytest.raises(InvalidKeyError):
            SigningKey.from_pem(BROKER.to_pem())
        with pytest.raises(InvalidKeyError):
            VerifyingKey.from_pem(b"nonsense")

    def test_a_missing_key_names_the_file_and_the_remedy(self, tmp_path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        with pytest.raises(MissingKeyError, match=r"signing\.key.*vreg up.*VREG_KEYS"):
            KeyFolder(tmp_path).signing_key()
        with pytest.raises(MissingKeyError, match=r"api\.signing\.pub.*VREG_PUBLIC_KEYS"):
            PublicKeyFolder(tmp_path).verifying_key(Service.API)
