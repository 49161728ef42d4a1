"""`promoter rollback`, `hold`, `release` and `quarantine`: what a person does to an alias by a commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import Notes, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, parse_alias_argument, print_json, show_progress
from promoter.cli.completion import complete_alias_names, complete_versions
from promoter.cli.render import print_report
from promoter.domain.text import escape_invisible

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from promoter.container import Container
    from promoter.domain.proposal import ProposalReason
    from promoter.domain.rollback import RollbackResult


NOT_DONE = 1
AliasArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL@ALIAS", help="Such as fraud-detector@champion.", autocompletion=complete_alias_names),
]
_NAME_OPTION = "--by"
RequesterOption = Annotated[
    str | None, typer.Option(_NAME_OPTION, "--as", metavar="NAME", help="Who asks for it; left out, git's user.name.")
]

LiftOption = Annotated[bool, typer.Option("--lift", help="Take it back.")]
DurationOption = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="How long such an override lasts, from now: 24h if left out, up to 7d."),
]
UncheckedOption = Annotated[
    bool,
    typer.Option(
        "--without-artifact-check", help="With --to: the version served before, and returns whatever became of its artifact."
    ),
]

ReturningOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="The version that returns; left out, the last good one.", autocompletion=complete_versions
    ),
]


def rollback(  # noqa: PLR0913, PLR0917  # one for each option
    what: AliasArgument,
    reason: Annotated[str, typer.Option(help="Why: it stands in the hold, in the commit and in the ledger.")],
    to: ReturningOption = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Move the alias at once; where git cannot be had, under a recorded, expiring override."),
    ] = False,
    lasts: DurationOption = None,
    unchecked: UncheckedOption = False,
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Put an earlier version back: with a hold, and with what it replaces in quarantine.

    A commit to PROMOTER_BRANCH of PROMOTER_REPO; a pull request where the branch takes no pushes. With --now the alias moves
    before anybody reviews that. To run it again is safe.

    A version that served and is not ready any more, such as one without an MLmodel file, returns only where it is named, with
    --without-artifact-check: git states that, and the ledger records who asked for it and why.

    PROMOTER_DATABASE_URL must be the daemon's: the ledger knows who held the alias, and the records of this go into it.

    Exit code 0: done, 1: refused, or something is left to do, which the output says.

    Example: promoter rollback fraud-detector@champion --reason "bad recall on card-not-present" --now
    """
    from promoter.domain.rollback import RollbackRequest

    model, alias = parse_alias_argument(what)
    lasting = _parse_override_duration(lasts) if lasts is not None else None
    with show_progress(f"rolling back {what}") as report_step:
        container = _build_git_container(report_step)
        asked = RollbackRequest(model, alias, reason, find_requester_name(by), to, now, lasting, unchecked)
        result = container.alias_rollback(asked)
    _print_rollback_result(result, output)


