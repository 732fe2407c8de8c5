"""Runs migrations in the transaction that `vreg_api.store.schema` opened."""

from alembic import context

from vreg_api.store.tables import METADATA

connection = context.config.attributes.get("connection")
if connection is None:
    message = "run `python -m vreg_api migrate`: it knows the database and takes the lock"
    raise SystemExit(message)

context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
