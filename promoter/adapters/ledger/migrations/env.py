"""Runs the migrations on the connection that `promoter.adapters.ledger.upgrade` holds, inside its transaction."""

from __future__ import annotations

from alembic import context

from promoter.adapters.ledger.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
