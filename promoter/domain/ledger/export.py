"""The lines of an export: a manifest, the entries, the texts that they name, and the head.

An entry is its `body` as it is, so that the SHA-256 of a line (without its end) is what the next one calls `previous`: whoever
has the file can check it with nothing of ours. The last line says what was to be in it; an export without it was cut off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.ledger.chain import LedgerHead

EXPORT_FORMAT = 1
"""The version of the form."""
EXPORTED_TABLES = ("decisions", "deliveries", "guard_checks", "milestones", "records", "revisions", "settled", "sightings")
"""Whose entries are in one."""


@dataclass(frozen=True)
class ExportedText:
    """What an entry refers to by its digest, as it is kept: the digest that stands beside is not taken for granted."""

    digest: str
    kind: str
    body: str

    @property
    def to_line(self) -> bytes:
        """In an export."""
        return _encode_export_line({"content": self.digest, "kind": self.kind, "body": self.body})

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> ExportedText | None:
        """What a line told; None where that is no text."""
        digest, kind, body = (facts.get(name) for name in ("content", "kind", "body"))
        return cls(digest, kind, body) if isinstance(digest, str) and isinstance(kind, str) and isinstance(body, str) else None


@dataclass(frozen=True)
class ExportManifest:
    """The first line: whose entries these are, from which number on; when, and by which version of Promoter, it was written."""

    ledger: str
    start: int
    made: datetime
    tool: str
    tables: tuple[str, ...]

    @property
    def to_line(self) -> bytes:
        """In an export."""
        facts = {"promoter-ledger": EXPORT_FORMAT, "ledger": self.ledger, "from": self.start, "made": self.made.isoformat()}
        return _encode_export_line({**facts, "tool": self.tool, "tables": list(self.tables)})

    @classmethod
    def parse_line(cls, line: bytes) -> ExportManifest | None:
        """What the line tells; None where that is no manifest of a form that is known here."""
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
    """The last line: the head, and how many entries and texts came before it."""

    head: LedgerHead
    entries: int
    contents: int

    @property
    def to_line(self) -> bytes:
        """In an export."""
        return _encode_export_line({"head": self.head.trailer_value, "entries": self.entries, "contents": self.contents})

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> ExportEnding | None:
        """What a line told; None where that is no ending."""
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
