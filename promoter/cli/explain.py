"""`promoter explain`: a decision as a tree, or every candidate of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import (
    Cell,
    DecisionTree,
    MarkdownOnly,
    Notes,
    Paragraph,
    Part,
    Table,
    TerminalOnly,
    Title,
)
from promoter.cli.common import (
    FormatOption,
    OutputFormat,
    build_container,
    load_declaration,
    parse_alias_argument,
    parse_version_argument,
    print_json,
)
from promoter.cli.completion import complete_aliases, complete_policies, complete_subjects
from promoter.cli.registry import warn_of_binding_mismatch
from promoter.cli.render import print_report
from promoter.domain.text import version_label

if TYPE_CHECKING:
    from promoter.application.explain import AliasCandidates, DecisionExplanation, RankedCandidate


NOT_PASSED = 3
_MAX_OTHERS = 20

AbsenceOption = Annotated[
    str | None,
    typer.Option(help="With MODEL/VERSION: why that version does not hold this alias.", autocompletion=complete_aliases),
]


def explain(
    what: Annotated[str, typer.Argument(metavar="MODEL | MODEL@ALIAS | MODEL/VERSION", autocompletion=complete_subjects)],
    policy: Annotated[
        str | None, typer.Option(help="With MODEL/VERSION: the policy to judge it by.", autocompletion=complete_policies)
    ] = None,
    alias: AbsenceOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show a decision as a tree: each rule, the value seen against what was expected. Of a model: every candidate, ranked.

    Exit code 0: pass, or a model was asked for; 3: not, also where nobody holds the alias, or the registry lacks the version
    that git states.

    Examples: promoter explain fraud-detector; promoter explain fraud-detector@champion;
    promoter explain fraud-detector/9 --policy champion; promoter explain fraud-detector/8 --alias champion
    """
    from promoter.application.explain import DecisionExplainer

    container = build_container()
    declaration = load_declaration(container)
    warn_of_binding_mismatch(container)
    explainer = DecisionExplainer(container.registry, container.reading_ledger, container.reading_planner, container.clock)
    if "@" in what and "/" not in what:  # a model's name may have an @, and never a slash
        if policy or alias:
            raise typer.BadParameter("--policy and --alias go with MODEL/VERSION")
        found = explainer.explain_alias(declaration, *parse_alias_argument(what))
    elif "/" not in what and not (policy or alias):
        _print_candidates(what, explainer.explain_model(declaration, what), output)
        return
    else:
        model, version = parse_version_argument(what)
        if (policy is None) == (alias is None):
            raise typer.BadParameter("MODEL/VERSION goes with either --policy NAME or --alias ALIAS")
        ask = explainer.explain_version if policy else explainer.explain_absence
        found = ask(declaration, model, version, policy or alias or "")
    _print_explanation(found, output)
    if not found.passes:
        raise typer.Exit(NOT_PASSED)


def _print_candidates(model: str, found: list[AliasCandidates], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import ModelCandidatesResponse

        print_json(ModelCandidatesResponse.from_values(model=model, aliases=found))
    else:
        print_report(output, build_candidates_report(model, found))


def build_candidates_report(model: str, found: list[AliasCandidates]) -> Iterator[Part]:
    """Report what holds each alias, what rotation makes of it, and its candidates, the best first."""
    for each in found:
        yield Title(f"{model}@{each.alias} is {version_label(each.held)}; git says {each.stated}; rotation {each.rotation}")
        yield Notes([each.reason] if each.reason else [], prefix="  ", style="")
        if each.candidates:
            columns = ["version", each.rank_metric or "rank", "verdict", "why"]
            yield Table(columns, [_build_candidate_row(one) for one in each.candidates])
        yield TerminalOnly()


def _build_candidate_row(one: RankedCandidate) -> list[Cell]:
    chosen = " (proposed)" if one.proposed else ""
    return [f"v{one.version}{chosen}", "-" if one.rank is None else f"{one.rank:.6g}", one.verdict, one.summary]


def _print_explanation(found: DecisionExplanation, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import ExplanationResponse

        print_json(ExplanationResponse.from_value(found))
    else:
        print_report(output, build_explanation_report(found))


def build_explanation_report(found: DecisionExplanation) -> Iterator[Part]:
    """Report the decision, what the guards say, and, on a terminal, a line for each other version."""
    # On a terminal, the tree begins with the same words.
    yield Title(found.subject) if found.notes else MarkdownOnly(Title(found.subject))
    yield Notes(found.notes, prefix="  ", style="")
    yield DecisionTree(found.decision)
    for guarding in found.guards:
        yield DecisionTree(guarding, guards=True)
    for other in found.others[:_MAX_OTHERS]:
        yield TerminalOnly([Paragraph(f"also v{other.version}: {other.verdict.value}: {other.summary_line}")])
