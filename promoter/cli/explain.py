"""`promoter explain`: shows a decision with each rule behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import DecisionTree, Notes, Paragraph, Part, TerminalOnly, Title
from promoter.cli.common import (
    FormatOption,
    OutputFormat,
    build_container,
    load_declaration,
    parse_alias_argument,
    parse_version_argument,
    print_json,
)
from promoter.cli.render import print_report

if TYPE_CHECKING:
    from promoter.application.explain import DecisionExplanation


NOT_PASSED = 3
_MAX_OTHERS = 20


def explain(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS | MODEL/VERSION")],
    policy: Annotated[str | None, typer.Option(help="With MODEL/VERSION: the policy to judge it by.")] = None,
    alias: Annotated[str | None, typer.Option(help="With MODEL/VERSION: why that version does not hold this alias.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show a decision as a tree: each rule, the value seen against what was expected. Exit code 0: pass, 3: not.

    Examples: promoter explain fraud-detector@champion; promoter explain fraud-detector/9 --policy champion;
    promoter explain fraud-detector/8 --alias champion
    """
    from promoter.application.explain import DecisionExplainer

    container = build_container()
    declaration = load_declaration(container)
    explainer = DecisionExplainer(container.registry, container.reading_ledger, container.reading_planner, container.clock)
    if "@" in what:
        if policy or alias:
            raise typer.BadParameter("--policy and --alias go with MODEL/VERSION")
        found = explainer.explain_alias(declaration, *parse_alias_argument(what))
    else:
        model, version = parse_version_argument(what)
        if (policy is None) == (alias is None):
            raise typer.BadParameter("MODEL/VERSION goes with either --policy NAME or --alias ALIAS")
        ask = explainer.explain_version if policy else explainer.explain_absence
        found = ask(declaration, model, version, policy or alias or "")
    _print_explanation(found, output)
    if found.decision is not None and found.decision.verdict.value != "pass":
        raise typer.Exit(NOT_PASSED)


def _print_explanation(found: DecisionExplanation, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import ExplanationResponse

        print_json(ExplanationResponse.from_value(found))
    else:
        print_report(output, build_explanation_report(found))


def build_explanation_report(found: DecisionExplanation) -> Iterator[Part]:
    """Report the decision, what the guards say, and, on a terminal, a line for each other version."""
    yield Title(found.subject, escape=str)
    yield Notes(found.notes, prefix="  ", style="", escape=str)
    yield DecisionTree(found.decision)
    for guarding in found.guards:
        yield DecisionTree(guarding, guards=True)
    for other in found.others[:_MAX_OTHERS]:
        yield TerminalOnly([Paragraph(f"also v{other.version}: {other.verdict.value}: {other.summary_line}")])
