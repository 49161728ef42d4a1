"""`promoter replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, declared, tell_json, world

if TYPE_CHECKING:
    from datetime import datetime

    from promoter.domain.replay.report import Report


def replay(
    policy: Annotated[str, typer.Option(help="The policy to replay: a file of the working tree, committed or not.")],
    since: Annotated[str, typer.Option(help="From when on: 2026-11-01, 2026-11-01T08:00:00Z, 30d, or `3 days ago`.")],
    model: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Registered models by name, instead of those that the policy gates.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="The alias, instead of the one that names the policy, or champion.")] = None,
    compare: Annotated[str | None, typer.Option(metavar="OTHER", help="A second policy to replay beside it.")] = None,
    output: FormatOption = Format.TEXT,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", dir_okay=False, help="Also draw who held the alias when.")
    ] = None,
) -> None:
    """Replay the registry's past under a policy: who would have held the alias when, and what would have been blocked.

    Versions are judged on what the ledger knew of them at the time, else on what MLflow says now; the output says which.
    Changes nothing. Exit code 0, 1: error.

    Example: promoter replay --policy champion --since 30d --compare stricter --picture replay.svg
    """
    from promoter.application.replay import Replayer, Request

    built = world()
    request = Request(policy, _since(since, built.clock.now()), compare, model, alias)
    declaration = declared(built)
    if picture is not None and not picture.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {picture.parent}", param_hint="--picture")
    with console(stderr=True).status("Reading") as status:
        report = Replayer(built.registry, built.past, built.clock, status.update)(declaration, request)
    if picture is not None:
        _draw(report, picture)
    _tell(report, output)


def _since(text: str, now: datetime) -> datetime:
    from promoter.domain.moment import parse_since

    try:
        return parse_since(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def _draw(report: Report, file: Path) -> None:
    from promoter.domain.faults import Refused
    from promoter.domain.replay.picture import picture

    try:
        file.write_text(picture(report), encoding="utf-8")
    except OSError as error:
        raise Refused("files", f"{file}: cannot be written: {error.strerror or 'no reason given'}") from None


def _tell(report: Report, output: Format) -> None:
    from promoter.delivery.cli import replay_report
    from promoter.domain.replay.notes import notes

    if output is Format.JSON:
        tell_json({**report.as_json(), "notes": notes(report)})
    elif output is Format.MARKDOWN:
        sys.stdout.write(replay_report.markdown(report))
    else:
        replay_report.text(console(), report)
