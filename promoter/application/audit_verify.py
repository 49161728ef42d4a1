"""Verification of a ledger or an export, against itself and against the witnesses that are handed in.

It changes nothing, and goes on behind a problem, so that all problems are reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol

from promoter.application.ports import ChainReader
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.chain import LedgerHead
from promoter.domain.ledger.export import ExportedText, ExportEnding, ExportManifest
from promoter.domain.ledger.problems import EntryRow, LedgerProblem, ProblemKind, describe_entry, parse_entry_body
from promoter.domain.ledger.verify import ChainVerifier
from promoter.domain.ledger.witnesses import TextReference, Witness, WitnessIndex, list_text_references

COMMIT, CHECKPOINT, GIVEN = "commit", "checkpoint", "given"
Progress = Callable[[int], None]
"""Called now and then with the number of entries that were verified."""
_MAX_TEXT_PROBLEMS = 1_000
"""How many texts with a problem are reported one by one."""


@dataclass(frozen=True)
class VerificationReport:
    """The result of a verification."""

    head: LedgerHead
    """The last entry, with the hash that it has now."""
    start: int
    """The number of the entry before the first that was verified."""
    entries: int
    """How many entries were verified."""
    problems: tuple[LedgerProblem, ...]
    """The problems, in the order of their entries."""
    vouching: Mapping[str, int]
    """How many witnesses of each kind (commit, checkpoint, given) attest the hash that the ledger has."""
    foreign: Mapping[str, int]
    """How many witnesses of each kind attest other ledgers."""
    earlier: int = 0
    """How many witnesses attest entries before the first that was verified."""
    keys: Mapping[str, int] = field(default_factory=dict)
    """How many checkpoints each public key signed."""
    trusted: bool = False
    """Whether only keys that were handed in count."""
    dropped: int = 0
    """Of how many decisions retention dropped the evidence."""
    more: int = 0
    """How many texts have a problem that is not reported."""

    @property
    def verified_head(self) -> str | None:
        """The end, as trailers write it; None where no entry was looked at."""
        return self.head.trailer_value if self.entries else None

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


class TextProblems:
    """The problems of texts that decisions name, up to a limit."""

    def __init__(self) -> None:
        self.problems: list[LedgerProblem] = []
        self.dropped = self.more = 0

    def check_reference(self, reference: TextReference, verifier: ChainVerifier) -> None:
        """Check a text that is altered or missing, once all entries are verified."""
        problem = reference.find_problem(verifier.facts)
        if problem is None:
            self.dropped += 1
        elif len(self.problems) < _MAX_TEXT_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1


def verify_ledger(
    ledger: ChainReader,
    witnesses: Iterable[Witness] = (),
    trusted: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> VerificationReport:
    """Verify a ledger in a database. `trusted`: public keys; checkpoints of other keys are then problems."""
    verifier = ChainVerifier(WitnessIndex(ledger.read_chain_head().ledger, witnesses), trusted=frozenset(trusted))
    texts = TextProblems()
    for part in ledger.iterate_verifiable_parts():
        if isinstance(part, TextReference):
            verifier.verify_waiting_rows()
            texts.check_reference(part, verifier)
        else:
            verifier.verify_rows(part)
            progress(verifier.count)
    return build_verification_report(verifier, texts)


def build_verification_report(
    verifier: ChainVerifier, texts: TextProblems, last: Witness | None = None, *, more: Iterable[LedgerProblem] = ()
) -> VerificationReport:
    """Finish a verification. `last`: the head that the ending of an export names; `more`: problems found elsewhere."""
    verifier.finish_verification(last)
    about = [*verifier.problems, *texts.problems, *more]
    if not any(each.kind is ProblemKind.CUT for each in about):
        about += _find_foreign_heads(verifier)
        # A part of a ledger may lack the entries that tell of a succession, or the checkpoints of a key.
        about += [] if verifier.start and verifier.witnesses.last_confirmed_entry else _find_replacements(verifier)
    problems = sorted(about, key=lambda problem: (problem.entry or 0, problem.last or 0))
    foreign = [witness.kind for witness in verifier.witnesses.foreign]
    return VerificationReport(
        head=verifier.current_head,
        start=verifier.start,
        entries=verifier.count,
        problems=tuple(problems),
        vouching={kind: len(verifier.witnesses.list_confirmed_witnesses(kind)) for kind in (COMMIT, CHECKPOINT, GIVEN)},
        foreign={kind: foreign.count(kind) for kind in (COMMIT, GIVEN)},
        earlier=verifier.witnesses.count_unchecked(verifier.start),
        keys=dict(verifier.facts.keys),
        trusted=bool(verifier.facts.trusted),
        dropped=texts.dropped,
        more=texts.more,
    )


def _find_foreign_heads(verifier: ChainVerifier) -> list[LedgerProblem]:
    """Report heads that an auditor gave and that are of another ledger, and a ledger without any entry."""
    if not verifier.count and not verifier.start:
        return [
            LedgerProblem(
                ProblemKind.TRUNCATED, None, "there is no entry at all, not even the first one, which every ledger begins with"
            )
        ]
    name = verifier.current_head.ledger or "a ledger without a name"
    return [
        LedgerProblem(ProblemKind.REWRITTEN, None, f"{each.who} is of the ledger {each.head.ledger}, and this one is {name}")
        for each in verifier.witnesses.foreign
        if each.kind == GIVEN
    ]


def _find_replacements(verifier: ChainVerifier) -> list[LedgerProblem]:
    """Find what shows that the ledger took another one's place. A first entry that was edited is one problem, not two."""
    found = verifier.facts.find_replaced_ledger_problems()
    if verifier.start:
        return [each for each in found if each.kind is ProblemKind.REPLACED]
    edited = any(each.entry == 1 for each in verifier.problems)
    return [each for each in found if each.kind is not ProblemKind.REPLACED or not (edited and each.entry in (None, 1))]


