"""The chain in SQL: entries are appended behind the last one, and read back in their order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, insert, literal_column, select, text, union

from promoter.adapters.ledger.schema import CHAINED, contents, decisions, split_in_conditions
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, advance_head, digest_bytes, seal_entry
from promoter.domain.ledger.export import ExportedText
from promoter.domain.ledger.problems import EntryRow

_INSERT_BATCH_SIZE = 1_000
_ENTRY_PAGE_SIZE = 512
_LAST_ENTRIES_SQL = " UNION ALL ".join(
    f"SELECT id, hash FROM {table.name} WHERE id = (SELECT max(id) FROM {table.name})"  # noqa: S608  # constants
    for table in CHAINED
)
_HEAD_QUERY = text(f"SELECT id, hash FROM ({_LAST_ENTRIES_SQL}) AS lasts ORDER BY id DESC LIMIT 1")  # noqa: S608  # constants
BODY_AS_BYTES_SQL = {"sqlite": "CAST(body AS BLOB)", "postgresql": "convert_to(body, 'UTF8')"}
"""The column `body` as it lies there: a text that is none must not stop who reads it."""


class ChainWriter:
    """The end of the chain in one transaction that writes, and so is alone."""

    def __init__(self, connection: Connection) -> None:
        """Reads the head."""
        self.connection = connection
        self._head = read_chain_head(connection)

    def append_entry(self, table: Table, facts: Mapping[str, Any]) -> int:
        """One entry of these facts, without those that are None; its number."""
        self.append_entries(table, [facts])
        return self._head.entry

    def append_entries(self, table: Table, news: Iterable[Mapping[str, Any]]) -> None:
        """One entry each, in order."""
        rows: list[dict[str, Any]] = []
        for facts in news:
            entry = seal_entry(self._head, table.name, {name: fact for name, fact in facts.items() if fact is not None})
            self._head = advance_head(self._head, entry)
            rows.append({"id": entry.id, "body": entry.body.decode(), "hash": entry.hash})
            if len(rows) == _INSERT_BATCH_SIZE:
                self.connection.execute(insert(table), rows)
                rows.clear()
        if rows:
            self.connection.execute(insert(table), rows)


def read_chain_head(connection: Connection) -> LedgerHead:
    """The last entry, of whichever table; without the ledger's name."""
    row = connection.execute(_HEAD_QUERY).one_or_none()
    return LedgerHead("", int(row.id), row.hash) if row else LedgerHead()


def stream_entries(connection: Connection, behind: int) -> Iterator[LedgerEntry]:
    """Every entry behind that number in order, few of them in memory at a time."""
    for part in stream_entry_rows(connection, behind):
        for held, number, raw, hashed in part:
            yield LedgerEntry(held, number, bytes(raw), hashed)


def stream_entry_rows(connection: Connection, behind: int = 0) -> Iterator[Sequence[EntryRow]]:
    """The same as plain tuples, many at a time."""
    body = BODY_AS_BYTES_SQL[connection.dialect.name]
    each = (
        f"SELECT '{table.name}' AS held, id, {body} AS raw, hash FROM {table.name} WHERE id > :behind"  # noqa: S608  # constants
        for table in CHAINED
    )
    query = text(" UNION ALL ".join(each) + " ORDER BY id")
    found = connection.execute(
        query, {"behind": behind}, execution_options={"yield_per": _ENTRY_PAGE_SIZE, "stream_results": True}
    )
    for part in found.partitions(_ENTRY_PAGE_SIZE):
        yield cast("Sequence[EntryRow]", part)


_BLOB_PAGE_SIZE = 200


@dataclass(frozen=True)
class TextBlob:
    """A text, and what it is: `evidence`, `policy` or `approvers`."""

    kind: str
    body: str

    @property
    def digest(self) -> str:
        """SHA-256 of its UTF-8 bytes."""
        return digest_bytes(self.body.encode())


def insert_missing_blobs(connection: Connection, news: Iterable[TextBlob]) -> None:
    """Those that are not there yet, once each."""
    by_digest = {each.digest: each for each in news}
    there = find_blobs(connection, by_digest).keys()
    rows = [
        {"digest": digest, "kind": each.kind, "body": each.body} for digest, each in by_digest.items() if digest not in there
    ]
    if rows:
        connection.execute(insert(contents), rows)


def find_blobs(connection: Connection, digests: Collection[str]) -> Mapping[str, str]:
    """The texts that are there, by digest."""
    texts: dict[str, str] = {}
    for condition in split_in_conditions(contents.c.digest, digests):
        query = select(contents.c.digest, contents.c.body)
        rows = connection.execute(query if condition is None else query.where(condition))
        texts.update({row.digest: row.body for row in rows})
    return texts


def stream_referenced_blobs(connection: Connection, behind: int) -> Iterator[ExportedText]:
    """The texts that decisions behind that number refer to (behind none: all texts), few of them in memory at a time."""
    body: ColumnElement[bytes] = literal_column(BODY_AS_BYTES_SQL[connection.dialect.name])
    query = select(contents.c.digest, contents.c.kind, body).order_by(contents.c.digest)
    if behind:
        names = (decisions.c.evidence, decisions.c.policy_digest, decisions.c.approvers)
        referenced_digests = union(*(select(name).where(decisions.c.id > behind, name.is_not(None)) for name in names))
        query = query.where(contents.c.digest.in_(referenced_digests))
    rows = connection.execute(query, execution_options={"yield_per": _BLOB_PAGE_SIZE, "stream_results": True})
    for part in rows.partitions(_BLOB_PAGE_SIZE):
        for digest, kind, raw in part:
            yield ExportedText(digest, kind, bytes(raw).decode(errors="replace"))