def release(
    what: AliasArgument,
    by: RequesterOption = None,
    reason: Annotated[str | None, typer.Option(help="Why: it stands in the commit.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Lift the hold of an alias, so that rotation may move it again. What is in quarantine stays there.

    A commit to PROMOTER_BRANCH of PROMOTER_REPO; a pull request where the branch takes no pushes.

    Exit code 0: done, 1: refused (nothing holds it, or an override is not decided yet), or something is left to do.

    Example: promoter release fraud-detector@champion --reason "v9 is fixed by v10"
    """
    from promoter.domain.proposal import ProposalReason

    _write_hold(ProposalReason.RELEASE, what, by, reason, output)


def hold(  # one for each option
    what: AliasArgument,
    reason: Annotated[str | None, typer.Option(help="Why: it stands in the hold, in the commit and in the ledger.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it ends: `24h` or `7d` from now, a day, or ISO 8601 with its zone."),
    ] = None,
    lift: LiftOption = False,
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Keep rotation and guards away from an alias, until a time or until a person lifts the hold. Nothing moves.

    A commit to PROMOTER_BRANCH of PROMOTER_REPO; a pull request where the branch takes no pushes. To run it again is safe. A
    later commit still moves the alias. With --lift it is what `promoter release` is.

    Exit code 0: done, or held already, 1: refused, or something is left to do, which the output says.

    Examples: promoter hold fraud-detector@champion --reason "audit until Friday" --until 72h; promoter hold
    fraud-detector@champion --lift
    """
    from promoter.domain.proposal import ProposalReason

    if lift and until is not None:
        raise typer.BadParameter("--until goes without --lift", param_hint="--until")
    act = ProposalReason.RELEASE if lift else ProposalReason.HOLD
    _write_hold(act, what, by, _require_reason(reason, lift=lift), output, until=until)


def quarantine(  # one for each option
    what: AliasArgument,
    version: Annotated[
        int | None,
        typer.Argument(min=1, metavar="N", show_default=False, help="The version.", autocompletion=complete_versions),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why: it stands in the commit and in the ledger.")] = None,
    lift: LiftOption = False,
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Keep a version away from an alias: rotation never proposes it, and no rollback or guard returns to it. Nothing moves.

    A commit to PROMOTER_BRANCH of PROMOTER_REPO; a pull request where the branch takes no pushes. To run it again is safe. A
    version that holds the alias stays there: `promoter rollback` puts an earlier one back.

    Exit code 0: done, or in quarantine already, 1: refused, or something is left to do, which the output says.

    Examples: promoter quarantine fraud-detector@champion 9 --reason "trained on leaked labels"; promoter quarantine
    fraud-detector@champion 9 --lift
    """
    from promoter.domain.proposal import ProposalReason

    if version is None:
        raise typer.BadParameter(_explain_missing_version(what))
    act = ProposalReason.LIFT_QUARANTINE if lift else ProposalReason.QUARANTINE
    _write_hold(act, what, by, reason, output, version=version)


def _explain_missing_version(what: str) -> str:
    """Return what to write in the place of an alias alone, or of MODEL/VERSION: a version is kept away from one alias."""
    model, found, number = what.rpartition("/")
    if found and "@" not in what and number.isascii() and number.isdigit():
        return f"`{what}` names no alias, and a quarantine is one of an alias: write `{model}@champion {number}`"
    return "it needs the version, such as fraud-detector@champion 9"


def _require_reason(reason: str | None, *, lift: bool) -> str | None:
    if reason is None and not lift:
        raise typer.BadParameter("it needs a reason: --reason TEXT", param_hint="--reason")
    return reason


def _write_hold(  # what the command line has
    act: ProposalReason,
    what: str,
    by: str | None,
    reason: str | None,
    output: OutputFormat,
    *,
    version: int | None = None,
    until: str | None = None,
) -> None:
    from promoter.domain.rollback import HoldRequest

    model, alias = parse_alias_argument(what)
    with show_progress(f"{act.value} of {what}") as report_step:
        container = _build_git_container(report_step)
        end = _parse_hold_end(until, container.clock.now()) if until is not None else None
        asked = HoldRequest(act, model, alias, find_requester_name(by), reason, version, end)
        result = container.hold_writer(asked)
    _print_rollback_result(result, output)


def _parse_hold_end(text: str, now: datetime) -> datetime:
    """Return a time to come: so long from now, a day (its beginning in UTC), or ISO 8601 with its zone."""
    from promoter.domain.fields import parse_duration, parse_moment

    try:
        return (now + parse_duration(text)).replace(microsecond=0)
    except ValueError:
        pass
    try:
        return parse_moment(text, now, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--until") from None


def _build_git_container(report_step: Callable[[str], None]) -> Container:
    container = build_container(report_step=report_step)
    container.require_settings("mlflow_tracking_uri", "repo")
    container.require_ledger()
    return container


def _parse_override_duration(text: str) -> timedelta:
    from promoter.domain.fields import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"--for: {error}") from None


def find_requester_name(given: str | None) -> str:
    """Find out who runs this: the name that was given, else git's `user.name`.

    Raises `PermanentError` where git has none, since a login may be anybody's, and for a name that is no person's. A name that
    was given and is empty, as from a variable that is not set, is never replaced by git's.
    """
    from pathlib import Path

    from promoter.adapters.git.checkout import WorkTree
    from promoter.domain.errors import PermanentError
    from promoter.domain.rollback import parse_person

    name = WorkTree(Path()).find_user_name() if given is None else given.strip()
    if name is None:
        raise PermanentError(_NAME_OPTION, "it is not known who asks for this: git has no `user.name` here", "give --by NAME")
    if not name:
        raise PermanentError(_NAME_OPTION, "the name is empty", "give --by NAME")
    return parse_person(name, _NAME_OPTION)


def _print_rollback_result(done: RollbackResult, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import RollbackResponse

        print_json(RollbackResponse.from_value(done))
    else:
        title = Title(done.title_line, style="bold" if done.done else "bold red")
        messages = map(escape_invisible, done.messages)
        print_report(output, [title, Notes(messages, prefix=" - ", style="")])
    if not done.done:
        raise typer.Exit(NOT_DONE)
