"""The audit archive with its chain, what was rejected, how far streams were read, and the log of pulls."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables, and the chain's one row."""
    op.create_table(
        "audit_events",
        sa.Column("sequence", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.String(26), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("archived_at", _TIME, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_sequence", sa.BigInteger, nullable=True),
        sa.Column("actor", sa.Text, nullable=True),
        sa.Column("outcome", sa.Text, nullable=True),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_events"),
        sa.UniqueConstraint("event_id", name="uq_audit_events_event_id"),
    )
    for name, columns in (("time", ["time"]), ("type", ["type"]), ("source", ["source", "source_sequence"])):
        op.create_index(f"ix_audit_events_{name}", "audit_events", columns)
    op.create_table(
        "audit_concerned",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sequence", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("key", "sequence", name="pk_audit_concerned"),
        sa.ForeignKeyConstraint(["sequence"], ["audit_events.sequence"], name="fk_audit_concerned_sequence"),
    )
    op.create_index("ix_audit_concerned_sequence", "audit_concerned", ["sequence"])
    chain = op.create_table(
        "audit_chain",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("anchor", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_chain"),
    )
    op.bulk_insert(chain, [{"id": 1, "sequence": 0, "hash": "0" * 64, "signature": "", "anchor": None}])
    op.create_table(
        "audit_rejected",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_audit_rejected"),
    )
    op.create_table(
        "stream_bookmarks",
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("stream", name="pk_stream_bookmarks"),
    )
    op.create_table(
        "pulls",
        sa.Column("id", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("proxy", sa.Text, nullable=False),
        sa.Column("access_id", sa.Text, nullable=True),
        sa.Column("registry_id", sa.Text, nullable=False),
        sa.Column("upstream_id", sa.Text, nullable=True),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=True),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("hit", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pulls"),
    )
    for name in ("time", "batch", "access_id", "registry_id", "upstream_id", "repository"):
        op.create_index(f"ix_pulls_{name}", "pulls", [name])


def downgrade() -> None:
    """Take all of it away."""
    for table in (
        "pulls",
        "stream_bookmarks",
        "audit_rejected",
        "audit_chain",
        "audit_concerned",
        "audit_events",
    ):
        op.drop_table(table)
