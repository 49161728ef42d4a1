"""The chain in SQL as it is stored, for export and verification: all of one moment, and nothing taken for granted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Executable, literal_column, select, text, union

from promoter.adapters.ledger.chain import read_head, read_ledger_name
from promoter.adapters.ledger.database import SqlRepository, reading, streaming
from promoter.adapters.ledger.schema import CHAINED, contents, decisions
from promoter.domain.errors import TransientError
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead
from promoter.domain.ledger.export import ExportedText
from promoter.domain.ledger.problems import EntryRow, describe_entry
from promoter.domain.ledger.witnesses import APPROVERS_KIND, EVIDENCE_KIND, POLICY_KIND, TextReference

_ENTRY_PAGE_SIZE = 512
_TEXT_PAGE_SIZE = 200
_REFERENCE_KINDS = {"evidence": EVIDENCE_KIND, "policy_digest": POLICY_KIND, "approvers": APPROVERS_KIND}
_BODY_AS_BYTES_SQL = {"sqlite": "CAST(body AS BLOB)", "postgresql": "convert_to(body, 'UTF8')"}
"""The bytes of a body: one that is no text must not stop who reads it."""
_IS_READABLE_SQL = {"sqlite": "json_valid(body)", "postgresql": "true"}
"""Whether there are columns at all: SQLite computes them when they are read."""
_HAS_TOOL_SQL = """body LIKE '%"tool":"%'"""
"""Whether the decision names the version of Promoter that wrote it."""


class SqlChainReader(SqlRepository):
    """The port `ChainReader` on a SQL database."""

    @reading
    def read_chain_head(self, connection: Connection) -> LedgerHead:
        """Read the last entry of all tables, and the ledger's name."""
        return replace(read_head(connection), ledger=read_ledger_name(connection))

    @streaming
    def iterate_entries(self, connection: Connection, after: int = 0) -> Iterator[LedgerEntry]:
        """Stream the entries of all tables in order, few of them in memory at a time."""
        return _stream_entries(connection, after)

    @streaming
    def iterate_entries_and_texts(self, connection: Connection, after: int = 0) -> Iterator[LedgerEntry | ExportedText]:
        """Stream the entries, and then the texts that decisions among them refer to."""
        yield from _stream_entries(connection, after)
        yield from _stream_referenced_texts(connection, after)

    @streaming
    def iterate_verifiable_parts(self, connection: Connection) -> Iterator[Sequence[EntryRow] | TextReference]:
        """Stream the entries as plain tuples, many at a time, and then the texts of decisions that are altered or missing."""
        yield from _stream_entry_rows(connection, 0)
        yield from _find_altered_texts(connection)
        yield from _find_missing_texts(connection)


def _stream_pages(
    connection: Connection, query: Executable, size: int, parameters: dict[str, Any] | None = None
) -> Iterator[Sequence[Any]]:
    options = {"yield_per": size, "stream_results": True}
    yield from connection.execute(query, parameters, execution_options=options).partitions(size)


def _stream_entry_rows(connection: Connection, after: int) -> Iterator[Sequence[EntryRow]]:
    body = _BODY_AS_BYTES_SQL[connection.dialect.name]
    each_table = (
        f"SELECT '{table.name}' AS held, id, {body} AS raw, hash FROM {table.name} WHERE id > :behind"  # noqa: S608  # constants
        for table in CHAINED
    )
    query = text(" UNION ALL ".join(each_table) + " ORDER BY id")
    for page in _stream_pages(connection, query, _ENTRY_PAGE_SIZE, {"behind": after}):
        yield cast("Sequence[EntryRow]", page)


def _stream_entries(connection: Connection, after: int) -> Iterator[LedgerEntry]:
    for page in _stream_entry_rows(connection, after):
        for table, number, raw, digest in page:
            yield LedgerEntry(table, number, bytes(raw), digest)


