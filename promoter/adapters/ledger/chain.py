"""The chain in SQL: entries are appended behind the last one, and read back in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, insert, text

from promoter.adapters.ledger.schema import CHAINED
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, advance_head, seal_entry
from promoter.domain.ledger.entries import EntryRow

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
    each = (f"SELECT '{table.name}' AS held, id, {body} AS raw, hash FROM {table.name} WHERE id > :behind" for table in CHAINED)  # noqa: S608  # constants
    query = text(" UNION ALL ".join(each) + " ORDER BY id")
    found = connection.execute(
        query, {"behind": behind}, execution_options={"yield_per": _ENTRY_PAGE_SIZE, "stream_results": True}
    )
    for part in found.partitions(_ENTRY_PAGE_SIZE):
        yield cast("Sequence[EntryRow]", part)
