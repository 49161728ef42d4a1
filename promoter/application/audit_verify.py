"""Verification: everything that a ledger or an export of it says, held against itself and against whoever vouches for it.

It asks nobody but those who are handed in, changes nothing, and goes on behind a problem, so that all of them are told at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol

from promoter.application.ports import Ledger
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.chain import LedgerHead
from promoter.domain.ledger.export import ExportedText, ExportEnding, ExportManifest
from promoter.domain.ledger.problems import EntryRow, LedgerProblem, ProblemKind, describe_entry, parse_entry_body
from promoter.domain.ledger.verify import ChainVerifier
from promoter.domain.ledger.witnesses import TextReference, Witness, WitnessIndex, list_text_references

COMMIT, CHECKPOINT, GIVEN = "commit", "checkpoint", "given"
Progress = Callable[[int], None]
"""Told now and then how many entries were looked at."""
_MAX_TEXT_PROBLEMS = 1_000
"""How many texts with a problem are named one by one."""


@dataclass(frozen=True)
class VerificationReport:
    """What came of it.

    `head` is the end as it is now, `start` the number of the entry before the first that was looked at. `vouching`: how many of
    each kind (commit, checkpoint, given) have the hash that the ledger has; `foreign`: how many of each kind vouch for other
    ledgers, `earlier` for entries before the first. `keys`: how many checkpoints each public key signed; `trusted`: whether it
    was said which keys may. `dropped`: of how many decisions retention dropped the evidence.
    """

    head: LedgerHead
    start: int
    entries: int
    problems: tuple[LedgerProblem, ...]
    vouching: Mapping[str, int]
    foreign: Mapping[str, int]
    earlier: int = 0
    keys: Mapping[str, int] = field(default_factory=dict)
    trusted: bool = False
    dropped: int = 0
    more: int = 0
    """Problems with texts beyond those that are named."""

    @property
    def verified_head(self) -> str | None:
        """The end, as trailers write it; None where no entry was looked at."""
        return self.head.trailer_value if self.entries else None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class TextProblems:
    """What is wrong with the texts that decisions name. Only so many are kept."""

    def __init__(self) -> None:
        """None yet."""
        self.problems: list[LedgerProblem] = []
        self.dropped = self.more = 0

    def check_reference(self, reference: TextReference, walk: ChainVerifier) -> None:
        """At a text that is altered or is not there, once all entries went by."""
        problem = reference.find_problem(walk.facts)
        if problem is None:
            self.dropped += 1
        elif len(self.problems) < _MAX_TEXT_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1


def verify_ledger(
    ledger: Ledger,
    witnesses: Iterable[Witness] = (),
    trusted: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> VerificationReport:
    """Verify what a database holds. `trusted`: public keys; checkpoints of other keys are then problems."""
    walk = ChainVerifier(WitnessIndex(ledger.read_chain_head().ledger, witnesses), trusted=frozenset(trusted))
    texts = TextProblems()
    for part in ledger.iterate_verifiable_parts():
        if isinstance(part, TextReference):
            walk.verify_waiting_rows()
            texts.check_reference(part, walk)
        else:
            walk.verify_rows(part)
            progress(walk.count)
    return build_verification_report(walk, texts)


def build_verification_report(
    walk: ChainVerifier, texts: TextProblems, last: Witness | None = None, *, more: Iterable[LedgerProblem] = ()
) -> VerificationReport:
    """The end of a walk. `last`: what an export's last line says; `more`: what else is wrong."""
    walk.finish_verification(last)
    about = [*walk.problems, *texts.problems, *more]
    if not any(each.wrong is ProblemKind.CUT for each in about):
        about += _find_foreign_heads(walk)
    problems = sorted(about, key=lambda problem: (problem.entry or 0, problem.last or 0))
    foreign = [witness.kind for witness in walk.witnesses.foreign]
    return VerificationReport(
        head=walk.current_head,
        start=walk.start,
        entries=walk.count,
        problems=tuple(problems),
        vouching={kind: len(walk.witnesses.list_confirmed_witnesses(kind)) for kind in (COMMIT, CHECKPOINT, GIVEN)},
        foreign={kind: foreign.count(kind) for kind in (COMMIT, GIVEN)},
        earlier=walk.witnesses.count_unchecked(walk.start),
        keys=dict(walk.facts.keys),
        trusted=bool(walk.facts.trusted),
        dropped=texts.dropped,
        more=texts.more,
    )


def _find_foreign_heads(walk: ChainVerifier) -> list[LedgerProblem]:
    """A head that was given is one of this ledger, or this is not the ledger that somebody thinks it is."""
    if not walk.count and not walk.start:
        return [
            LedgerProblem(
                ProblemKind.TRUNCATED, None, "there is no entry at all, not even the first one, which every ledger begins with"
            )
        ]
    name = walk.current_head.ledger or "a ledger without a name"
    return [
        LedgerProblem(ProblemKind.REWRITTEN, None, f"{each.who} is of the ledger {each.head.ledger}, and this one is {name}")
        for each in walk.witnesses.foreign
        if each.kind == GIVEN
    ]


_BATCH_SIZE = 512
_DECISION = b'"table":"decisions"'
_CONTENT, _HEAD = b'{"content":', b'{"head":'
"""How these lines begin. An entry never does: its first word is one that comes before, such as `actor` or `at`."""


class ReferenceIndex(Protocol):
    """Keeps what decisions name until the texts have come by, wherever that many fit."""

    def add_references(self, found: Iterable[TextReference]) -> None:
        """Decisions name these."""
        ...

    def match_text(self, digest: str, kind: str) -> TextReference | None:
        """A text of that digest and kind is there: the first decision that names it, if any."""
        ...

    def unmatched_references(self) -> Iterator[TextReference]:
        """What is named and was not met, by decision."""
        ...


