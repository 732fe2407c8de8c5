"""Connection tests, and the image that an upstream is tried with."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column."""
    op.add_column("upstreams", sa.Column("probe", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "connection_tests",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("upstream_id", sa.String(26), nullable=True),
        sa.Column("upstream_name", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("probe", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("stages", sa.JSON, nullable=False),
        sa.Column("remedy_steps", sa.JSON, nullable=False),
        sa.Column("started_by", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_connection_tests"),
    )
    op.create_index("ix_connection_tests_upstream_id", "connection_tests", ["upstream_id"])
    op.create_index("ix_connection_tests_started_at", "connection_tests", ["started_at"])


def downgrade() -> None:
    """Remove both."""
    op.drop_table("connection_tests")
    op.drop_column("upstreams", "probe")
