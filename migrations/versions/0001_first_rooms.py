"""Identities, upstreams, virtual registries, access tokens, tombstones and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _kept() -> tuple[sa.Column, ...]:
    return (
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "identities",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("usable_for", sa.JSON, nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("secret_fields", sa.JSON, nullable=False),
        sa.Column("sealed_secrets", sa.Text, nullable=True),
        sa.Column("credential_version", sa.BigInteger, nullable=False),
        *_kept(),
        sa.PrimaryKeyConstraint("id", name="pk_identities"),
        sa.UniqueConstraint("name_key", name="uq_identities_name_key"),
        sa.UniqueConstraint("external_id", name="uq_identities_external_id"),
    )
    op.create_table(
        "upstreams",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("identity_id", sa.String(26), nullable=True),
        sa.Column("repository_prefix", sa.Text, nullable=False),
        sa.Column("tag_validity_seconds", sa.Integer, nullable=False),
        sa.Column("stale_policy", sa.Text, nullable=False),
        sa.Column("token_realm", sa.Text, nullable=True),
        sa.Column("private_ca", sa.Text, nullable=True),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("cache_epoch", sa.BigInteger, nullable=False),
        *_kept(),
        sa.PrimaryKeyConstraint("id", name="pk_upstreams"),
        sa.UniqueConstraint("name_key", name="uq_upstreams_name_key"),
        sa.ForeignKeyConstraint(["identity_id"], ["identities.id"], name="fk_upstreams_identity_id"),
    )
    op.create_index("ix_upstreams_identity_id", "upstreams", ["identity_id"])
    op.create_table(
        "virtual_registries",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("anonymous_pull", sa.Boolean, nullable=False),
        *_kept(),
        sa.PrimaryKeyConstraint("id", name="pk_virtual_registries"),
        sa.UniqueConstraint("slug", name="uq_virtual_registries_slug"),
    )
    op.create_table(
        "memberships",
        sa.Column("registry_id", sa.String(26), nullable=False),
        sa.Column("upstream_id", sa.String(26), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("allow", sa.JSON, nullable=False),
        sa.Column("deny", sa.JSON, nullable=False),
        sa.Column("on_hidden", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("registry_id", "upstream_id", name="pk_memberships"),
        sa.UniqueConstraint("registry_id", "position", name="uq_memberships_registry_id"),
        sa.ForeignKeyConstraint(
            ["registry_id"], ["virtual_registries.id"], name="fk_memberships_registry_id"
        ),
        sa.ForeignKeyConstraint(["upstream_id"], ["upstreams.id"], name="fk_memberships_upstream_id"),
    )
    op.create_index("ix_memberships_upstream_id", "memberships", ["upstream_id"])
    op.create_table(
        "access_tokens",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("is_limited", sa.Boolean, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        *_kept(),
        sa.PrimaryKeyConstraint("id", name="pk_access_tokens"),
    )
    op.create_table(
        "access_registries",
        sa.Column("access_id", sa.String(26), nullable=False),
        sa.Column("registry_id", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("access_id", "registry_id", name="pk_access_registries"),
        sa.ForeignKeyConstraint(["access_id"], ["access_tokens.id"], name="fk_access_registries_access_id"),
        sa.ForeignKeyConstraint(
            ["registry_id"], ["virtual_registries.id"], name="fk_access_registries_registry_id"
        ),
    )
    op.create_index("ix_access_registries_registry_id", "access_registries", ["registry_id"])
    op.create_table(
        "tombstones",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_tombstones"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )


def downgrade() -> None:
    """Remove the tables."""
    for table in (
        "outbox",
        "tombstones",
        "access_registries",
        "access_tokens",
        "memberships",
        "virtual_registries",
        "upstreams",
        "identities",
    ):
        op.drop_table(table)
