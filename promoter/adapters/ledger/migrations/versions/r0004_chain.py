"""One chain over all tables: every row becomes a line of canonical JSON with a number of its own and the hash before it.

What was there is numbered anew, table by table; the columns to search by are computed from each row by the database itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from promoter import __version__
from promoter.domain.ledger.chain import LedgerHead, advance_head, digest_bytes, seal_entry

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WORDS = {"from_version": "from", "to_version": "to"}
_COLUMNS = {
    "milestones": "at event",
    "decisions": "at model alias version:n digest gate:b evidence policy_digest approvers",
    "records": "at kind model alias from_version:n to_version:n actor verdict outcome intent:n decision:n",
    "settled": "at model alias version:n revision",
    "sightings": "at model version:n created_at tag value",
    "guard_checks": "at model alias version:n rule verdict",
    "revisions": "at revision state detail",
    "deliveries": "at source delivery",
}
_MOVED = "kind = 'observed' OR outcome = 'applied' OR outcome = 'recovered'"
_INDICES = (
    ("decisions_of", "decisions", "model, alias, version, id", None, False),
    ("records_of", "records", "model, alias, id", None, False),
    ("records_at", "records", "at, id", None, False),
    ("records_by", "records", "actor, id", None, False),
    ("records_judged", "records", "verdict, id", None, False),
    ("records_ended", "records", "outcome, id", None, False),
    ("records_moved", "records", "model, alias, to_version, id", _MOVED, False),
    ("records_stood", "records", "model, alias, at, id", _MOVED, False),
    ("records_intended", "records", "id", "outcome = 'intended'", False),
    ("records_intent", "records", "intent", "intent IS NOT NULL", True),
    ("records_overrides", "records", "model, alias, id", "kind = 'override'", False),
    ("deliveries_of", "deliveries", "source, delivery", None, True),
    ("settled_of", "settled", "model, alias, version, id", None, False),
    ("revisions_of", "revisions", "revision, id", None, False),
    ("revisions_in", "revisions", "state, id", None, False),
    ("sightings_of", "sightings", "model, version, created_at, tag, id", None, False),
    ("guard_checks_of", "guard_checks", "model, alias, id", None, False),
    ("milestones_at", "milestones", "at, id", None, False),
)
_OLD = {
    "decisions": "at:t model alias version policy digest revision tree:j evidence:j",
    "records": "at:t kind model alias from_version to_version revision actor trigger policy verdict outcome reason cause "
    "review:j until:t intent decision",
    "settled": "model alias version revision at:t",
    "sightings": "model version created_at:t tag value at:t",
    "guard_checks": "model alias version rule verdict at:t",
    "revisions": "revision state at:t detail",
    "deliveries": "source at:t event model",
}
_TYPES: dict[str, sa.types.TypeEngine[Any]] = {"t": sa.DateTime(timezone=True), "j": sa.JSON(), "": sa.Text()}
_PAGE = 500


def upgrade() -> None:
    """Make the tables anew beside the old ones, bring every row over, and put them in the old ones' place."""
    kind = op.get_bind().dialect.name
    for table in _COLUMNS:
        _create(table, kind)
    op.execute("CREATE TABLE contents (digest TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL)")
    _Move(op.get_bind())()
    for table in ("records", *(old for old in _OLD if old != "records")):
        op.execute(f"DROP TABLE {table}")
    for table in _COLUMNS:
        op.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
    for name, table, columns, where, unique in _INDICES:
        condition = f" WHERE {where}" if where else ""
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX {name} ON {table} ({columns}){condition}")
    {"sqlite": _append_only_sqlite, "postgresql": _append_only_postgresql}[kind]()


def _create(table: str, kind: str) -> None:
    id_type = {"sqlite": "INTEGER", "postgresql": "BIGINT"}[kind]
    computed = ", ".join(_computed(column, kind) for column in _COLUMNS[table].split())
    number = _json("id", "n", kind)
    op.execute(
        f"CREATE TABLE new_{table} (id {id_type} NOT NULL PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL, {computed}, "
        f"CONSTRAINT {table}_numbered CHECK (id = {number}))"
    )


