"""What decisions name, while an export is verified: in a database of its own that is nowhere once it is closed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from promoter.domain.faults import TransientError
from promoter.domain.ledger.references import TextReference

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
