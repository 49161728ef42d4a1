"""`promoter audit prune`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.delivery.cli.common import Format, FormatOption, tell_json, world
from promoter.delivery.cli.rollback import By, person

if TYPE_CHECKING:
    from datetime import timedelta


def prune(
    older_than: Annotated[str, typer.Option(metavar="TIME", help="Such as 400d: what is younger is kept. A day at least.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, only tell what would go.")] = False,
    by: By = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Drop the evidence behind old decisions. Every entry of the ledger stays, and so do the digests: the chain still verifies.

    Policies' and approvers' texts stay. What is dropped cannot be had back: `audit rerun` says so of these decisions, and
    `replay` judges with what is left. The ledger records that it was done, when and by whom.

    On PostgreSQL this takes a role that may delete from `contents`, which the daemon's need not and should not.

    Exit code 0: done, or told; 1: refused.

    Example: promoter audit prune --older-than 400d --yes
    """
    from promoter.domain.moment import in_utc

    built = world()
    at = built.clock.now()
    before = at - _age(older_than)
    count = built.ledger.drop_evidence(before, by or person(), at) if yes else built.kept.old_evidence(before)
    told: dict[str, Any] = {"before": before.isoformat(), "pieces": count, "dropped": yes}
    if output is Format.JSON:
        tell_json(told)
        return
    pieces = f"{count} piece{'' if count == 1 else 's'} of evidence from before {in_utc(before)}"
    if yes:
        sys.stdout.write(f"Dropped {pieces}. Their digests stay.\n")
    else:
        sys.stdout.write(f"Would drop {pieces}; nothing is changed. Say --yes to do it.\n")


def _age(text: str) -> timedelta:
    from promoter.domain.duration import in_words, parse_duration
    from promoter.domain.ledger.retention import YOUNGEST

    try:
        age = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    if age < YOUNGEST:
        raise typer.BadParameter(f"what is younger than {in_words(YOUNGEST)} is always kept", param_hint="--older-than")
    return age
