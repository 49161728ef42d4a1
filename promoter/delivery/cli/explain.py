"""`promoter explain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, declared, split_alias, split_version, tell_json, world

if TYPE_CHECKING:
    from promoter.application.explain import Explanation

NOT_PASSED = 3


def explain(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS | MODEL/VERSION")],
    policy: Annotated[str | None, typer.Option(help="With MODEL/VERSION: the policy to judge it by.")] = None,
    alias: Annotated[str | None, typer.Option(help="With MODEL/VERSION: why that version does not hold this alias.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show a decision as a tree: each rule, the value seen against what was expected. Exit code 0: pass, 3: not.

    Examples: promoter explain fraud-detector@champion; promoter explain fraud-detector/9 --policy champion;
    promoter explain fraud-detector/8 --alias champion
    """
    from promoter.application.explain import Explainer

    built = world()
    declaration = declared(built)
    explainer = Explainer(built.registry, built.past, built.reading_survey, built.clock)
    if "@" in what:
        if policy or alias:
            raise typer.BadParameter("--policy and --alias go with MODEL/VERSION")
        found = explainer.alias(declaration, *split_alias(what))
    else:
        model, version = split_version(what)
        if (policy is None) == (alias is None):
            raise typer.BadParameter("MODEL/VERSION goes with either --policy NAME or --alias ALIAS")
        ask = explainer.version if policy else explainer.why_not
        found = ask(declaration, model, version, policy or alias or "")
    _tell(found, output)
    if found.decision is not None and found.decision.verdict.value != "pass":
        raise typer.Exit(NOT_PASSED)


def _tell(found: Explanation, output: Format) -> None:
    from promoter.application.markdown.decision import decision_markdown
    from promoter.delivery.cli import render

    if output is Format.JSON:
        empty: dict[str, Any] = {"model": None, "alias": None, "version": None, "policy": None, "verdict": None, "rules": []}
        others = [{"version": each.version, "verdict": each.verdict.value, "summary": each.summary} for each in found.others]
        decision = found.decision.as_json() if found.decision else empty
        guards = [each.as_json() for each in found.guards]
        tell_json({**decision, "subject": found.subject, "notes": list(found.notes), "others": others, "guards": guards})
    elif output is Format.MARKDOWN:
        lines = decision_markdown(found.decision) if found.decision else []
        lines = [f"**{found.subject}**", "", *(f"- {note}" for note in found.notes), "", *lines]
        for guarding in found.guards:
            lines += ["", *decision_markdown(guarding, guards=True)]
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        screen = console()
        screen.print(found.subject, style="bold", markup=False)
        for note in found.notes:
            screen.print(f"  {note}", markup=False)
        if found.decision:
            screen.print(render.decision_tree(found.decision))
        for guarding in found.guards:
            screen.print(render.decision_tree(guarding, guards=True))
        for other in found.others[:20]:
            screen.print(f"also v{other.version}: {other.verdict.value}: {other.summary}", markup=False)
