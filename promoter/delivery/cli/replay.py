"""`promoter replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import (
    OutputFormat,
    FormatOption,
    create_console,
    load_declaration,
    print_json,
    build_container,
)

if TYPE_CHECKING:
    from datetime import datetime

    from promoter.domain.replay.report import ReplayReport


def replay(
    policy: Annotated[str, typer.Option(help="The policy to replay: a file of the working tree, committed or not.")],
    since: Annotated[str, typer.Option(help="From when on: 2026-11-01, 2026-11-01T08:00:00Z, 30d, or `3 days ago`.")],
    model: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Registered models by name, instead of those that the policy gates.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="The alias, instead of the one that names the policy, or champion.")] = None,
    compare: Annotated[str | None, typer.Option(metavar="OTHER", help="A second policy to replay beside it.")] = None,
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
    from promoter.domain.moment import parse_past_moment

    try:
        return parse_past_moment(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _write_chart_file(report: ReplayReport, file: Path) -> None:
    from promoter.domain.faults import PermanentError
    from promoter.domain.replay.picture import render_replay_chart

    try:
        file.write_text(render_replay_chart(report), encoding="utf-8")
    except OSError as error:
        raise PermanentError("files", f"{file}: cannot be written: {error.strerror or 'no reason given'}") from None


def _print_replay_report(report: ReplayReport, output: OutputFormat) -> None:
    from promoter.delivery.cli import replay_report
    from promoter.domain.replay.notes import list_replay_notes

    if output is OutputFormat.JSON:
        print_json({**report.to_json(), "notes": list_replay_notes(report)})
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(replay_report.render_replay_markdown(report))
    else:
        replay_report.render_replay_text(create_console(), report)
