"""`promoter rollback` and `promoter release`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, split_alias, tell_json, world

if TYPE_CHECKING:
    from datetime import timedelta

    from promoter.application.proposals.into_git import Opened
    from promoter.application.rollback import Rooms
    from promoter.bootstrap import World
    from promoter.domain.proposal import Proposal
    from promoter.domain.rollback import Done

NOT_DONE = 1
What = Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="Such as fraud-detector@champion.")]
By = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Who asks for it: git's user.name, unless told otherwise.")
]


def rollback(
    what: What,
    reason: Annotated[str, typer.Option(help="Why: it stands in the hold, in the commit and in the ledger.")],
    to: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The version that returns: the last good one, unless told otherwise.")
    ] = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Move the alias at once; where git cannot be had, under a recorded, expiring override."),
    ] = False,
    lasts: Annotated[str, typer.Option("--for", metavar="TIME", help="How long such an override lasts: up to 7d.")] = "24h",
    by: By = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Put an earlier version back: with a hold, and with what it replaces in quarantine.

    A commit to PROMOTER_BRANCH of PROMOTER_REPO; a pull request where the branch takes no pushes. With --now the alias moves
    before anybody reviews that. To run it again is safe.

    PROMOTER_DATABASE_URL must be the daemon's: the ledger knows who held the alias, and the records of this go into it.

    Exit code 0: done, 1: refused, or something is left to do, which is told.

    Example: promoter rollback fraud-detector@champion --reason "bad recall on card-not-present" --now
    """
    from promoter.application.rollback import Rollback
    from promoter.domain.rollback import Asked

    model, alias = split_alias(what)
    lasting = _lasting(lasts)
    built = _world()
    _tell(Rollback(_rooms(built))(Asked(model, alias, reason, by or person(), to, now, lasting)), output)


def release(
    what: What,
    by: By = None,
    reason: Annotated[str | None, typer.Option(help="Why: it stands in the commit.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Lift the hold of an alias, so that rotation may move it again. What is in quarantine stays there.

    A commit to PROMOTER_BRANCH of PROMOTER_REPO; a pull request where the branch takes no pushes.

    Exit code 0: done, 1: refused (nothing holds it, or an override is not decided yet), or something is left to do.

    Example: promoter release fraud-detector@champion --reason "v9 is fixed by v10"
    """
    from promoter.application.release import Release

    model, alias = split_alias(what)
    built = _world()
    _tell(Release(_rooms(built))(model, alias, by or person(), reason), output)


def _world() -> World:
    built = world()
    built.require("mlflow_tracking_uri", "repo")
    return built


def _lasting(text: str) -> timedelta:
    from promoter.domain.duration import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"--for: {error}") from None


def person() -> str:
    """Who runs this: git's `user.name`, else the name of the login."""
    import getpass
    from pathlib import Path

    from promoter.adapters.git.worktree import WorkTree
    from promoter.domain.faults import Refused

    try:
        return WorkTree(Path()).person() or getpass.getuser()
    except (OSError, KeyError):  # a login without a name
        raise Refused("rollback", "nobody knows who asks for it", "give --as NAME") from None


def _rooms(built: World) -> Rooms:
    from dataclasses import replace

    from promoter.application.proposals.into_git import BranchOpener, IntoGit
    from promoter.application.rollback import Rooms

    push = BranchOpener(built.repository, built.documents)

    def opened(proposal: Proposal) -> Opened:
        """The forge is asked for when it is needed: settings of it that are wrong must not keep an alias from moving."""
        from promoter.application.proposals.opener import ProposalOpener
        from promoter.domain.faults import Faults, OutsideError

        try:
            proposals = built.proposals
        except (Faults, OutsideError) as error:
            return replace(push(proposal), told=f"the forge cannot be used: {error}", done=False)
        return (ProposalOpener(push, proposals) if proposals else push)(proposal)

    into_git = IntoGit(built.repository, built.documents, built.revisions)
    return Rooms(built.registry, built.ledger, built.clock, built.locks, built.revisions, built.looker, into_git, opened)


def _tell(done: Done, output: Format) -> None:
    if output is Format.JSON:
        tell_json(done.as_json())
    elif output is Format.MARKDOWN:
        from promoter.application.markdown.text import inline

        lines = [f"**{inline(done.title)}**", "", *(f"- {inline(each)}" for each in done.told)]
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        _text(done)
    if not done.done:
        raise typer.Exit(NOT_DONE)


def _text(done: Done) -> None:
    from rich.table import Table
    from rich.text import Text

    from promoter.domain.verdict import visible

    screen = console()
    screen.print(Text(done.title, style="bold" if done.done else "bold red"))
    story = Table.grid(padding=(0, 1))
    for each in done.told:
        story.add_row(" -", Text(visible(each), overflow="fold"))
    screen.print(story)
