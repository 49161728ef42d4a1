"""Exports of a real ledger, of each kind of database: lines that anybody can check, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.schema import CHAINED
from promoter.application.audit import export_cloud_events, export_ledger, export_spreadsheet
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.decision import Decision, DecisionBasis, Verdict
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.ledger.chain import GENESIS_HASH, LedgerHead
from promoter.domain.ledger.export import EXPORTED_TABLES, ExportedText, ExportEnding, ExportManifest
from tests.support.fixtures.ledger import NOW, fill, outside

pytestmark = pytest.mark.each_database


def lines(ledger: SqlLedger, after: int = 0) -> list[bytes]:
    """The export, each line without its end."""
    found = list(export_ledger(ledger, after, NOW))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in found)
    return [line[:-1] for line in found]


def parts(found: Sequence[bytes]) -> tuple[list[bytes], list[dict[str, Any]]]:
    """The lines of entries, and what those of texts tell."""
    parsed = [json.loads(line) for line in found[1:-1]]
    entries = [line for line, each in zip(found[1:-1], parsed, strict=True) if "content" not in each]
    return entries, [each for each in parsed if "content" in each]


def judged(ledger: SqlLedger, version: int, policy: str = "rules: []") -> None:
    """A decision that stands on texts."""
    evidence = Evidence(NOW, VersionEvidence(version))
    digest = hashlib.sha256(policy.encode()).hexdigest()
    decision = Decision(
        "fraud", "champion", version, "p", digest, Verdict.PASS, (), NOW, evidence, basis=DecisionBasis(policy, "{}")
    )
    ledger.record_decisions([decision], "r1")


def test_every_line_is_what_the_next_one_follows(ledger: SqlLedger) -> None:
    """SHA-256 of a line is `previous` of the next, from the first entry to the head that the last line tells."""
    fill(ledger)
    found = lines(ledger)
    assert ExportManifest.parse_line(found[0]) == ExportManifest(
        ledger.read_chain_head().ledger, 1, NOW, json.loads(found[0])["tool"], EXPORTED_TABLES
    )
    entries, texts = parts(found)
    previous = GENESIS_HASH
    for number, line in enumerate(entries, start=1):
        parsed = json.loads(line)
        assert (parsed["id"], parsed["previous"]) == (number, previous)
        previous = hashlib.sha256(line).hexdigest()
    ending = ExportEnding.from_facts(json.loads(found[-1]))
    assert ending == ExportEnding(ledger.read_chain_head(), len(entries), len(texts))
    assert ending
    assert (ending.head.entry, ending.head.hash) == (len(entries), previous)
    assert {json.loads(line)["table"] for line in entries} == {each.name for each in CHAINED} == set(EXPORTED_TABLES)


def test_texts_are_in_it(ledger: SqlLedger) -> None:
    """Each digest that a decision names is the SHA-256 of a text further down."""
    judged(ledger, 1)
    judged(ledger, 2, "rules: [] # ärger\n")
    entries, texts = parts(lines(ledger))
    decisions = [each for each in map(json.loads, entries) if each["table"] == "decisions"]
    named = {each[name] for each in decisions for name in ("evidence", "policy_digest", "approvers")}
    assert len(named) == 5
    assert named == {each["content"] for each in texts}
    assert all(hashlib.sha256(each["body"].encode()).hexdigest() == each["content"] for each in texts)
    assert {each["kind"] for each in texts} == {"evidence", "policy", "approvers"}


def test_only_what_is_behind_an_entry(ledger: SqlLedger) -> None:
    """Its texts too, and a head that is the same; behind the last nothing, and behind that there is nothing to ask for."""
    judged(ledger, 1, "first")
    after = ledger.read_chain_head().entry
    judged(ledger, 2, "second")
    found = lines(ledger, after)
    entries, texts = parts(found)
    assert json.loads(found[0])["from"] == json.loads(entries[0])["id"] == after + 1
    assert [each["body"] for each in texts if each["kind"] == "policy"] == ["second"]
    assert "approvers" in {each["kind"] for each in texts}
    head = ledger.read_chain_head()
    assert ExportEnding.from_facts(json.loads(found[-1])) == ExportEnding(head, len(entries), len(texts))
    empty = lines(ledger, head.entry)
    assert ExportEnding.from_facts(json.loads(empty[-1])) == ExportEnding(head, 0, 0)
    with pytest.raises(PermanentError, match=f"it ends with entry {head.entry}"):
        list(export_ledger(ledger, head.entry + 1, NOW))


def test_what_comes_meanwhile_is_not_in_it(ledger: SqlLedger, database_url: str) -> None:
    """An export is of one moment: entries that come while it is read are left out, and so is what is dropped meanwhile."""
    judged(ledger, 1)
    head = ledger.read_chain_head()
    exporting = export_ledger(ledger, 0, NOW)
    found = [next(exporting), next(exporting)]
    with outside(database_url) as other:
        gone = other.execute(text("DELETE FROM contents WHERE kind = 'evidence'")).rowcount
    assert gone == 1
    another = SqlLedger.open(database_url)
    judged(another, 2)
    another.close_connections()
    found += exporting
    entries, texts = parts(found)
    assert len(entries) == head.entry
    assert [each["kind"] for each in texts].count("evidence") == 1
    assert ExportEnding.from_facts(json.loads(found[-1])) == ExportEnding(head, head.entry, 3)


def test_an_edited_ledger_is_exported_as_it_is(ledger: SqlLedger, database_url: str) -> None:
    """Whoever reads the export sees what was done: nothing is mended on the way."""
    judged(ledger, 1)
    with outside(database_url) as other:
        for statement in untied(database_url, "revisions", "contents"):
            other.execute(text(statement))
        other.execute(text("UPDATE contents SET body = 'other' WHERE kind = 'policy'"))
    _, texts = parts(lines(ledger))
    assert [each["body"] for each in texts if each["kind"] == "policy"] == ["other"]


def untied(url: str, *tables: str) -> list[str]:
    """What takes the triggers off."""
    if url.startswith("postgresql"):
        return [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in tables]
    with outside(url) as other:
        named = other.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
    return [f"DROP TRIGGER {name}" for name in named]


def test_nothing_to_export(tmp_path: Any) -> None:
    """A database that nobody has made has no head that an export could end with."""
    past = SqlLedger.open(f"sqlite:///{tmp_path / 'none.db'}", read_only=True)
    with pytest.raises(PermanentError, match="nothing has been written"):
        list(export_ledger(past, 0, NOW))
    assert list(export_spreadsheet(past, 0))[1:] == []


def test_events_of_all_that_happened(ledger: SqlLedger) -> None:
    """Also more than one page of them, and only behind an entry."""
    moves = [NewAuditRecord(NOW + timedelta(minutes=n), RecordKind.OBSERVED, "fraud", "champion", n, n + 1) for n in range(600)]
    ledger.record_observed_moves(moves)
    parsed = [json.loads(line) for line in export_cloud_events(ledger.outbox, 0, None)]
    assert len(parsed) == 1200
    assert [each["sequence"] for each in parsed] == sorted(each["sequence"] for each in parsed)
    assert parsed[0]["source"] == f"urn:promoter:{ledger.read_chain_head().ledger}"
    assert {each["type"] for each in parsed} == {"dev.promoter.alias.changed", "dev.promoter.alias.drifted"}
    last = ledger.read_chain_head().entry
    behind = [json.loads(line) for line in export_cloud_events(ledger.outbox, last - 1, "https://promoter.example.com/")]
    assert [each["data"]["id"] for each in behind] == [last, last]
    assert behind[0]["source"] == "https://promoter.example.com"


def test_lines_that_are_none() -> None:
    """What is not of the form is not taken for it."""
    good = ExportManifest("u", 1, NOW, "1", EXPORTED_TABLES)
    parsed = json.loads(good.line)
    assert ExportManifest.parse_line(good.line) == good
    broken = [
        {**parsed, "promoter-ledger": 2},
        {**parsed, "from": 0},
        {**parsed, "from": True},
        {**parsed, "made": 5},
        {**parsed, "ledger": 5},
    ]
    assert [
        ExportManifest.parse_line(line) for line in (b"", b"[]", b"{", *(json.dumps(each).encode() for each in broken))
    ] == [None] * 8
    ending = json.loads(ExportEnding(LedgerHead("u", 5, "a" * 64), 5, 1).line)
    assert ExportEnding.from_facts(ending) == ExportEnding(LedgerHead("u", 5, "a" * 64), 5, 1)
    assert [ExportEnding.from_facts({**ending, **each}) for each in ({"head": 5}, {"entries": "5"}, {"contents": None})] == [
        None
    ] * 3
    content = ExportedText("d", "policy", "ä\n")
    assert ExportedText.from_facts(json.loads(content.line)) == content
    assert [
        ExportedText.from_facts({"content": "d", "kind": "k"}),
        ExportedText.from_facts({**json.loads(content.line), "body": 5}),
    ] == [None, None]
