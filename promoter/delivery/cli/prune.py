"""`promoter audit prune`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.delivery.cli.common import OutputFormat, FormatOption, print_json, build_container
from promoter.delivery.cli.rollback import RequesterOption, find_requester_name

if TYPE_CHECKING:
    from datetime import timedelta


def prune(
    older_than: Annotated[str, typer.Option(metavar="TIME", help="Such as 400d: what is younger is kept. A day at least.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, only tell what would go.")] = False,
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Drop the evidence behind old decisions. Every entry of the ledger stays, and so do the digests: the chain still verifies.

    Policies' and approvers' texts stay. What is dropped cannot be had back: `audit rerun` says so of these decisions, and
    `replay` judges with what is left. The ledger records that it was done, when and by whom.

    On PostgreSQL this takes a role that may delete from `contents`, which the daemon's need not and should not.

    Exit code 0: done, or told; 1: refused.

    Example: promoter audit prune --older-than 400d --yes
    """
    from promoter.domain.moment import format_utc

    container = build_container()
    at = container.clock.now()
    before = at - _parse_minimum_age(older_than)
    count = (
        container.ledger.drop_evidence_before(before, by or find_requester_name(), at)
        if yes
        else container.existing_ledger.count_evidence_before(before)
    )
    fields: dict[str, Any] = {"before": before.isoformat(), "pieces": count, "dropped": yes}
    if output is OutputFormat.JSON:
        print_json(fields)
        return
    pieces = f"{count} piece{'' if count == 1 else 's'} of evidence from before {format_utc(before)}"
    if yes:
        sys.stdout.write(f"Dropped {pieces}. Their digests stay.\n")
    else:
        sys.stdout.write(f"Would drop {pieces}; nothing is changed. Say --yes to do it.\n")


def _parse_minimum_age(text: str) -> timedelta:
    from promoter.domain.duration import format_duration, parse_duration
    from promoter.domain.ledger.retention import YOUNGEST_DROPPABLE

    try:
        age = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    if age < YOUNGEST_DROPPABLE:
        raise typer.BadParameter(
            f"what is younger than {format_duration(YOUNGEST_DROPPABLE)} is always kept", param_hint="--older-than"
        )
    return age
