"""The namespaces that virtual registries mirror."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "mirror_namespaces",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("registry_id", sa.String(26), nullable=False),
        sa.PrimaryKeyConstraint("namespace", name="pk_mirror_namespaces"),
        sa.ForeignKeyConstraint(
            ["registry_id"], ["virtual_registries.id"], name="fk_mirror_namespaces_registry_id"
        ),
    )
    op.create_index("ix_mirror_namespaces_registry_id", "mirror_namespaces", ["registry_id"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("mirror_namespaces")