def _computed(column: str, kind: str) -> str:
    name, _, sort = column.partition(":")
    types = {"sqlite": {"n": "INTEGER", "b": "BOOLEAN"}, "postgresql": {"n": "BIGINT", "b": "BOOLEAN"}}
    keeping = {"sqlite": "VIRTUAL", "postgresql": "STORED"}[kind]
    fact = _json(_WORDS.get(name, name), sort, kind)
    return f"{name} {types[kind].get(sort, 'TEXT')} GENERATED ALWAYS AS ({fact}) {keeping}"


def _json(name: str, sort: str, kind: str) -> str:
    if kind == "sqlite":
        return f"json_extract(body, '$.{name}')"
    cast = {"n": "::bigint", "b": "::boolean"}.get(sort, "")
    return f"(body::json ->> '{name}'){cast}"


class _Move:
    """Brings the old rows over, in one chain."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._head = LedgerHead()
        self._numbers: dict[tuple[str, int], int] = {}

    def __call__(self) -> None:
        now = datetime.now(UTC)
        self._append("milestones", {"at": now, "event": "opened", "ledger": str(uuid.uuid4()), "tool": __version__})
        for table in _OLD:
            for row in self._rows(table):
                number = self._append(table, getattr(self, f"_{table}", dict)(row))
                if "id" in row and table in ("decisions", "records"):
                    self._numbers[table, row["id"]] = number

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        columns = [column.partition(":") for column in _OLD[table].split()]
        old = sa.table(table, *(sa.column(name, _TYPES[sort]) for name, _, sort in columns), sa.column("id"))
        order = old.c.at if table == "deliveries" else old.c.id
        found = self._connection.execute(sa.select(old).order_by(order), execution_options={"yield_per": _PAGE})
        for row in found.mappings():
            yield {name: _aware(fact) for name, fact in row.items()}

    def _decisions(self, row: Mapping[str, Any]) -> dict[str, Any]:
        evidence = row["evidence"]
        digest = self._keep("evidence", json.dumps(evidence, sort_keys=True, separators=(",", ":"))) if evidence else None
        return {**row, "evidence": digest, "policy_digest": row["tree"].get("policy_digest"), "gate": False}

    def _records(self, row: Mapping[str, Any]) -> dict[str, Any]:
        told = {_WORDS.get(name, name): fact for name, fact in row.items()}
        intent, decision = self._numbers.get(("records", row["intent"])), self._numbers.get(("decisions", row["decision"]))
        return {**told, "intent": intent, "decision": decision}

    def _deliveries(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "delivery": row["id"]}

    def _keep(self, kind: str, body: str) -> str:
        digest = digest_bytes(body.encode())
        there = sa.text("SELECT 1 FROM contents WHERE digest = :digest")
        if self._connection.scalar(there, {"digest": digest}) is None:
            into = sa.text("INSERT INTO contents (digest, kind, body) VALUES (:digest, :kind, :body)")
            self._connection.execute(into, {"digest": digest, "kind": kind, "body": body})
        return digest

    def _append(self, table: str, facts: Mapping[str, Any]) -> int:
        entry = seal_entry(self._head, table, {name: fact for name, fact in facts.items() if fact is not None})
        self._head = advance_head(self._head, entry)
        into = sa.text(f"INSERT INTO new_{table} (id, body, hash) VALUES (:id, :body, :hash)")  # noqa: S608  # constants
        self._connection.execute(into, {"id": entry.id, "body": entry.body.decode(), "hash": entry.hash})
        return entry.id


def _aware(fact: Any) -> Any:
    return fact.replace(tzinfo=UTC) if isinstance(fact, datetime) and fact.tzinfo is None else fact


def _append_only_sqlite() -> None:
    for table in (*_COLUMNS, "contents"):
        for verb in ("UPDATE",) if table == "contents" else ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def _append_only_postgresql() -> None:
    for table in (*_COLUMNS, "contents"):
        verbs = "UPDATE" if table == "contents" else "UPDATE OR DELETE OR TRUNCATE"
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE {verbs} ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
        )
