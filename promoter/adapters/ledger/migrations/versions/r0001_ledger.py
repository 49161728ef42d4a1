"""The first schema of the ledger, and the triggers that keep it append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("records", "decisions", "deliveries", "settled", "revisions")

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_MOVED = "kind = 'observed' OR outcome = 'applied' OR outcome = 'recovered'"


def upgrade() -> None:
    """Create everything."""
    _decisions()
    _records()
    _settled()
    _deliveries()
    _revisions()
    {"sqlite": _guard_sqlite, "postgresql": _guard_postgresql}[op.get_bind().dialect.name]()


def _decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("alias", sa.Text),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("policy", sa.Text),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("revision", sa.Text),
        sa.Column("tree", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON),
    )
    op.create_index("decisions_of", "decisions", ["model", "alias", "version", "id"])


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("from_version", sa.Integer),
        sa.Column("to_version", sa.Integer),
        *(sa.Column(name, sa.Text) for name in ("revision", "actor", "trigger", "policy", "verdict", "outcome", "reason")),
        sa.Column("intent", _ID, sa.ForeignKey("records.id")),
        sa.Column("decision", _ID, sa.ForeignKey("decisions.id")),
        sa.Column("hash", sa.Text),
    )
    op.create_index("records_of", "records", ["model", "alias", "id"])
    _partial("records_moved", ["model", "alias", "to_version", "id"], _MOVED)
    _partial("records_intended", ["id"], "outcome = 'intended'")
    _partial("records_intent", ["intent"], "intent IS NOT NULL", unique=True)


def _settled() -> None:
    op.create_table(
        "settled",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("revision", sa.Text),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("settled_of", "settled", ["model", "alias", "version", "id"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
    )


def _revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("detail", sa.Text),
    )
    op.create_index("revisions_of", "revisions", ["revision", "id"])
    op.create_index("revisions_in", "revisions", ["state", "id"])


def _partial(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, "records", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _guard_sqlite() -> None:
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
        )