def _stream_referenced_texts(connection: Connection, after: int) -> Iterator[ExportedText]:
    """Stream the texts that decisions behind that number refer to; all texts behind number 0."""
    body: ColumnElement[bytes] = literal_column(_BODY_AS_BYTES_SQL[connection.dialect.name])
    query = select(contents.c.digest, contents.c.kind, body).order_by(contents.c.digest)
    if after:
        names = (decisions.c.evidence, decisions.c.policy_digest, decisions.c.approvers)
        referenced = union(*(select(name).where(decisions.c.id > after, name.is_not(None)) for name in names))
        query = query.where(contents.c.digest.in_(referenced))
    for page in _stream_pages(connection, query, _TEXT_PAGE_SIZE):
        for digest, kind, raw in page:
            yield ExportedText(digest, kind, bytes(raw).decode(errors="replace"))


def _find_altered_texts(connection: Connection) -> Iterator[TextReference]:
    """Find texts whose digest is another one. Those that no decision names prove nothing, and are left out."""
    query = text(f"SELECT digest, {_BODY_AS_BYTES_SQL[connection.dialect.name]} FROM contents")  # noqa: S608  # constants
    wrong: list[str] = []
    for page in _stream_pages(connection, query, _TEXT_PAGE_SIZE):
        wrong += [digest for digest, raw in page if sha256(raw).hexdigest() != digest]
    for digest in wrong:
        yield from _find_first_reference(connection, digest)


def _find_first_reference(connection: Connection, digest: str) -> Iterator[TextReference]:
    """Find the first decision that names a text."""
    readable = _IS_READABLE_SQL[connection.dialect.name]
    names = f"CASE WHEN {readable} THEN evidence = :digest OR policy_digest = :digest OR approvers = :digest END"
    columns = ", ".join(_REFERENCE_KINDS)
    query = text(
        f"SELECT id, at, model, alias, version, {columns} FROM decisions WHERE {names} ORDER BY id LIMIT 1"  # noqa: S608  # constants
    )
    for row in connection.execute(query, {"digest": digest}):
        kind = next(kind for name, kind in _REFERENCE_KINDS.items() if getattr(row, name) == digest)
        yield TextReference(row.id, row.at or "", kind, digest, altered=True, about=_describe_decision_row(row))


def _find_missing_texts(connection: Connection) -> Iterator[TextReference]:
    readable = _IS_READABLE_SQL[connection.dialect.name]
    lacking = (
        f"CASE WHEN NOT EXISTS (SELECT 1 FROM contents WHERE digest = {name} AND kind = '{kind}') THEN {name} END AS {name}"  # noqa: S608  # constants
        for name, kind in _REFERENCE_KINDS.items()
    )
    columns = f"id, at, model, alias, version, {', '.join(lacking)}, {_HAS_TOOL_SQL} AS kept"
    query = text(f"SELECT {columns} FROM decisions WHERE {readable} ORDER BY id")  # noqa: S608  # constants
    for page in _stream_pages(connection, query, _TEXT_PAGE_SIZE):
        for row in page:
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
    """The port `ReferenceIndex` in a temporary file of SQLite, which is only written once more is in it than fits a cache."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(_CREATE_TABLE_SQL)

    def add_references(self, found: Iterable[TextReference]) -> None:
        """Remember what decisions name; what is known already is ignored."""
        rows = ((each.digest, each.decision, each.at, each.kind, each.about) for each in found)
        self._connection.executemany(_INSERT_SQL, rows)

    def match_text(self, digest: str, kind: str) -> TextReference | None:
        """Mark the references to a text as met, and return the first of them."""
        row = self._connection.execute(_FIRST_REFERENCE_SQL, (digest, kind)).fetchone()
        if row is None:
            return None
        self._connection.execute("UPDATE named SET met = 1 WHERE digest = ? AND kind = ?", (digest, kind))
        decision, at, about = row
        return TextReference(decision, at, kind, digest, about=about)

    def unmatched_references(self) -> Iterator[TextReference]:
        """Yield the references that were not met, in the order of decisions."""
        for decision, at, kind, digest, about in self._connection.execute(_UNMET_REFERENCES_SQL):
            yield TextReference(decision, at, kind, digest, about=about)


@contextmanager
def temporary_reference_index() -> Iterator[TemporaryReferenceIndex]:
    """Open an empty index, which is gone afterwards."""
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
