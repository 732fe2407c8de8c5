"""How the health of upstreams was, and who has seen it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "health_changes",
        sa.Column("upstream_id", sa.String(26), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("remedy", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("upstream_id", "since", name="pk_health_changes"),
    )
    op.create_table(
        "health_acknowledgements",
        sa.Column("upstream_id", sa.String(26), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("upstream_id", name="pk_health_acknowledgements"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("health_acknowledgements")
    op.drop_table("health_changes")
