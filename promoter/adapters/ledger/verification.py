"""The part of the port that is about verification: everything as one moment sees it, and nothing taken for granted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text

from promoter.adapters.ledger import chain
from promoter.adapters.ledger.chain import BODY_AS_BYTES_SQL
from promoter.adapters.ledger.database import OpenLedger
from promoter.domain.errors import TransientError
from promoter.domain.ledger.problems import EntryRow, describe_entry
from promoter.domain.ledger.witnesses import APPROVERS_KIND, EVIDENCE_KIND, POLICY_KIND, TextReference

_PAGE_SIZE = 200
_REFERENCE_KINDS = {"evidence": EVIDENCE_KIND, "policy_digest": POLICY_KIND, "approvers": APPROVERS_KIND}
_IS_READABLE_SQL = {"sqlite": "json_valid(body)", "postgresql": "true"}
"""Whether there are columns at all: SQLite computes them when they are asked for."""
_HAS_TOOL_SQL = """body LIKE '%"tool":"%'"""
"""Whether it was written by a Promoter that says which one it is."""


class SqlVerification(OpenLedger):
    """What can be verified."""

    def iterate_verifiable_parts(self) -> Iterator[Sequence[EntryRow] | TextReference]:
        """The chain, many entries at a time; then each text that a decision names and that is altered, or is not there."""
        with self._database.read_transaction() as connection:
            yield from chain.stream_entry_rows(connection)
            yield from _find_altered_blobs(connection)
            yield from _find_missing_blobs(connection)


def _find_altered_blobs(connection: Connection) -> Iterator[TextReference]:
    """Those that no decision names prove nothing, and are left out."""
    query = text(f"SELECT digest, {BODY_AS_BYTES_SQL[connection.dialect.name]} FROM contents")  # noqa: S608  # constants
    wrong: list[str] = []
    for part in connection.execute(query, execution_options={"yield_per": _PAGE_SIZE, "stream_results": True}).partitions(
        _PAGE_SIZE
    ):
        wrong += [digest for digest, raw in part if sha256(raw).hexdigest() != digest]
    for digest in wrong:
        yield from _find_first_reference(connection, digest)


def _find_first_reference(connection: Connection, digest: str) -> Iterator[TextReference]:
    """The first decision that names it."""
    readable = _IS_READABLE_SQL[connection.dialect.name]
    names = f"CASE WHEN {readable} THEN evidence = :digest OR policy_digest = :digest OR approvers = :digest END"
    columns = ", ".join(_REFERENCE_KINDS)
    query = text(
        f"SELECT id, at, model, alias, version, {columns} FROM decisions WHERE {names} ORDER BY id LIMIT 1"  # noqa: S608  # constants
    )
    for row in connection.execute(query, {"digest": digest}):
        kind = next(kind for name, kind in _REFERENCE_KINDS.items() if getattr(row, name) == digest)
        yield TextReference(row.id, row.at or "", kind, digest, altered=True, about=_describe_decision_row(row))


def _find_missing_blobs(connection: Connection) -> Iterator[TextReference]:
    readable = _IS_READABLE_SQL[connection.dialect.name]
    lacking = (
        f"CASE WHEN NOT EXISTS (SELECT 1 FROM contents WHERE digest = {name} AND kind = '{kind}') THEN {name} END AS {name}"  # noqa: S608  # constants
        for name, kind in _REFERENCE_KINDS.items()
    )
    columns = f"id, at, model, alias, version, {', '.join(lacking)}, {_HAS_TOOL_SQL} AS kept"
    query = text(f"SELECT {columns} FROM decisions WHERE {readable} ORDER BY id")  # noqa: S608  # constants
    for part in connection.execute(query, execution_options={"yield_per": _PAGE_SIZE, "stream_results": True}).partitions(
        _PAGE_SIZE
    ):
        for row in part:
            for name, kind in _REFERENCE_KINDS.items():
                digest = getattr(row, name)
                if digest is not None and (row.kept or kind != POLICY_KIND):
                    yield TextReference(row.id, row.at or "", kind, digest, about=_describe_decision_row(row))


def _describe_decision_row(row: Any) -> str:
    return describe_entry({"table": "decisions", "model": row.model, "alias": row.alias, "version": row.version})


_CREATE_TABLE_SQL = """CREATE TABLE named (digest BLOB, decision INTEGER, at TEXT, kind TEXT, about TEXT, met INTEGER DEFAULT 0,
PRIMARY KEY (digest, decision, kind)) WITHOUT ROWID"""
_INSERT_SQL = "INSERT OR IGNORE INTO named (digest, decision, at, kind, about) VALUES (?, ?, ?, ?, ?)"
_FIRST_REFERENCE_SQL = "SELECT decision, at, about FROM named WHERE digest = ? AND kind = ? ORDER BY decision LIMIT 1"
_UNMET_REFERENCES_SQL = "SELECT decision, at, kind, digest, about FROM named WHERE NOT met ORDER BY decision, kind"


class TemporaryReferenceIndex:
    """Implements `ReferenceIndex`: a temporary file of SQLite, which is only written once it is more than fits a cache."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Nothing is named yet."""
        self._connection = connection
        connection.execute(_CREATE_TABLE_SQL)

    def add_references(self, found: Iterable[TextReference]) -> None:
        """Decisions name these."""
        rows = ((each.digest, each.decision, each.at, each.kind, each.about) for each in found)
        self._connection.executemany(_INSERT_SQL, rows)

    def match_text(self, digest: str, kind: str) -> TextReference | None:
        """The text is there: the first decision that names it, if any."""
        row = self._connection.execute(_FIRST_REFERENCE_SQL, (digest, kind)).fetchone()
        if row is None:
            return None
        self._connection.execute("UPDATE named SET met = 1 WHERE digest = ? AND kind = ?", (digest, kind))
        decision, at, about = row
        return TextReference(decision, at, kind, digest, about=about)

    def unmatched_references(self) -> Iterator[TextReference]:
        """What is named and was not met, by decision."""
        for decision, at, kind, digest, about in self._connection.execute(_UNMET_REFERENCES_SQL):
            yield TextReference(decision, at, kind, digest, about=about)


@contextmanager
def temporary_reference_index() -> Iterator[TemporaryReferenceIndex]:
    """An empty one."""
    connection = sqlite3.connect("", isolation_level=None)  # no name: SQLite deletes it by itself
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield TemporaryReferenceIndex(connection)
    except sqlite3.Error as error:
        fix = "make room where temporary files are kept, or name another place with TMPDIR"
        raise TransientError("export", f"what its decisions name could not be set aside: {error}", fix) from error
    finally:
        connection.close()