_BATCH_SIZE = 512
_DECISION = b'"table":"decisions"'
_CONTENT, _HEAD = b'{"content":', b'{"head":'
"""How these lines begin. An entry never does: its first key comes before these in the alphabet, such as `actor` or `at`."""


class ReferenceIndex(Protocol):
    """Remembers the texts that decisions name until these texts are read; there may be more than fit into memory."""

    def add_references(self, found: Iterable[TextReference]) -> None:
        """Remember what decisions name."""
        ...

    def match_text(self, digest: str, kind: str) -> TextReference | None:
        """Mark a text as found, and return the first reference to it, if any."""
        ...

    def unmatched_references(self) -> Iterator[TextReference]:
        """Yield the references whose text was not found, in the order of decisions."""
        ...


class _ExportReader:
    """Reads the lines of one export."""

    def __init__(self, verifier: ChainVerifier, references: ReferenceIndex, progress: Progress) -> None:
        self.verifier = verifier
        self.references = references
        self.progress = progress
        self.ending: ExportEnding | None = None
        self.problems: list[LedgerProblem] = []
        self.contents = self.behind = 0
        self.altered: list[TextReference] = []
        self._rows: list[EntryRow] = []

    def read_line(self, line: bytes) -> None:
        """Read the next line, without its line end."""
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
        """Verify the entries that were read since the last call."""
        self.verifier.verify_rows(self._rows)
        self.references.add_references(
            each for _, _, body, _ in self._rows if _DECISION in body for each in _parse_references(body)
        )
        self._rows.clear()
        self.progress(self.verifier.count)

    def _check_text(self, text: ExportedText | None) -> None:
        self.contents += 1
        if text is None:
            self.problems.append(
                LedgerProblem(ProblemKind.UNREADABLE, None, f"text {self.contents} behind the entries cannot be read")
            )
            return
        if self._rows:
            self.flush_entries()
        reference = self.references.match_text(text.digest, text.kind)
        if reference and sha256(text.body.encode("utf-8", "surrogatepass")).hexdigest() != text.digest:
            self.altered.append(
                TextReference(
                    reference.decision, reference.at, reference.kind, text.digest, altered=True, about=reference.about
                )
            )


def verify_export(
    lines: Iterable[bytes],
    references: ReferenceIndex,
    witnesses: Iterable[Witness] = (),
    trusted: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> VerificationReport:
    """Verify the lines of a file, with their line ends. Raises `PermanentError` where it is no export."""
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
    verifier = ChainVerifier(
        WitnessIndex(manifest.ledger, witnesses), manifest.start - 1, rows=False, trusted=frozenset(trusted)
    )
    reader = _ExportReader(verifier, references, progress)
    whole = first.endswith(b"\n")
    for line in incoming:
        whole = line.endswith(b"\n") or ExportEnding.from_facts(_parse_json_object(line)) is not None
        if whole or reader.ending:
            reader.read_line(line.removesuffix(b"\n"))
    reader.flush_entries()
    return _finish_report(reader, manifest, whole=whole)


def _finish_report(reader: _ExportReader, manifest: ExportManifest, *, whole: bool) -> VerificationReport:
    verifier, texts, ending = reader.verifier, TextProblems(), reader.ending
    more = reader.problems
    verifier.verify_waiting_rows()
    last = Witness(ending.head, "the last line", "end") if ending and ending.head.ledger == manifest.ledger else None
    if ending is None and not any(each.kind is ProblemKind.CUT for each in more):
        where = f"after entry {verifier.current_head.entry}" + ("" if whole else ", in the middle of a line")
        more.append(LedgerProblem(ProblemKind.CUT, None, f"it ends {where}, and its last line is missing: it was cut off"))
    elif ending and last is None:
        more.append(LedgerProblem(ProblemKind.EDITED, None, "its first line and its last one name two ledgers"))
    if ending is None:
        lacking: Iterator[TextReference] = iter(())  # what was cut off is not missing one by one
    else:
        lacking = reader.references.unmatched_references()
    for reference in (*reader.altered, *lacking):
        texts.check_reference(reference, verifier)
    found = build_verification_report(verifier, texts, last, more=more)
    return found if ending is None or not found.is_sound else _check_counts(found, ending, reader)


def _check_counts(found: VerificationReport, ending: ExportEnding, reader: _ExportReader) -> VerificationReport:
    """Check the numbers of the ending, where everything else is in order."""
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
