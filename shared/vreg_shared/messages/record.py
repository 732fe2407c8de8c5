"""Signed records: who wrote an entry, which version it is and whether it was deleted."""

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from vreg_shared.errors import VregError
from vreg_shared.signing import SignatureInvalidError, SigningKey, VerifyingKey

MAX_RECORD_BYTES: Final = 512 * 1024
_DOMAIN: Final = b"vreg/record/1"


class RecordRejectedError(VregError):
    """An entry on the bus is malformed, meant for another place, or not signed by its writer: ignore it."""


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A verified entry. A deleted one is a tombstone: its body is empty, and only it deletes."""

    key: str
    version: int
    deleted: bool
    body: str


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    key: str
    version: int
    deleted: bool
    body: str
    signature: str


def encode(record: SignedRecord, signing_key: SigningKey, bucket: str) -> bytes:
    """Return the bytes to store below `record.key` of `bucket`."""
    signature = base64.b64encode(signing_key.sign(_signed_bytes(record, bucket))).decode()
    wire = _Wire(
        key=record.key,
        version=record.version,
        deleted=record.deleted,
        body=record.body,
        signature=signature,
    )
    return wire.model_dump_json().encode()


def decode(raw: bytes, verifying_key: VerifyingKey, bucket: str, key: str) -> SignedRecord:
    """Read what lay below `key` of `bucket`; raise RecordRejectedError unless its writer put it there."""
    if len(raw) > MAX_RECORD_BYTES:
        raise RecordRejectedError(f"the record {bucket}/{key} is larger than {MAX_RECORD_BYTES} bytes")
    try:
        wire = _Wire.model_validate_json(raw)
        signature = base64.b64decode(wire.signature, validate=True)
    except (ValidationError, binascii.Error, ValueError) as error:
        raise RecordRejectedError(f"the record {bucket}/{key} is malformed") from error
    record = SignedRecord(wire.key, wire.version, wire.deleted, wire.body)
    if record.key != key or not 0 < record.version < 2**63:
        raise RecordRejectedError(f"the record {bucket}/{key} was written for another place")
    try:
        verifying_key.verify(signature, _signed_bytes(record, bucket))
    except (SignatureInvalidError, UnicodeEncodeError) as error:
        raise RecordRejectedError(f"the record {bucket}/{key} is not signed by its writer") from error
    return record


def _signed_bytes(record: SignedRecord, bucket: str) -> bytes:
    """Every field with its length, so that no two records spell the same bytes."""
    parts = (_DOMAIN, bucket.encode(), record.key.encode(), record.body.encode())
    lengths = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return lengths + struct.pack(">Q?", record.version, record.deleted)
