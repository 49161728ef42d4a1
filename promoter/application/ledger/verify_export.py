"""Verification of an export, line by line: with nothing but the file, on any machine. It ends as that of a ledger does."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol

from promoter.application.ledger.verify import Progress, Report, Texts, report
from promoter.domain.faults import Refused
from promoter.domain.ledger.entries import Row, about, read
from promoter.domain.ledger.export import Ending, Manifest, Text
from promoter.domain.ledger.problems import Problem, Wrong
from promoter.domain.ledger.references import Reference, references
from promoter.domain.ledger.verify import Walk
from promoter.domain.ledger.witnesses import Witness, Witnesses

_BATCH = 512
_DECISION = b'"table":"decisions"'
_CONTENT, _HEAD = b'{"content":', b'{"head":'
"""How these lines begin. An entry never does: its first word is one that comes before, such as `actor` or `at`."""


class Names(Protocol):
    """Keeps what decisions name until the texts have come by, wherever that many fit."""

    def remember(self, found: Iterable[Reference]) -> None:
        """Decisions name these."""
        ...

    def met(self, digest: str, kind: str) -> Reference | None:
        """A text of that digest and kind is there: the first decision that names it, if any."""
        ...

    def left(self) -> Iterator[Reference]:
        """What is named and was not met, by decision."""
        ...


class _Reader:
    """What one export said so far."""

    def __init__(self, walk: Walk, names: Names, progress: Progress) -> None:
        self.walk = walk
        self.names = names
        self.progress = progress
        self.ending: Ending | None = None
        self.problems: list[Problem] = []
        self.contents = self.behind = 0
        self.altered: list[Reference] = []
        self._rows: list[Row] = []

    def take(self, line: bytes) -> None:
        """The next one, without its end."""
        if self.ending is not None:
            if self.behind == 0:
                self.problems.append(
                    Problem(Wrong.INSERTED, None, "something stands behind the line that says what the end is")
                )
            self.behind += 1
        elif line.startswith(_CONTENT):
            self._content(Text.of(_object(line)))
        elif line.startswith(_HEAD):
            self.ending = Ending.of(_object(line))
            if self.ending is None:
                self.problems.append(Problem(Wrong.CUT, None, "its last line, which says what the end is, cannot be read"))
        else:
            self._rows.append(("", 0, line, ""))
            if len(self._rows) == _BATCH:
                self.flush()

    def flush(self) -> None:
        """Look at the entries that were read."""
        self.walk.take(self._rows)
        self.names.remember(each for _, _, body, _ in self._rows if _DECISION in body for each in _named(body))
        self._rows.clear()
        self.progress(self.walk.count)

    def _content(self, text: Text | None) -> None:
        self.contents += 1
        if text is None:
            self.problems.append(Problem(Wrong.UNREADABLE, None, f"text {self.contents} behind the entries cannot be read"))
            return
        if self._rows:
            self.flush()
        reference = self.names.met(text.digest, text.kind)
        if reference and sha256(text.body.encode("utf-8", "surrogatepass")).hexdigest() != text.digest:
            self.altered.append(
                Reference(reference.decision, reference.at, reference.kind, text.digest, altered=True, about=reference.about)
            )


def verify_export(
    lines: Iterable[bytes],
    names: Names,
    witnesses: Iterable[Witness] = (),
    trusted: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> Report:
    """Verify what a file holds: its lines with their ends. Raises `Refused` where that is no export."""
    incoming = iter(lines)
    first = next(incoming, b"")
    if first.endswith(b"\r\n"):
        raise Refused("export", "its lines end as on Windows: some program rewrote them", "copy the file as it is, not as text")
    manifest = Manifest.of(first)
    if manifest is None:
        fix = "`promoter audit export --output FILE` writes one"
        raise Refused("export", "its first line is not that of an export of a ledger, in a form that is known here", fix)
    walk = Walk(Witnesses(manifest.ledger, witnesses), manifest.start - 1, rows=False, trusted=frozenset(trusted))
    reader = _Reader(walk, names, progress)
    whole = first.endswith(b"\n")
    for line in incoming:
        whole = line.endswith(b"\n") or Ending.of(_object(line)) is not None
        if whole or reader.ending:
            reader.take(line.removesuffix(b"\n"))
    reader.flush()
    return _end(reader, manifest, whole=whole)


def _end(reader: _Reader, manifest: Manifest, *, whole: bool) -> Report:
    walk, texts, ending = reader.walk, Texts(), reader.ending
    more = reader.problems
    walk.flush()
    last = Witness(ending.head, "the last line", "end") if ending and ending.head.ledger == manifest.ledger else None
    if ending is None and not any(each.wrong is Wrong.CUT for each in more):
        where = f"after entry {walk.head.entry}" + ("" if whole else ", in the middle of a line")
        more.append(Problem(Wrong.CUT, None, f"it ends {where}, and its last line is missing: it was cut off"))
    elif ending and last is None:
        more.append(Problem(Wrong.EDITED, None, "its first line and its last one name two ledgers"))
    if ending is None:
        lacking: Iterator[Reference] = iter(())  # what was cut off is not missing one by one
    else:
        lacking = reader.names.left()
    for reference in (*reader.altered, *lacking):
        texts.look(reference, walk)
    found = report(walk, texts, last, more=more)
    return found if ending is None or not found.sound else _counted(found, ending, reader)


def _counted(found: Report, ending: Ending, reader: _Reader) -> Report:
    """Whatever else is in order, there are as many as the last line says."""
    counts = (("entries", ending.entries, found.entries), ("texts", ending.contents, reader.contents))
    wrong = [
        Problem(Wrong.EDITED, None, f"its last line says that there are {said} {what}, and there are {there}")
        for what, said, there in counts
        if said != there
    ]
    return replace(found, problems=tuple(wrong))


def _named(body: bytes) -> Iterator[Reference]:
    facts = read(body)
    if facts and facts.get("table") == "decisions":
        yield from references(facts["id"], facts, about(facts))


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
