"""How the past looks in a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from promoter.application.markdown.decision import decision_markdown
from promoter.application.markdown.text import cell, inline, version
from promoter.application.markdown.text import table as markdown_table
from promoter.application.past import AliasMeanwhile, AliasThen, RegistryThen
from promoter.delivery.cli import render
from promoter.domain.audit import AuditRecord, Kind
from promoter.domain.moment import both_in_utc, in_utc
from promoter.domain.past.answers import Known
from promoter.domain.past.history import Span
from promoter.domain.review import in_words
from promoter.domain.told import decision_told

_COLUMNS = ("MODEL@ALIAS", "VERSION", "SINCE", "BY", "COMMIT", "RECORD")
_NARROW = 5
"""As many columns as fit into 80 characters."""


def moment(console: Console, found: AliasThen) -> None:
    """Who held the alias, what put it there, and the decision behind that as a tree."""
    stood = found.stood
    name = f"{found.model}@{found.alias} at {in_utc(stood.at)}: "
    console.print(Text.assemble((name, "bold"), (stood.told, f"bold {_style(stood.known)}")))
    _notes(console, found.notes)
    if found.record is None:
        return
    console.print()
    console.print(render.facts(_facts(found, found.record)))
    console.print()
    if found.decision:
        console.print(render.decision_tree(decision_told(found.decision.tree)))
    else:
        console.print(_undecided(found.record), markup=False)


def moment_markdown(found: AliasThen) -> list[str]:
    """The same."""
    stood = found.stood
    lines = [f"**{inline(f'{found.model}@{found.alias}')} at {in_utc(stood.at)}: {stood.told}**", ""]
    lines += [f"- {inline(note)}" for note in found.notes]
    if found.record:
        lines += [f"- {label}: {inline(told)}" for label, told in _facts(found, found.record)]
        told = decision_markdown(decision_told(found.decision.tree)) if found.decision else [_undecided(found.record)]
        lines += ["", *told]
    return lines


def _facts(found: AliasThen, record: AuditRecord) -> Iterator[tuple[str, str]]:
    """What the record says that put the version there (where it is not certain: the version that may have been left)."""
    fact, span = record.fact, found.stood.span
    yield "version", f"{_name(fact.to_version)}, after {_name(fact.from_version)}"
    yield "since", _since(record)
    yield "until", in_utc(span.until) if span and span.until else "now"
    if found.stood.doubt:
        ending = found.stood.doubt.record
        yield "next", f"{_name(ending.fact.to_version)}: record {ending.id}, {ending.word}"
    yield "by", fact.actor or "unknown"
    yield "why", fact.reason or "no reason given"
    yield "commit", fact.revision or "none is known"
    yield "review", in_words(fact.review) or "none is known"
    if fact.policy:
        digest = found.decision.tree["policy_digest"] if found.decision else None
        file = f" (file {digest[:12]})" if digest else ""
        yield "policy", f"{fact.policy}{file}: {fact.verdict}"
    decided = f", decision {record.decision}" if record.decision else ""
    yield "record", f"{record.id}, {record.word}{decided}"
    if record.hash:
        yield "hash", record.hash


def _since(record: AuditRecord) -> str:
    """The moment, and of an observed move how exactly it is known."""
    fact = record.fact
    if fact.kind is not Kind.OBSERVED:
        return in_utc(fact.at)
    if fact.not_before:
        earliest, latest = both_in_utc(fact.not_before, fact.at)
        return f"{latest} at the latest, {earliest} at the earliest"
    return f"{in_utc(fact.at)}, when it was seen: since when it was there is not recorded"


def _undecided(record: AuditRecord) -> str:
    if record.fact.kind is Kind.OBSERVED:
        return "No decision is behind it: nobody asked Promoter."
    return "No decision is behind it: no policy gates the alias, or git had said so before."


def period(console: Console, found: AliasMeanwhile) -> None:
    """The spans of the time, whole, and what is not known."""
    console.print(Text(_period_title(found), style="bold"))
    _notes(console, found.notes)
    if found.period.spans:
        console.print()
        console.print(render.spans_table(found.period.spans, console.width))


def period_markdown(found: AliasMeanwhile) -> list[str]:
    """The same."""
    lines = [f"**{inline(_period_title(found))}**", "", *(f"- {inline(note)}" for note in found.notes)]
    return [*lines, "", *spans_markdown(found.period.spans)] if found.period.spans else lines


def _period_title(found: AliasMeanwhile) -> str:
    return f"{found.model}@{found.alias} from {in_utc(found.period.begin)} to {in_utc(found.period.end)}"


def spans_markdown(spans: Iterable[Span]) -> list[str]:
    """Who held an alias when, oldest first."""
    rows = [
        [version(s.version), str(s.since or "unknown"), str(s.until or "now"), cell(s.actor or "unknown"), s.revision or "-",
         cell(in_words(s.review) or "-")]
        for s in spans
    ]  # fmt: skip
    return markdown_table(["version", "since", "until", "actor", "revision", "review"], rows)


def state(console: Console, found: RegistryThen) -> None:
    """A line for each alias, and below them what is not known."""
    console.print(Text(_state_title(found), style="bold"))
    _notes(console, found.notes)
    if not found.aliases:
        return
    console.print()
    count = len(_COLUMNS) if console.width >= render.WIDE else _NARROW
    rows: list[list[str | Text]] = [
        [f"{each.model}@{each.alias}", Text(each.stood.told, style=_style(each.stood.known)), *_row(each)]
        for each in found.aliases
    ]
    console.print(render.table(_COLUMNS[:count], [row[:count] for row in rows]))
    doubts = _doubts(found)
    if doubts:
        console.print()
        _notes(console, doubts)


def state_markdown(found: RegistryThen) -> list[str]:
    """The same."""
    lines = [f"**{_state_title(found)}**", "", *(f"- {inline(note)}" for note in found.notes)]
    if not found.aliases:
        return lines
    rows = [[cell(told) for told in (f"{each.model}@{each.alias}", each.stood.told, *_row(each))] for each in found.aliases]
    notes = [f"- {inline(note)}" for note in _doubts(found)]
    return [*lines, "", *markdown_table([name.lower() for name in _COLUMNS], rows), "", *notes]


def _state_title(found: RegistryThen) -> str:
    count = len(found.aliases)
    known = f"{count} alias{'es' if count != 1 else ''}" if count else "the ledger knows of no alias"
    return f"The registry at {in_utc(found.at)}: {known}"


def _row(found: AliasThen) -> tuple[str, ...]:
    """Since when, by whom, which commit, which record: of the version that the records put there."""
    if found.record is None:
        return ("-", "-", "-", "-")
    fact = found.record.fact
    actor = (fact.actor or "unknown").partition(" <")[0]
    return f"{fact.at:%Y-%m-%d %H:%M}", actor, (fact.revision or "-")[:10], str(found.record.id)


def _doubts(found: RegistryThen) -> list[str]:
    """Of each alias that may have had several versions, which; of those that are unknown, only how many."""
    told = [f"{each.model}@{each.alias}: {note}" for each in found.aliases if each.stood.doubt for note in each.notes]
    unknown = sum(each.stood.known is Known.NO for each in found.aliases)
    ending = ["unknown: before the first record of the alias; `promoter history MODEL@ALIAS` says when that was"]
    return told + (ending if unknown else [])


def _notes(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(Text(note, style="yellow"))


def _name(number: int | None) -> str:
    return "absent" if number is None else f"v{number}"


def _style(known: Known) -> str:
    return "green" if known is Known.YES else "yellow"
