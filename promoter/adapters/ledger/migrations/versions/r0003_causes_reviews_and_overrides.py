"""Why an alias moved, whose review brought it, and overrides, which are records too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """New columns, which rows from before have nothing in."""
    op.add_column("records", sa.Column("cause", sa.Text))
    op.add_column("records", sa.Column("review", sa.JSON))
    op.add_column("records", sa.Column("until", sa.DateTime(timezone=True)))
    where = sa.text("kind = 'override'")
    op.create_index("records_overrides", "records", ["model", "alias", "id"], sqlite_where=where, postgresql_where=where)
