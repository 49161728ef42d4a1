"""The chain in SQL: entries are appended behind the last one, and read back in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, insert, text

from promoter.adapters.ledger.schema import CHAINED
from promoter.domain.ledger.chain import Entry, Head, after, seal
from promoter.domain.ledger.entries import Row

_BATCH = 1_000
_PAGE = 512
_LASTS = " UNION ALL ".join(
    f"SELECT id, hash FROM {table.name} WHERE id = (SELECT max(id) FROM {table.name})"  # noqa: S608  # constants
    for table in CHAINED
)
_HEAD = text(f"SELECT id, hash FROM ({_LASTS}) AS lasts ORDER BY id DESC LIMIT 1")  # noqa: S608  # constants
BYTES = {"sqlite": "CAST(body AS BLOB)", "postgresql": "convert_to(body, 'UTF8')"}
"""The column `body` as it lies there: a text that is none must not stop who reads it."""


class Chain:
    """The end of the chain in one transaction that writes, and so is alone."""

    def __init__(self, connection: Connection) -> None:
        """Reads the head."""
        self.connection = connection
        self._head = last(connection)

    def append(self, table: Table, facts: Mapping[str, Any]) -> int:
        """One entry of these facts, without those that are None; its number."""
        self.append_all(table, [facts])
        return self._head.entry

    def append_all(self, table: Table, news: Iterable[Mapping[str, Any]]) -> None:
        """One entry each, in order."""
        rows: list[dict[str, Any]] = []
        for facts in news:
            entry = seal(self._head, table.name, {name: fact for name, fact in facts.items() if fact is not None})
            self._head = after(self._head, entry)
            rows.append({"id": entry.id, "body": entry.body.decode(), "hash": entry.hash})
            if len(rows) == _BATCH:
                self.connection.execute(insert(table), rows)
                rows.clear()
        if rows:
            self.connection.execute(insert(table), rows)


def last(connection: Connection) -> Head:
    """The last entry, of whichever table; without the ledger's name."""
    row = connection.execute(_HEAD).one_or_none()
    return Head("", int(row.id), row.hash) if row else Head()


def walk(connection: Connection, behind: int) -> Iterator[Entry]:
    """Every entry behind that number in order, few of them in memory at a time."""
    for part in rows(connection, behind):
        for held, number, raw, hashed in part:
            yield Entry(held, number, bytes(raw), hashed)


def rows(connection: Connection, behind: int = 0) -> Iterator[Sequence[Row]]:
    """The same as plain tuples, many at a time."""
    body = BYTES[connection.dialect.name]
    each = (f"SELECT '{table.name}' AS held, id, {body} AS raw, hash FROM {table.name} WHERE id > :behind" for table in CHAINED)  # noqa: S608  # constants
    query = text(" UNION ALL ".join(each) + " ORDER BY id")
    found = connection.execute(query, {"behind": behind}, execution_options={"yield_per": _PAGE, "stream_results": True})
    for part in found.partitions(_PAGE):
        yield cast("Sequence[Row]", part)
