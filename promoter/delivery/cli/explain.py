"""`promoter explain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, declared, split_alias, tell_json, world

if TYPE_CHECKING:
    from promoter.application.explain import Explanation

NOT_PASSED = 3


def explain(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS | MODEL/VERSION")],
    policy: Annotated[str | None, typer.Option(help="With MODEL/VERSION: the policy to judge it by.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show a decision as a tree: each rule, the value seen against what was expected. Exit code 0: pass, 3: not.

    Examples: promoter explain fraud-detector@champion; promoter explain fraud-detector/9 --policy champion
    """
    from promoter.application.explain import Explainer

    built = world()
    declaration = declared(built)
    explainer = Explainer(built.registry, built.reading_survey, built.clock)
    if "@" in what:
        if policy:
            raise typer.BadParameter("--policy goes with MODEL/VERSION")
        found = explainer.alias(declaration, *split_alias(what))
    else:
        model, _, number = what.rpartition("/")
        if not model or not number.isascii() or not number.isdigit() or policy is None:
            raise typer.BadParameter("give MODEL@ALIAS, or MODEL/VERSION with --policy NAME")
        found = explainer.version(declaration, model, int(number), policy)
    _tell(found, output)
    if found.decision is not None and found.decision.verdict.value != "pass":
        raise typer.Exit(NOT_PASSED)


def _tell(found: Explanation, output: Format) -> None:
    from promoter.delivery.cli import render

    if output is Format.JSON:
        empty: dict[str, Any] = {"model": None, "alias": None, "version": None, "policy": None, "verdict": None, "rules": []}
        others = [{"version": each.version, "verdict": each.verdict.value, "summary": each.summary} for each in found.others]
        decision = found.decision.as_json() if found.decision else empty
        tell_json({**decision, "subject": found.subject, "notes": list(found.notes), "others": others})
    elif output is Format.MARKDOWN:
        lines = render.decision_markdown(found.decision) if found.decision else []
        lines = [f"**{found.subject}**", "", *(f"- {note}" for note in found.notes), "", *lines]
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        screen = console()
        screen.print(found.subject, style="bold", markup=False)
        for note in found.notes:
            screen.print(f"  {note}", markup=False)
        if found.decision:
            screen.print(render.decision_tree(found.decision))
        for other in found.others[:20]:
            screen.print(f"also v{other.version}: {other.verdict.value}: {other.summary}", markup=False)
