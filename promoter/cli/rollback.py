"""`promoter rollback` and `promoter release`: holds are made and lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import Notes, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, parse_alias_argument, print_json
from promoter.cli.render import print_report
from promoter.domain.text import escape_invisible

if TYPE_CHECKING:
    from datetime import timedelta

    from promoter.container import Container
    from promoter.domain.rollback import RollbackResult


NOT_DONE = 1
AliasArgument = Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="Such as fraud-detector@champion.")]
_NAME_OPTION = "--by"
RequesterOption = Annotated[
    str | None, typer.Option(_NAME_OPTION, "--as", metavar="NAME", help="Who asks for it; left out, git's user.name.")
]

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


def rollback(  # noqa: PLR0913, PLR0917  # one for each option
    what: AliasArgument,
    reason: Annotated[str, typer.Option(help="Why: it stands in the hold, in the commit and in the ledger.")],
    to: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The version that returns; left out, the last good one.")
    ] = None,
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
    container = _build_git_container()
    asked = RollbackRequest(model, alias, reason, find_requester_name(by), to, now, lasting, unchecked)
    _print_rollback_result(container.alias_rollback(asked), output)


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
    model, alias = parse_alias_argument(what)
    container = _build_git_container()
    _print_rollback_result(container.hold_release(model, alias, find_requester_name(by), reason), output)


def _build_git_container() -> Container:
    container = build_container()
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
