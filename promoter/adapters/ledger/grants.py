"""The rights that a user of PostgreSQL needs on a ledger that belongs to another one."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql

from promoter.adapters.ledger.schema import VERSION_TABLE, contents, metadata

_quote_identifier = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


def render_grants_sql(role: str, *, retention: bool = False) -> str:
    """SQL for the owner to run in the ledger's database, after each migration: `role` may read and append, and no more.

    `retention`: it may drop old evidence too, which no daemon does. Tables are named one by one, since the database may have
    others, MLflow's for one.
    """
    to = f"TO {_quote_identifier(role)};"
    statements = [
        f"GRANT SELECT, INSERT ON {', '.join(sorted(metadata.tables))} {to}",
        f"GRANT SELECT ON {VERSION_TABLE} {to}",
        *([f"GRANT DELETE ON {contents.name} {to}"] if retention else []),
    ]
    return "\n".join(statements)
