"""Every table of the api's database, as the newest migration leaves it."""

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware time; SQLite keeps no zone, so it is UTC there by our own rule."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give the driver what it takes."""
        if value is None:
            return None
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.String(26), primary_key=True)


def _kept() -> tuple[sa.Column[Any], ...]:
    """Return what every row of a noun has."""
    return (
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )


IDENTITIES: Final = sa.Table(
    "identities",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False, unique=True),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("usable_for", sa.JSON, nullable=False),
    sa.Column("external_id", sa.Text, nullable=False, unique=True),
    sa.Column("secret_fields", sa.JSON, nullable=False),
    sa.Column("sealed_secrets", sa.Text, nullable=True),
    sa.Column("credential_version", sa.BigInteger, nullable=False),
    *_kept(),
)

UPSTREAMS: Final = sa.Table(
    "upstreams",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("identity_id", sa.String(26), sa.ForeignKey(IDENTITIES.c.id), nullable=True, index=True),
    sa.Column("repository_prefix", sa.Text, nullable=False),
    sa.Column("tag_validity_seconds", sa.Integer, nullable=False),
    sa.Column("stale_for", sa.JSON, nullable=False),
    sa.Column("max_stale_seconds", sa.Integer, nullable=True),
    sa.Column("token_realm", sa.Text, nullable=True),
    sa.Column("private_ca", sa.Text, nullable=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("probe", sa.Text, nullable=False, server_default=""),
    sa.Column("cache_epoch", sa.BigInteger, nullable=False),
    *_kept(),
)

CONNECTION_TESTS: Final = sa.Table(
    "connection_tests",
    METADATA,
    _id(),
    sa.Column("upstream_id", sa.String(26), nullable=True, index=True),
    sa.Column("upstream_name", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("probe", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("stages", sa.JSON, nullable=False),
    sa.Column("remedy_steps", sa.JSON, nullable=False),
    sa.Column("started_by", sa.Text, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False, index=True),
    sa.Column("ended_at", UtcDateTime, nullable=True),
)
"""Results outlive their upstream, so nothing refers to it."""

HEALTH_CHANGES: Final = sa.Table(
    "health_changes",
    METADATA,
    sa.Column("upstream_id", sa.String(26), primary_key=True),
    sa.Column("since", UtcDateTime, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("remedy", sa.Text, nullable=False),
)
HEALTH_ACKNOWLEDGEMENTS: Final = sa.Table(
    "health_acknowledgements",
    METADATA,
    sa.Column("upstream_id", sa.String(26), primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)

VIRTUAL_REGISTRIES: Final = sa.Table(
    "virtual_registries",
    METADATA,
    _id(),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("anonymous_pull", sa.Boolean, nullable=False),
    sa.Column("on_source_change", sa.Text, nullable=False),
    *_kept(),
)

MEMBERSHIPS: Final = sa.Table(
    "memberships",
    METADATA,
    sa.Column("registry_id", sa.String(26), sa.ForeignKey(VIRTUAL_REGISTRIES.c.id), primary_key=True),
    sa.Column("upstream_id", sa.String(26), sa.ForeignKey(UPSTREAMS.c.id), primary_key=True, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("allow", sa.JSON, nullable=False),
    sa.Column("deny", sa.JSON, nullable=False),
    sa.Column("on_hidden", sa.Text, nullable=False),
    sa.UniqueConstraint("registry_id", "position"),
)

MIRROR_NAMESPACES: Final = sa.Table(
    "mirror_namespaces",
    METADATA,
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column(
        "registry_id", sa.String(26), sa.ForeignKey(VIRTUAL_REGISTRIES.c.id), nullable=False, index=True
    ),
)
"""A namespace is mirrored by one registry: its name alone is the key."""

ACCESS_TOKENS: Final = sa.Table(
    "access_tokens",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("is_limited", sa.Boolean, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=True),
    sa.Column("previous_sha256", sa.String(64), nullable=True),
    sa.Column("previous_until", UtcDateTime, nullable=True),
    sa.Column("last_used_at", UtcDateTime, nullable=True),
    *_kept(),
)
"""`is_limited` says that the token is good only for the registries in `access_registries`.

`last_used_at` is no part of a version: it is written without anybody's having changed the token.
"""

ACCESS_REGISTRIES: Final = sa.Table(
    "access_registries",
    METADATA,
    sa.Column("access_id", sa.String(26), sa.ForeignKey(ACCESS_TOKENS.c.id), primary_key=True),
    sa.Column(
        "registry_id", sa.String(26), sa.ForeignKey(VIRTUAL_REGISTRIES.c.id), primary_key=True, index=True
    ),
)

TOMBSTONES: Final = sa.Table(
    "tombstones",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("deleted_at", UtcDateTime, nullable=False),
)
"""What was deleted, and a version above its last, so that the deletion can be told again for ever."""

OUTBOX: Final = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
)
"""Changes the bus has not heard of: the key of the record, and the signed audit event."""


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


AUDIT_EVENTS: Final = sa.Table(
    "audit_events",
    METADATA,
    sa.Column("sequence", _number(), primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.String(26), nullable=False, unique=True),
    sa.Column("time", UtcDateTime, nullable=False, index=True),
    sa.Column("archived_at", UtcDateTime, nullable=False),
    sa.Column("type", sa.Text, nullable=False, index=True),
    sa.Column("writer", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("source_sequence", sa.BigInteger, nullable=True),
    sa.Column("actor", sa.Text, nullable=True),
    sa.Column("outcome", sa.Text, nullable=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ix_audit_events_source", "source", "source_sequence"),
)
"""The archive: every event as its writer published it, chained. Columns beside it are for finding alone."""

AUDIT_CONCERNED: Final = sa.Table(
    "audit_concerned",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("sequence", _number(), sa.ForeignKey(AUDIT_EVENTS.c.sequence), primary_key=True, index=True),
)
"""Which things an event is about, by their keys (`upstream.<id>`); who did it is `actor.<id>`."""

AUDIT_CHAIN: Final = sa.Table(
    "audit_chain",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
    sa.Column("anchor", sa.Text, nullable=True),
)
"""One row: the last link, signed by the api, and the signed event that tells what was pruned."""

AUDIT_REJECTED: Final = sa.Table(
    "audit_rejected",
    METADATA,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)
"""What came as an event and is none, or not its writer's: kept for whoever looks into it, never chained."""

STREAM_BOOKMARKS: Final = sa.Table(
    "stream_bookmarks",
    METADATA,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
"""How far a stream was read, changed with what was read of it."""

PULLS: Final = sa.Table(
    "pulls",
    METADATA,
    sa.Column("id", _number(), sa.Identity(), primary_key=True),
    sa.Column("time", UtcDateTime, nullable=False, index=True),
    sa.Column("batch", sa.Text, nullable=False, index=True),
    sa.Column("proxy", sa.Text, nullable=False),
    sa.Column("access_id", sa.Text, nullable=True, index=True),
    sa.Column("registry_id", sa.Text, nullable=False, index=True),
    sa.Column("upstream_id", sa.Text, nullable=True, index=True),
    sa.Column("repository", sa.Text, nullable=False, index=True),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=True),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("hit", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
)
"""The access log: what was pulled, by whom, from where. Short-lived, and no part of the audit."""
