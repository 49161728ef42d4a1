"""How a replay looks: tables for people, Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from promoter.application.markdown.text import cell, version
from promoter.application.markdown.text import table as markdown_table
from promoter.delivery.cli.render import WIDE, table
from promoter.domain.replay.memory import Basis, Source
from promoter.domain.replay.notes import evidence_told, notes
from promoter.domain.replay.promotions import Promotion
from promoter.domain.replay.report import ModelReplay, Replayed, Report
from promoter.domain.replay.simulate import SimulatedSpan
from promoter.domain.verdict import visible

ROWS = 200
"""So many spans are shown, and so many blocked promotions: the newest. JSON has all."""
_LEAST = 3


@dataclass(frozen=True)
class Section:
    """A table under a heading, and what it leaves out, in words."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: str = ""


def text(console: Console, report: Report) -> None:
    """The whole report, in two lines a span where the terminal is narrow."""
    console.print(Text(_headline(report), style="bold"))
    console.print(Text(evidence_told(report)))
    for section in _sections(report, narrow=console.width < WIDE):
        console.print()
        console.print(Text(section.heading, style="bold"))
        if section.rows:
            console.print(table(section.columns, [[Text(_plain(each)) for each in row] for row in section.rows]))
        if section.more:
            console.print(Text(section.more, style="dim"))
    console.print()
    for note in notes(report):
        console.print(Text(f"Note: {_plain(note)}", style="dim"))


def markdown(report: Report) -> str:
    """The same for a pull request."""
    lines = [f"**{_headline(report)}**", "", evidence_told(report)]
    for section in _sections(report, narrow=False):
        lines += ["", f"### {cell(section.heading)}", ""]
        if section.rows:
            lines += markdown_table(section.columns, [[*map(cell, row)] for row in section.rows])
        lines += ["", section.more] if section.more else []
    lines += ["", *(f"- {cell(note)}" for note in notes(report))]
    return "\n".join(lines) + "\n"


def _headline(report: Report) -> str:
    names = " and ".join(lens.policy.name for lens in report.lenses)
    judged = {(model.model, each.version) for model, replayed in report.every() for each in replayed.simulation.judged}
    counts = f"{len(report.models)} alias{'es' if len(report.models) != 1 else ''}, {len(judged)} versions judged"
    return f"{names} replayed from {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC: {counts}."


def _sections(report: Report, *, narrow: bool) -> Iterator[Section]:
    yield _summary(report)
    shown = max(ROWS // max(sum(1 for _ in report.every()), 1), _LEAST)
    for model, replayed in report.every():
        if replayed.simulation.spans:
            yield _spans(model, replayed, shown, narrow=narrow)
    yield _blocked(report, narrow=narrow)
    yield _rules(report)


def _summary(report: Report) -> Section:
    rows = [
        (f"{model.model}@{model.alias}", version(model.held_now), each.policy, version(each.holder), str(each.moves),
         str(len(each.turned_down)), _how_many(model, each))
        for model, each in report.every()
    ]  # fmt: skip
    columns = ["MODEL@ALIAS", "NOW", "UNDER", "WOULD BE", "MOVES", "TURNED DOWN", "WOULD HAVE BLOCKED"]
    return Section("Who would hold the alias now", columns, rows)


def _how_many(model: ModelReplay, replayed: Replayed) -> str:
    if model.began is None:
        return "not known"
    return f"{len(replayed.blocked)} of {len(replayed.past.promotions)} promotions"


def _spans(model: ModelReplay, replayed: Replayed, shown: int, *, narrow: bool) -> Section:
    heading = f"{model.model}@{model.alias} under {replayed.policy}"
    spans = replayed.simulation.spans
    left = len(spans) - shown
    more = f"{left} earlier span{'s are' if left > 1 else ' is'} left out: --format json has them all." if left > 0 else ""
    if narrow:
        return Section(heading, ["VERSION", "SPAN"], [(version(s.version), _in_lines(s)) for s in spans[-shown:]], more)
    rows = [
        (version(s.version), f"{s.since:%Y-%m-%d %H:%M}", f"{s.until:%Y-%m-%d %H:%M}" if s.until else "now",
         version(s.replaced_by), _evidence(s), s.why)
        for s in spans[-shown:]
    ]  # fmt: skip
    return Section(heading, ["VERSION", "SINCE", "UNTIL", "REPLACED BY", "EVIDENCE", "WHY"], rows, more)


def _in_lines(span: SimulatedSpan) -> str:
    until = f"{span.until:%Y-%m-%d %H:%M}, then {version(span.replaced_by)}" if span.until else "now"
    evidence = f"\nevidence: {_evidence(span)}" if span.judged else ""
    return f"{span.since:%Y-%m-%d %H:%M} to {until}\n{span.why}{evidence}"


def _evidence(span: SimulatedSpan) -> str:
    return _source(span.judged.source) if span.judged else "-"


def _source(source: Source) -> str:
    if source.basis is Basis.LATER and source.as_of:
        return f"as of {source.as_of:%Y-%m-%d %H:%M}"
    return f"as of {source.basis.value}"


def _blocked(report: Report, *, narrow: bool) -> Section:
    heading = "Past promotions that it would have blocked"
    found = [(model, replayed, each) for model, replayed in report.every() for each in replayed.blocked]
    if all(model.began is None for model in report.models):
        return Section(heading, [], [], "Not known: the ledger knows no move of these aliases.")
    if not found:
        count = sum(len(model.replays[0].past.promotions) for model in report.models)
        return Section(heading, [], [], f"None of {count}." if count else "There were no promotions in that time.")
    found.sort(key=lambda row: row[2].at)
    more = f"The last {ROWS} of {len(found)} are shown: --format json has all." if len(found) > ROWS else ""
    rows = [_blocked_row(*row, narrow=narrow) for row in found[-ROWS:]]
    if narrow:
        return Section(heading, ["AT", "PROMOTION"], rows, more)
    return Section(
        heading, ["AT", "MODEL@ALIAS", "FROM", "TO", "BY", "UNDER", "EVIDENCE", "RULES THAT DID NOT PASS"], rows, more
    )


def _blocked_row(model: ModelReplay, replayed: Replayed, promotion: Promotion, *, narrow: bool) -> tuple[str, ...]:
    at, name = f"{promotion.at:%Y-%m-%d %H:%M}", f"{model.model}@{model.alias}"
    actor = "unknown" if promotion.actor is None else promotion.actor.partition(" <")[0]
    move = (version(promotion.from_version), version(promotion.to_version))
    summary, evidence = promotion.decision.summary, _source(promotion.source)
    if narrow:
        told = f"{name} {' -> '.join(move)} by {actor}, under {replayed.policy}:\n{summary}\nevidence: {evidence}"
        return at, told
    return at, name, *move, actor, replayed.policy, evidence, summary


def _rules(report: Report) -> Section:
    rows = [(row.policy, row.rule, *map(str, row.found)) for row in report.rules()]
    heading = "Versions turned down, by rule"
    if not rows:
        return Section(heading, [], [], "None.")
    return Section(heading, ["UNDER", "RULE", "FAIL", "PENDING", "ERROR"], rows)


def _plain(text: str) -> str:
    """Line by line, without what would steer a terminal: tags and names come from outside."""
    return "\n".join(map(visible, text.split("\n")))