class _ExportReader:
    """What one export said so far."""

    def __init__(self, walk: ChainVerifier, names: ReferenceIndex, progress: Progress) -> None:
        self.walk = walk
        self.names = names
        self.progress = progress
        self.ending: ExportEnding | None = None
        self.problems: list[LedgerProblem] = []
        self.contents = self.behind = 0
        self.altered: list[TextReference] = []
        self._rows: list[EntryRow] = []

    def read_line(self, line: bytes) -> None:
        """The next one, without its end."""
        if self.ending is not None:
            if self.behind == 0:
                self.problems.append(
                    LedgerProblem(ProblemKind.INSERTED, None, "something stands behind the line that says what the end is")
                )
            self.behind += 1
        elif line.startswith(_CONTENT):
            self._check_text(ExportedText.from_facts(_parse_json_object(line)))
        elif line.startswith(_HEAD):
            self.ending = ExportEnding.from_facts(_parse_json_object(line))
            if self.ending is None:
                self.problems.append(
                    LedgerProblem(ProblemKind.CUT, None, "its last line, which says what the end is, cannot be read")
                )
        else:
            self._rows.append(("", 0, line, ""))
            if len(self._rows) == _BATCH_SIZE:
                self.flush_entries()

    def flush_entries(self) -> None:
        """Look at the entries that were read."""
        self.walk.verify_rows(self._rows)
        self.names.add_references(each for _, _, body, _ in self._rows if _DECISION in body for each in _parse_references(body))
        self._rows.clear()
        self.progress(self.walk.count)

    def _check_text(self, text: ExportedText | None) -> None:
        self.contents += 1
        if text is None:
            self.problems.append(
                LedgerProblem(ProblemKind.UNREADABLE, None, f"text {self.contents} behind the entries cannot be read")
            )
            return
        if self._rows:
            self.flush_entries()
        reference = self.names.match_text(text.digest, text.kind)
        if reference and sha256(text.body.encode("utf-8", "surrogatepass")).hexdigest() != text.digest:
            self.altered.append(
                TextReference(
                    reference.decision, reference.at, reference.kind, text.digest, altered=True, about=reference.about
                )
            )


def verify_export(
    lines: Iterable[bytes],
    names: ReferenceIndex,
    witnesses: Iterable[Witness] = (),
    trusted: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> VerificationReport:
    """Verify what a file holds: its lines with their ends. Raises `PermanentError` where that is no export."""
    incoming = iter(lines)
    first = next(incoming, b"")
    if first.endswith(b"\r\n"):
        raise PermanentError(
            "export", "its lines end as on Windows: some program rewrote them", "copy the file as it is, not as text"
        )
    manifest = ExportManifest.parse_line(first)
    if manifest is None:
        fix = "`promoter audit export --output FILE` writes one"
        raise PermanentError("export", "its first line is not that of an export of a ledger, in a form that is known here", fix)
    walk = ChainVerifier(WitnessIndex(manifest.ledger, witnesses), manifest.start - 1, rows=False, trusted=frozenset(trusted))
    reader = _ExportReader(walk, names, progress)
    whole = first.endswith(b"\n")
    for line in incoming:
        whole = line.endswith(b"\n") or ExportEnding.from_facts(_parse_json_object(line)) is not None
        if whole or reader.ending:
            reader.read_line(line.removesuffix(b"\n"))
    reader.flush_entries()
    return _finish_report(reader, manifest, whole=whole)


def _finish_report(reader: _ExportReader, manifest: ExportManifest, *, whole: bool) -> VerificationReport:
    walk, texts, ending = reader.walk, TextProblems(), reader.ending
    more = reader.problems
    walk.verify_waiting_rows()
    last = Witness(ending.head, "the last line", "end") if ending and ending.head.ledger == manifest.ledger else None
    if ending is None and not any(each.wrong is ProblemKind.CUT for each in more):
        where = f"after entry {walk.current_head.entry}" + ("" if whole else ", in the middle of a line")
        more.append(LedgerProblem(ProblemKind.CUT, None, f"it ends {where}, and its last line is missing: it was cut off"))
    elif ending and last is None:
        more.append(LedgerProblem(ProblemKind.EDITED, None, "its first line and its last one name two ledgers"))
    if ending is None:
        lacking: Iterator[TextReference] = iter(())  # what was cut off is not missing one by one
    else:
        lacking = reader.names.unmatched_references()
    for reference in (*reader.altered, *lacking):
        texts.check_reference(reference, walk)
    found = build_verification_report(walk, texts, last, more=more)
    return found if ending is None or not found.is_sound else _check_counts(found, ending, reader)


def _check_counts(found: VerificationReport, ending: ExportEnding, reader: _ExportReader) -> VerificationReport:
    """Whatever else is in order, there are as many as the last line says."""
    counts = (("entries", ending.entries, found.entries), ("texts", ending.contents, reader.contents))
    wrong = [
        LedgerProblem(ProblemKind.EDITED, None, f"its last line says that there are {stated} {what}, and there are {there}")
        for what, stated, there in counts
        if stated != there
    ]
    return replace(found, problems=tuple(wrong))


def _parse_references(body: bytes) -> Iterator[TextReference]:
    facts = parse_entry_body(body)
    if facts and facts.get("table") == "decisions":
        yield from list_text_references(facts["id"], facts, describe_entry(facts))


def _parse_json_object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
