"""A stale policy by case, and what follows when a repository's source changes.

Columns are added with a default and dropped one by one: SQLite would otherwise copy the table, and lose the
rows that refer to it.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_UNANSWERED = ["network", "server_error", "throttled"]
_CASES = {"never": [], "on_unavailable": _UNANSWERED, "always": [*_UNANSWERED, "auth"]}
_UPSTREAMS = sa.table(
    "upstreams", sa.column("id"), sa.column("stale_policy"), sa.column("stale_for", sa.JSON)
)


def upgrade() -> None:
    """Spell out what each policy meant, as readers of old records do."""
    default = sa.text(f"'{json.dumps(_UNANSWERED)}'")
    op.add_column("upstreams", sa.Column("stale_for", sa.JSON, nullable=False, server_default=default))
    op.add_column("upstreams", sa.Column("max_stale_seconds", sa.Integer, nullable=True))
    for policy, cases in _CASES.items():
        op.execute(_UPSTREAMS.update().where(_UPSTREAMS.c.stale_policy == policy).values(stale_for=cases))
    op.drop_column("upstreams", "stale_policy")
    op.add_column(
        "virtual_registries",
        sa.Column("on_source_change", sa.Text, nullable=False, server_default="allow"),
    )


def downgrade() -> None:
    """Choose the widest word that serves no more than is allowed now; the longest staleness is lost."""
    op.drop_column("virtual_registries", "on_source_change")
    op.add_column("upstreams", sa.Column("stale_policy", sa.Text, nullable=False, server_default="never"))
    for identifier, cases in op.get_bind().execute(sa.select(_UPSTREAMS.c.id, _UPSTREAMS.c.stale_for)).all():
        op.execute(
            _UPSTREAMS.update().where(_UPSTREAMS.c.id == identifier).values(stale_policy=_policy(set(cases)))
        )
    op.drop_column("upstreams", "stale_for")
    op.drop_column("upstreams", "max_stale_seconds")


def _policy(cases: set[str]) -> str:
    return next(
        policy for policy in ("always", "on_unavailable", "never") if cases.issuperset(_CASES[policy])
    )
