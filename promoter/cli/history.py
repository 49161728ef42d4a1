"""`promoter history` and `promoter state`: who held an alias when, as the ledger knows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.history import AliasAt, AliasBetween, RegistryAt, describe_overrides, require_known_alias
from promoter.application.markdown.report import (
    Cell,
    DecisionTree,
    Facts,
    MarkdownOnly,
    Notes,
    Paragraph,
    Part,
    StyledText,
    Table,
    TerminalOnly,
    Title,
)
from promoter.cli import render
from promoter.cli.common import FormatOption, OutputFormat, build_container, parse_alias_argument, print_json
from promoter.cli.completion import complete_alias_names, complete_models
from promoter.domain.audit import AuditRecord, RecordKind
from promoter.domain.decision import Decision
from promoter.domain.fields import format_utc, format_utc_window
from promoter.domain.history import AliasSpan, Certainty
from promoter.domain.review import describe_origin
from promoter.domain.text import format_count, version_label

if TYPE_CHECKING:
    from promoter.container import Container


def history(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS", autocompletion=complete_alias_names)],
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Who held it then, and what put it there.")] = None,
    between: Annotated[
        tuple[str, str] | None, typer.Option(metavar="FROM TO", help="Who held it from the one time up to the other.")
    ] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show who held the alias when, and why, as the ledger knows it.

    A TIME is `now`, `10:00`, `yesterday 14:05` (in this machine's zone), `30d`, `3 days ago`, a day (its beginning in UTC), or
    any ISO 8601 with its zone. Answers are in UTC.

    Exit code 0: there is an answer, 1: the ledger has no record of the alias.

    Examples: promoter history fraud-detector@champion; promoter history fraud-detector@champion --at "yesterday 14:05";
    promoter history fraud-detector@champion --between 2026-10-01 2026-11-01
    """
    model, alias = parse_alias_argument(what)
    if at is not None and between is not None:
        raise typer.BadParameter("--at goes without --between", param_hint="--at")
    container = build_container()
    require_known_alias(container.existing_ledger, model, alias)
    if at is not None:
        _print_alias_at(container, model, alias, _parse_time_option(at, container.clock.now(), "--at"), output)
    elif between is not None:
        _print_alias_between(container, model, alias, between, output)
    else:
        _print_alias_history(container, model, alias, output)


