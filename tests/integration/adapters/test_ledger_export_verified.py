"""Exports of a real ledger are verified with nothing but their lines: each line dropped, doubled, changed or cut is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.ledger.verification import temporary_reference_index
from promoter.application.audit import export_ledger
from promoter.application.audit_verify import VerificationReport, verify_export, verify_ledger
from promoter.domain.audit import RevisionState
from promoter.domain.decision import Decision, Verdict
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.ledger.chain import LedgerHead
from promoter.domain.ledger.problems import ProblemKind
from promoter.domain.ledger.witnesses import Witness
from tests.support.fixtures.ledger import NOW, SIGNER, fill


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The export of a ledger with an entry of every kind."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path_factory.mktemp('exported') / 'promoter.db'}")
    fill(ledger)
    ledger.record_revision_state("r2", RevisionState.APPLIED, NOW)
    found = list(export_ledger(ledger, 0, NOW))
    ledger.close_connections()
    return found


def verified(lines: Sequence[bytes], *witnesses: Witness) -> VerificationReport:
    """What comes of it."""
    with temporary_reference_index() as names:
        return verify_export(lines, names, witnesses)


def entries(lines: Sequence[bytes]) -> int:
    """How many of the lines are entries: they come behind the first line."""
    return sum(b'"previous":"' in line for line in lines)


def test_an_export_says_what_its_ledger_says(ledger: SqlLedger) -> None:
    """The same report, and of what is behind an entry, too."""
    fill(ledger)
    exported, held = verified(list(export_ledger(ledger, 0, NOW))), verify_ledger(ledger)
    assert exported == held
    assert exported.is_sound
    assert exported.keys == {SIGNER.public_key: 1}
    rest = verified(list(export_ledger(ledger, 10, NOW)))
    assert (rest.is_sound, rest.start, rest.entries, rest.head) == (True, 10, held.entries - 10, held.head)
    nothing = verified(list(export_ledger(ledger, held.entries, NOW)))
    assert (nothing.is_sound, nothing.entries) == (True, 0)


def test_every_line_that_is_missing_is_named(lines: list[bytes]) -> None:
    """An entry by its number, a text with the decision that names it."""
    count = entries(lines)
    for index in range(1, len(lines) - 1):
        (problem,) = verified([*lines[:index], *lines[index + 1 :]]).problems
        if index <= count:
            assert (problem.kind, problem.entry, problem.last) == (ProblemKind.DROPPED, index, index)
        else:
            assert problem.kind is ProblemKind.LACKING
            assert problem.entry
            assert "decisions" in problem.about


def test_every_end_that_is_missing_is_noticed(lines: list[bytes]) -> None:
    """Wherever the file ends, also in the middle of a line and right before the last line's end."""
    for index in range(1, len(lines)):
        rest = lines[index]
        for part in ([], [rest[:9]], [rest[: len(rest) // 2]], [rest[:-2]]):
            (problem,) = verified([*lines[:index], *part]).problems
            assert problem.kind is ProblemKind.CUT
            assert ("in the middle of a line" in problem.message) == bool(part)
    assert verified([*lines[:-1], lines[-1].removesuffix(b"\n")]).is_sound, "an editor left out the end of the last line"


def test_every_line_that_comes_twice_is_named(lines: list[bytes]) -> None:
    """A text too many proves nothing, but the last line counts."""
    count = entries(lines)
    for index in range(1, len(lines)):
        (problem,) = verified([*lines[:index], lines[index], *lines[index:]]).problems
        if index <= count:
            assert (problem.kind, problem.entry) == (ProblemKind.SECOND, index)
        else:
            assert problem.kind in (ProblemKind.EDITED, ProblemKind.INSERTED)


@pytest.mark.slow
def test_every_changed_byte_is_noticed(lines: list[bytes]) -> None:
    """Of entries and of the last line; of texts those of their digest and of what it is the digest of."""
    missed = []
    for index, line in enumerate(lines[1:], start=1):
        known = line.index(b'"kind":') if line.startswith(b'{"content":') else len(line)
        for place in [*range(0, known, 7), *range(line.find(b'"body":'), len(line), 7)]:
            forged = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
            if verified([*lines[:index], *forged.splitlines(keepends=True), *lines[index + 1 :]]).is_sound:
                missed.append((index, place, forged))
    assert missed == []


def test_a_text_that_was_changed_is_named(lines: list[bytes]) -> None:
    """With the decision that stands on it."""
    count = entries(lines)
    for index in range(count + 1, len(lines) - 1):
        parsed = json.loads(lines[index])
        forged = json.dumps({**parsed, "body": parsed["body"] + " "}).encode() + b"\n"
        (problem,) = verified([*lines[:index], forged, *lines[index + 1 :]]).problems
        assert problem.kind is ProblemKind.TEXT
        assert parsed["kind"] in problem.message


def test_the_last_line_is_held_against_the_rest(lines: list[bytes]) -> None:
    """Its head, its counts, its ledger; and nothing comes behind it."""
    parsed = json.loads(lines[-1])
    ledger, entry, digest = parsed["head"].split()
    for changed, wrong in (
        ({"entries": parsed["entries"] + 1}, ProblemKind.EDITED),
        ({"contents": parsed["contents"] - 1}, ProblemKind.EDITED),
        ({"head": f"{ledger} {entry} {'0' * 64}"}, ProblemKind.REWRITTEN),
        ({"head": f"{ledger} {int(entry) + 2} {digest}"}, ProblemKind.DROPPED),
        ({"head": f"{ledger} {int(entry) - 2} {digest}"}, ProblemKind.INSERTED),
        ({"head": f"other {entry} {digest}"}, ProblemKind.EDITED),
        ({"head": "?"}, ProblemKind.CUT),
    ):
        forged = json.dumps({**parsed, **changed}).encode() + b"\n"
        assert [each.kind for each in verified([*lines[:-1], forged]).problems] == [wrong], changed
    assert [each.kind for each in verified([*lines, b"{}\n"]).problems] == [ProblemKind.INSERTED]


def test_witnesses_are_compared(lines: list[bytes]) -> None:
    """A commit that attests more than there is: the export is of an older moment, or was made to look so."""
    head = LedgerHead.parse_trailer(json.loads(lines[-1])["head"])
    assert head
    good = Witness(head, "commit 1f2e3d", "commit")
    assert verified(lines, good).vouching["commit"] == 1
    later = Witness(LedgerHead(head.ledger, head.entry + 3, "0" * 64), "commit 4a5b6c", "commit")
    (problem,) = verified(lines, good, later).problems
    assert (problem.kind, problem.entry, problem.last) == (ProblemKind.TRUNCATED, head.entry + 1, head.entry + 3)
    other = verified(lines, Witness(LedgerHead("another", 2, "0" * 64), "commit 7d", "commit"))
    assert ([each.kind for each in other.problems], other.foreign["commit"]) == ([ProblemKind.REPLACED], 1)
    given = verified(lines, Witness(LedgerHead("another", 2, "0" * 64), "the head that was given"))
    assert [each.kind for each in given.problems] == [ProblemKind.REWRITTEN]


@pytest.mark.parametrize("first", [b"", b"\n", b"id,at\n", b'{"promoter-ledger":2}\n', b"\xff\xfe\n", b"[" * 9_000])
def test_what_is_no_export_is_refused(first: bytes, lines: list[bytes]) -> None:
    """Rather than called a ledger with faults."""
    with pytest.raises(PermanentError, match="its first line is not that of an export"):
        verified([first, *lines[1:]] if first else [])


def test_dropped_evidence_is_no_fault(tmp_path: Path) -> None:
    """Where retention dropped it; and it is counted."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}")
    old = Evidence(NOW, VersionEvidence(3))
    ledger.record_decisions([Decision("fraud", "champion", 3, None, None, Verdict.PASS, (), NOW, old)], None)
    before = verify_ledger(ledger)
    assert ledger.drop_evidence_before(NOW + timedelta(days=1), "alice", NOW) == 1
    after = verify_ledger(ledger)
    assert (before.dropped, after.dropped, after.is_sound) == (0, 1, True)
    assert verified(list(export_ledger(ledger, 0, NOW))) == after
    assert not verified(list(export_ledger(ledger, 0, NOW))[:-1]).dropped
    ledger.close_connections()
