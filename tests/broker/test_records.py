import pytest

from tests.broker.world import PASSWORD, identity
from tests.support.clock import ManualClock
from vreg_shared.catalogue import catalogue
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.record import RecordRejectedError, SignedRecord
from vreg_shared.sealing import SealingKey
from vreg_token_broker.generations import Generations
from vreg_token_broker.lease_book import LeaseBook
from vreg_token_broker.records import BookKeeping, FoundLeases


class Nobody:
    """Hears and withdraws nothing."""

    def changed(self) -> None:
        return

    def found(self, *_: object) -> None:
        return

    def withdraw_key(self, key: str, instant_ms: int) -> None:
        raise AssertionError(key, instant_ms)


def keeping(book: LeaseBook, generations: Generations) -> BookKeeping:
    return BookKeeping(book, Nobody(), FoundLeases(generations, Nobody(), ""))


def signed(identity_record: IdentityRecord, version: int) -> SignedRecord:
    body = identity_record.model_dump_json()
    return SignedRecord(f"identity.{identity_record.id}", version, deleted=False, body=body)


async def test_an_older_secret_put_back_under_a_newer_version_is_refused() -> None:
    key, book = SealingKey.generate(), LeaseBook(catalogue())
    books = keeping(book, Generations("test", ManualClock()))
    older, newer = (identity(key, PASSWORD, version=version) for version in (1, 2))
    await books.identity(signed(older, 1), b"")
    await books.identity(signed(newer, 2), b"")
    with pytest.raises(RecordRejectedError, match="older secret"):
        await books.identity(signed(older, 3), b"")
    assert book.identity(newer.id) == newer
