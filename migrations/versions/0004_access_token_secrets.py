"""Access tokens have a previous secret while they are rotated, and remember when they were last used."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("access_tokens") as table:
        table.add_column(sa.Column("previous_sha256", sa.String(64), nullable=True))
        table.add_column(sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take them away: previous secrets end."""
    with op.batch_alter_table("access_tokens") as table:
        table.drop_column("last_used_at")
        table.drop_column("previous_until")
        table.drop_column("previous_sha256")
