"""The lines of an export: a manifest, the entries, the texts that they name, and the ending.

The line of an entry is its unchanged `body`, so that the SHA-256 of a line (without its line end) is what the next one calls
`previous`: whoever has the file can check it without Promoter. The ending counts the lines; an export without it was cut off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.ledger.chain import LedgerHead

EXPORT_FORMAT = 1
"""The version of this format."""
EXPORTED_TABLES = ("decisions", "deliveries", "guard_checks", "milestones", "records", "revisions", "settled", "sightings")
"""The tables whose entries are exported."""


@dataclass(frozen=True)
class ExportedText:
    """A text that a decision names by its digest."""

    digest: str
    """The digest that the text is stored under, which need not be its own: somebody may have changed the text."""
    kind: str
    """`evidence`, `policy` or `approvers`."""
    body: str
    """The text itself."""

    @property
    def line(self) -> bytes:
        """The text as a line of an export."""
        return _encode_export_line({"content": self.digest, "kind": self.kind, "body": self.body})

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> ExportedText | None:
        """Read the facts of a line; None where they are no text."""
        digest, kind, body = (facts.get(name) for name in ("content", "kind", "body"))
        return cls(digest, kind, body) if isinstance(digest, str) and isinstance(kind, str) and isinstance(body, str) else None


@dataclass(frozen=True)
class ExportManifest:
    """The first line of an export."""

    ledger: str
    """The ledger's name."""
    start: int
    """The number of the first entry."""
    made: datetime
    """When the export was written."""
    tool: str
    """The version of Promoter that wrote it."""
    tables: tuple[str, ...]
    """The tables whose entries are in it."""

    @property
    def line(self) -> bytes:
        """The manifest as a line of an export."""
        facts = {"promoter-ledger": EXPORT_FORMAT, "ledger": self.ledger, "from": self.start, "made": self.made.isoformat()}
        return _encode_export_line({**facts, "tool": self.tool, "tables": list(self.tables)})

    @classmethod
    def parse_line(cls, line: bytes) -> ExportManifest | None:
        """Parse a line; None where it is no manifest of a format that this version knows."""
        facts = _parse_export_line(line) or {}
        ledger, start, made, tool, tables = (facts.get(name) for name in ("ledger", "from", "made", "tool", "tables"))
        if facts.get("promoter-ledger") != EXPORT_FORMAT or type(start) is not int or start < 1 or not isinstance(ledger, str):
            return None
        try:
            moment = datetime.fromisoformat(str(made))
        except ValueError:
            return None
        return cls(ledger, start, moment, str(tool), tuple(map(str, tables)) if isinstance(tables, list) else ())


@dataclass(frozen=True)
class ExportEnding:
    """The last line of an export."""

    head: LedgerHead
    """The last entry that was exported."""
    entries: int
    """How many entries come before this line."""
    contents: int
    """How many texts come before this line."""

    @property
    def line(self) -> bytes:
        """The ending as a line of an export."""
        return _encode_export_line({"head": self.head.trailer_value, "entries": self.entries, "contents": self.contents})

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> ExportEnding | None:
        """Read the facts of a line; None where they are no ending."""
        head, entries, contents = LedgerHead.parse_trailer(str(facts.get("head"))), facts.get("entries"), facts.get("contents")
        return cls(head, entries, contents) if head and type(entries) is int and type(contents) is int else None


def _encode_export_line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parse_export_line(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
