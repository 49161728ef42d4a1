"""`promoter replay`: what a policy would have made of the registry's past."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.plan import table_cell
from promoter.application.markdown.report import Heading, Notes, Paragraph, Part, Table, TerminalOnly, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, create_console, load_declaration, print_json
from promoter.cli.completion import complete_aliases, complete_models, complete_policies
from promoter.cli.render import print_report
from promoter.domain.replay.as_of import EvidenceBasis, EvidenceSource
from promoter.domain.replay.report import ModelReplay, PolicyReplay, ReplayReport, describe_evidence_sources, list_replay_notes
from promoter.domain.replay.simulate import JudgedPromotion, SimulatedSpan
from promoter.domain.text import escape_lines, format_count, plural, version_label

if TYPE_CHECKING:
    from datetime import datetime

PolicyOption = Annotated[
    str,
    typer.Option(help="The policy to replay: a file of the working tree, committed or not.", autocompletion=complete_policies),
]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="GLOB",
        help="Registered models by name, instead of those that the policy gates.",
        autocompletion=complete_models,
    ),
]
ReplayedAliasOption = Annotated[
    str | None,
    typer.Option(help="The alias, instead of the one that names the policy, or champion.", autocompletion=complete_aliases),
]
CompareOption = Annotated[
    str | None, typer.Option(metavar="OTHER", help="A second policy to replay beside it.", autocompletion=complete_policies)
]


def replay(
    policy: PolicyOption,
    since: Annotated[
        str, typer.Option(help="From when on: 2026-11-01, 2026-11-01T08:00:00Z, 30d, `3 days ago`, `yesterday 14:05`.")
    ],
    model: ModelsOption = None,
    alias: ReplayedAliasOption = None,
    compare: CompareOption = None,
    output: FormatOption = OutputFormat.TEXT,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", dir_okay=False, help="Also draw who held the alias when.")
    ] = None,
) -> None:
    """Replay the registry's past under a policy: who would have held the alias when, and what would have been blocked.

    Versions are judged on what the ledger knew of them at the time, else on what MLflow says now; the output says which.
    Changes nothing. Exit code 0, 1: error.

    Example: promoter replay --policy champion --since 30d --compare stricter --picture replay.svg
    """
    from promoter.application.replay import PolicyReplayer, ReplayRequest

    container = build_container()
    request = ReplayRequest(policy, _parse_since_option(since, container.clock.now()), compare, model, alias)
    declaration = load_declaration(container)
    if picture is not None and not picture.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {picture.parent}", param_hint="--picture")
    with create_console(stderr=True).status("Reading") as status:
        report = PolicyReplayer(container.registry, container.reading_ledger, container.clock, status.update)(
            declaration, request
        )
    if picture is not None:
        _write_chart_file(report, picture)
    _print_replay_report(report, output)


def _parse_since_option(text: str, now: datetime) -> datetime:
    from promoter.domain.fields import parse_past_moment

    try:
        return parse_past_moment(text, now, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _write_chart_file(report: ReplayReport, file: Path) -> None:
    from promoter.domain.errors import PermanentError
    from promoter.domain.replay.chart import render_replay_chart

    try:
        file.write_text(render_replay_chart(report), encoding="utf-8")
    except OSError as error:
        raise PermanentError("files", f"{file}: cannot be written: {error.strerror or 'no reason given'}") from None


def _print_replay_report(report: ReplayReport, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.policies import ReplayResponse

        print_json(ReplayResponse.from_report(report))
    else:
        print_report(output, build_replay_report(report))


MAX_ROWS = 200
"""The number of spans, and of blocked promotions, that are shown: the newest. JSON has all."""
_MIN_SPAN_ROWS = 3
_NO_TABLE = Table((), ())


def build_replay_report(report: ReplayReport) -> Iterator[Part]:
    """Report what the policies would have done, in sections, and below them every assumption."""
    yield Title(_summarize_replay(report))
    yield Paragraph(describe_evidence_sources(report))
    yield from _build_summary_section(report)
    shown = max(MAX_ROWS // max(sum(1 for _ in report.list_all_replays()), 1), _MIN_SPAN_ROWS)
    for model, replayed in report.list_all_replays():
        if replayed.simulation.spans:
            yield from _build_spans_section(model, replayed, shown)
    yield from _build_blocked_section(report)
    yield from _build_rules_section(report)
    yield TerminalOnly()
    yield Notes(map(escape_lines, list_replay_notes(report)), prefix="Note: ", style="dim", escape=table_cell)


def _build_section(heading: str, table: Table, more: str = "") -> Iterator[Part]:
    """Put a table under a heading, and below it what it leaves out. Tags and names come from outside, and are escaped."""
    yield TerminalOnly()
    yield Heading(heading)
    yield _escape_table(table)
    if more:
        yield Paragraph(more, style="dim")


def _escape_table(table: Table) -> Table:
    rows = [[escape_lines(cell) for cell in row if isinstance(cell, str)] for row in table.rows]
    return Table(table.columns if rows else (), rows, _escape_table(table.narrow) if table.narrow else None)


def _summarize_replay(report: ReplayReport) -> str:
    names = " and ".join(lens.policy.name for lens in report.lenses)
    judged = {
        (model.model, each.version) for model, replayed in report.list_all_replays() for each in replayed.simulation.judged
    }
    counts = f"{format_count(len(report.models), 'alias', 'aliases')}, {len(judged)} versions judged"
    return f"{names} replayed from {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC: {counts}."


def _build_summary_section(report: ReplayReport) -> Iterator[Part]:
    rows = [
        (
            f"{model.model}@{model.alias}",
            version_label(model.held_now),
            each.policy_name,
            version_label(each.final_holder),
            str(each.move_count),
            str(len(each.rejected_versions)),
            _count_blocked_promotions(model, each),
        )
        for model, each in report.list_all_replays()
    ]
    columns = ["MODEL@ALIAS", "NOW", "UNDER", "WOULD BE", "MOVES", "TURNED DOWN", "WOULD HAVE BLOCKED"]
    return _build_section("Who would hold the alias now", Table(columns, rows))


def _count_blocked_promotions(model: ModelReplay, replayed: PolicyReplay) -> str:
    if model.began is None:
        return "not known"
    return f"{len(replayed.blocked_promotions)} of {len(replayed.past.promotions)} promotions"


def _build_spans_section(model: ModelReplay, replayed: PolicyReplay, shown: int) -> Iterator[Part]:
    spans = replayed.simulation.spans
    left = len(spans) - shown
    more = f"{left} earlier {plural(left, 'span is', 'spans are')} left out: --format json has them all." if left > 0 else ""
    rows = [
        (version_label(s.version), f"{s.since:%Y-%m-%d %H:%M}", f"{s.until:%Y-%m-%d %H:%M}" if s.until else "now",
         version_label(s.replaced_by), _describe_span_evidence(s), s.why)
        for s in spans[-shown:]
    ]  # fmt: skip
    narrow = Table(["VERSION", "SPAN"], [(version_label(s.version), _render_span_lines(s)) for s in spans[-shown:]])
    table = Table(["VERSION", "SINCE", "UNTIL", "REPLACED BY", "EVIDENCE", "WHY"], rows, narrow)
    return _build_section(f"{model.model}@{model.alias} under {replayed.policy_name}", table, more)


def _render_span_lines(span: SimulatedSpan) -> str:
    until = f"{span.until:%Y-%m-%d %H:%M}, then {version_label(span.replaced_by)}" if span.until else "now"
    evidence = f"\nevidence: {_describe_span_evidence(span)}" if span.judged else ""
    return f"{span.since:%Y-%m-%d %H:%M} to {until}\n{span.why}{evidence}"


def _describe_span_evidence(span: SimulatedSpan) -> str:
    return _describe_evidence_source(span.judged.source) if span.judged else "-"


def _describe_evidence_source(source: EvidenceSource) -> str:
    if source.basis is EvidenceBasis.LATER and source.as_of:
        return f"as of {source.as_of:%Y-%m-%d %H:%M}"
    return f"as of {source.basis.value}"


def _build_blocked_section(report: ReplayReport) -> Iterator[Part]:
    heading = "Past promotions that it would have blocked"
    found = [(model, replayed, each) for model, replayed in report.list_all_replays() for each in replayed.blocked_promotions]
    if all(model.began is None for model in report.models):
        return _build_section(heading, _NO_TABLE, "Not known: the ledger knows no move of these aliases.")
    if not found:
        count = sum(len(model.replays[0].past.promotions) for model in report.models)
        return _build_section(heading, _NO_TABLE, f"None of {count}." if count else "There were no promotions in that time.")
    found.sort(key=lambda row: row[2].at)
    more = f"The last {MAX_ROWS} of {len(found)} are shown: --format json has all." if len(found) > MAX_ROWS else ""
    rows = [_build_blocked_row(*row) for row in found[-MAX_ROWS:]]
    narrow = Table(["AT", "PROMOTION"], [_build_narrow_row(*row) for row in rows])
    columns = ["AT", "MODEL@ALIAS", "FROM", "TO", "BY", "UNDER", "EVIDENCE", "RULES THAT DID NOT PASS"]
    return _build_section(heading, Table(columns, rows, narrow), more)


def _build_blocked_row(
    model: ModelReplay, replayed: PolicyReplay, promotion: JudgedPromotion
) -> tuple[str, str, str, str, str, str, str, str]:
    at, name = f"{promotion.at:%Y-%m-%d %H:%M}", f"{model.model}@{model.alias}"
    actor = "unknown" if promotion.actor is None else promotion.actor.partition(" <")[0]
    move = (version_label(promotion.from_version), version_label(promotion.to_version))
    evidence = _describe_evidence_source(promotion.source)
    return at, name, *move, actor, replayed.policy_name, evidence, promotion.decision.summary_line


def _build_narrow_row(  # noqa: PLR0913, PLR0917  # a row's cells
    at: str, name: str, from_version: str, to_version: str, actor: str, policy: str, evidence: str, summary: str
) -> tuple[str, str]:
    return at, f"{name} {from_version} -> {to_version} by {actor}, under {policy}:\n{summary}\nevidence: {evidence}"


def _build_rules_section(report: ReplayReport) -> Iterator[Part]:
    rows = [(row.policy, row.rule, *map(str, row.found)) for row in report.count_rejecting_rules()]
    heading = "Versions turned down, by rule"
    if not rows:
        return _build_section(heading, _NO_TABLE, "None.")
    return _build_section(heading, Table(["UNDER", "RULE", "FAIL", "PENDING", "ERROR"], rows))