def state(
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Such as `now`, `yesterday 14:05`, `30d`, a day, or ISO 8601 with its zone.")
    ],
    model: Annotated[str | None, typer.Option(help="Only this model.", autocompletion=complete_models)] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show where every alias of the registry stood at a time, as the ledger knows it.

    Example: promoter state --at 2026-10-03T14:05Z
    """
    from promoter.application.history import find_registry_at

    container = build_container()
    now = container.clock.now()
    found = find_registry_at(
        container.existing_ledger, _parse_time_option(at, now, "--at"), now, None if model is None else [model]
    )
    if output is OutputFormat.JSON:
        from promoter.application.responses.registry import RegistryAtResponse

        print_json(RegistryAtResponse.from_value(found))
    else:
        render.print_report(output, build_registry_at_report(found))


def _print_alias_at(container: Container, model: str, alias: str, at: datetime, output: OutputFormat) -> None:
    from promoter.application.history import find_alias_at

    found = find_alias_at(container.existing_ledger, model, alias, at, container.clock.now())
    if output is OutputFormat.JSON:
        from promoter.application.responses.registry import AliasAtResponse

        print_json(AliasAtResponse.from_value(found))
    else:
        render.print_report(output, build_alias_at_report(found))


def _print_alias_between(container: Container, model: str, alias: str, between: tuple[str, str], output: OutputFormat) -> None:
    from promoter.application.history import find_alias_between
    from promoter.domain.fields import parse_time_window

    now = container.clock.now()
    try:
        begin, end = parse_time_window(*between, now, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--between") from None
    found = find_alias_between(container.existing_ledger, model, alias, begin, end, now)
    if output is OutputFormat.JSON:
        from promoter.application.responses.registry import AliasBetweenResponse

        print_json(AliasBetweenResponse.from_value(found))
    else:
        render.print_report(output, build_alias_between_report(found))


def _print_alias_history(container: Container, model: str, alias: str, output: OutputFormat) -> None:
    from promoter.application import status

    ledger = container.existing_ledger
    spans = status.load_alias_history(ledger, model, alias)
    notes = describe_overrides(ledger, model, alias, container.clock.now())
    if output is OutputFormat.JSON:
        from promoter.application.responses.registry import AliasHistoryResponse

        print_json(AliasHistoryResponse.from_values(model=model, alias=alias, spans=spans, notes=list(notes) or None))
    else:
        render.print_report(output, [*_build_spans_parts(spans), *([Notes(notes)] if notes else [])])


def _parse_time_option(text: str, now: datetime, option: str) -> datetime:
    from promoter.domain.fields import parse_past_moment

    try:
        return parse_past_moment(text, now, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


_COLUMNS = ("model@alias", "version", "since", "by", "commit", "record")
_NARROW_COLUMN_COUNT = 5
"""The number of columns that fit into 80 characters."""


def build_alias_at_report(found: AliasAt) -> Iterator[Part]:
    """Report who held the alias, what put it there, and the decision behind that."""
    at, record = found.state, found.placing_record
    held = StyledText(at.version_text, f"bold {_certainty_style(at.known)}")
    yield Title(f"{found.model}@{found.alias} at {format_utc(at.at)}: ", held)
    yield Notes(found.notes)
    if record is None:
        return
    yield TerminalOnly()
    yield Facts(_list_record_facts(found, record), joined=True)
    yield TerminalOnly()
    if found.decision:
        yield DecisionTree(Decision.from_json(found.decision.tree))
    else:
        yield Paragraph(_explain_missing_decision(record))


def _list_record_facts(found: AliasAt, record: AuditRecord) -> Iterator[tuple[str, str]]:
    """List what is known of the record that put the version there (if that is uncertain: the version that may have left)."""
    fact, span = record.fact, found.state.span
    yield "version", f"{version_label(fact.to_version)}, after {version_label(fact.from_version)}"
    yield "since", _describe_record_time(record)
    yield "until", format_utc(span.until) if span and span.until else "now"
    if found.state.doubt:
        ending = found.state.doubt.record
        yield "next", f"{version_label(ending.fact.to_version)}: record {ending.id}, {ending.status_label}"
    yield "by", fact.actor or "unknown"
    yield "why", fact.reason or "no reason given"
    yield "commit", fact.revision or "none is known"
    yield "review", describe_origin(fact.review) or "none is known"
    if fact.policy:
        digest = found.decision.tree["policy_digest"] if found.decision else None
        file = f" (file {digest[:12]})" if digest else ""
        yield "policy", f"{fact.policy}{file}: {fact.verdict}"
    decided = f", decision {record.decision}" if record.decision else ""
    yield "record", f"{record.id}, {record.status_label}{decided}"
    if record.hash:
        yield "hash", record.hash


def _describe_record_time(record: AuditRecord) -> str:
    """Describe the moment, and how exactly the moment of an observed move is known."""
    fact = record.fact
    if fact.kind is not RecordKind.OBSERVED:
        return format_utc(fact.at)
    if fact.not_before:
        earliest, latest = format_utc_window(fact.not_before, fact.at)
        return f"{latest} at the latest, {earliest} at the earliest"
    return f"{format_utc(fact.at)}, when it was seen: since when it was there is not recorded"


def _explain_missing_decision(record: AuditRecord) -> str:
    if record.fact.kind is RecordKind.OBSERVED:
        return "No decision is behind it: nobody asked Promoter."
    return "No decision is behind it: no policy gates the alias, or git had said so before."


def build_alias_between_report(found: AliasBetween) -> Iterator[Part]:
    """Report the spans that touch the time, each from its beginning to its end, and what is not known."""
    yield Title(f"{found.model}@{found.alias} from {format_utc(found.period.begin)} to {format_utc(found.period.end)}")
    yield Notes(found.notes)
    if found.period.spans:
        yield TerminalOnly()
        yield from _build_spans_parts(found.period.spans)


def _build_spans_parts(spans: Sequence[AliasSpan]) -> Iterator[Part]:
    """Report who held an alias when, oldest first. Markdown has commits and people in full."""
    rows = [
        [version_label(s.version), format_utc(s.since) if s.since else "unknown",
         format_utc(s.until) if s.until else "now", s.actor or "unknown", s.revision or "-",
         describe_origin(s.review) or "-"]
        for s in spans
    ]  # fmt: skip
    yield MarkdownOnly(Table(["version", "since", "until", "actor", "revision", "review"], rows))
    yield TerminalOnly([render.build_spans_table(spans)])


def build_registry_at_report(found: RegistryAt) -> Iterator[Part]:
    """Report each alias on a line, and below them what is not known."""
    yield Title(_registry_at_title(found))
    yield Notes(found.notes)
    if not found.aliases:
        return
    rows = [_build_alias_row(each) for each in found.aliases]
    narrow = Table(_COLUMNS[:_NARROW_COLUMN_COUNT], [row[:_NARROW_COLUMN_COUNT] for row in rows])
    doubts = _list_uncertain_aliases(found)
    yield TerminalOnly()
    yield Table(_COLUMNS, rows, narrow)
    if doubts:
        yield TerminalOnly()
    yield Notes(doubts)


def _registry_at_title(found: RegistryAt) -> str:
    count = len(found.aliases)
    known = format_count(count, "alias", "aliases") if count else "the ledger knows of no alias"
    return f"The registry at {format_utc(found.at)}: {known}"


def _build_alias_row(found: AliasAt) -> tuple[Cell, ...]:
    """Write which version the alias had, and since when, by whom, by which commit and record."""
    name = f"{found.model}@{found.alias}"
    version = StyledText(found.state.version_text, _certainty_style(found.state.known))
    if found.placing_record is None:
        return name, version, "-", "-", "-", "-"
    fact = found.placing_record.fact
    actor = (fact.actor or "unknown").partition(" <")[0]
    return name, version, f"{fact.at:%Y-%m-%d %H:%M}", actor, (fact.revision or "-")[:10], str(found.placing_record.id)


def _list_uncertain_aliases(found: RegistryAt) -> list[str]:
    """List the aliases that may have had several versions, and why others are unknown."""
    lines = [f"{each.model}@{each.alias}: {note}" for each in found.aliases if each.state.doubt for note in each.notes]
    unknown = sum(each.state.known is Certainty.NO for each in found.aliases)
    ending = ["unknown: before the first record of the alias; `promoter history MODEL@ALIAS` says when that was"]
    return lines + (ending if unknown else [])


def _certainty_style(known: Certainty) -> str:
    return "green" if known is Certainty.YES else "yellow"
