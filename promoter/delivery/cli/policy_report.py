"""How the results of `promoter policy test` look: for people, and as Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from promoter.application.policy_tests import PolicyTestReport, CaseResult
from promoter.delivery.cli.render import VERDICT_STYLE, WIDE_TERMINAL_COLUMNS, build_plain_table
from promoter.domain.case_runs import VerdictMismatch
from promoter.domain.verdict import escape_invisible


def render_test_report_text(console: Console, report: PolicyTestReport) -> None:
    """What did not go as expected, what was never seen, and one line that sums up."""
    if report.failed_count and console.width >= WIDE_TERMINAL_COLUMNS:
        console.print(build_plain_table(["CASE", "RULE", "EXPECTED", "GOT", "SEEN"], _build_mismatch_rows(report)))
        console.print()
    elif report.failed_count:
        for line in _render_mismatch_lines(report):
            console.print(line)
        console.print()
    gaps = [(never, Text(policy), Text(rule)) for never, policy, rule in _find_coverage_gaps(report)]
    if gaps:
        console.print(build_plain_table(["NEVER SEEN TO", "POLICY", "RULE"], gaps))
        console.print()
    console.print(
        Text(summarize_test_report(report), style="red" if report.failed_count else "green" if report.case_count else "")
    )


def render_test_report_markdown(report: PolicyTestReport) -> str:
    """For a pull request."""
    lines = [f"**{summarize_test_report(report)}**"]
    if report.failed_count:
        lines += ["", "| case | rule | expected | got | seen |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {_quote_table_cell(_format_case_name(policy, case_result))} {_quote_table_cell(_format_case_location(case_result))} | {_quote_table_cell(render_rule_name(each))} "
            f"| {each.expected} | {each.got} | {_quote_table_cell(each.description)} |"
            for policy, case_result, each in _find_mismatches(report)
        ]
    gaps = list(_find_coverage_gaps(report))
    if gaps:
        lines += ["", "| never seen to | policy | rule |", "| --- | --- | --- |"]
        lines += [f"| {never} | {_quote_table_cell(policy)} | {_quote_table_cell(rule)} |" for never, policy, rule in gaps]
    return "\n".join(lines) + "\n"


def summarize_test_report(report: PolicyTestReport) -> str:
    """One line: how many cases, how many went wrong, and how much of the policies they cover."""
    policies = _format_count(len(report.suites), "policy", "policies")
    if not report.case_count:
        return f"{policies}, no cases: add them in policies/tests/NAME.yaml."
    good = report.case_count - report.failed_count
    outcome = "all as expected" if not report.failed_count else f"{good} as expected, {report.failed_count} not"
    untested = f" Without a case: {', '.join(report.untested_policies)}." if report.untested_policies else ""
    covered = f"{report.covered_count} of {_format_count(report.rule_count, 'rule')} seen both to pass and not to"
    return f"{policies}, {_format_count(report.case_count, 'case')}: {outcome}. {covered}.{untested}"


def render_rule_name(mismatch: VerdictMismatch) -> str:
    """The rule, and whether it is a guard."""
    return escape_invisible(f"guard: {mismatch.rule}" if mismatch.part == "guards" else mismatch.rule)


def _find_mismatches(report: PolicyTestReport) -> Iterator[tuple[str, CaseResult, VerdictMismatch]]:
    for suite in report.suites:
        for case_result in suite.failed_cases:
            for each in case_result.run.mismatches:
                yield suite.policy, case_result, each


def _build_mismatch_rows(report: PolicyTestReport) -> Iterator[tuple[Text, ...]]:
    """One row a verdict; the case stands in the first of its rows."""
    before = None
    for policy, case_result, each in _find_mismatches(report):
        case = (
            f"{_format_case_name(policy, case_result)}\n{_format_case_location(case_result)}"
            if case_result is not before
            else ""
        )
        before = case_result
        verdicts = (Text(verdict, style=VERDICT_STYLE[verdict]) for verdict in (each.expected, each.got))
        yield (Text(case), Text(render_rule_name(each)), *verdicts, Text(escape_invisible(each.description)))


def _render_mismatch_lines(report: PolicyTestReport) -> Iterator[Text | Padding]:
    """The same for narrow terminals, where columns would break every word."""
    before = None
    for policy, case_result, each in _find_mismatches(report):
        if case_result is not before:
            yield Text(f"{_format_case_name(policy, case_result)} ({_format_case_location(case_result)})", style="bold")
        before = case_result
        verdicts = ("expected ", (each.expected, VERDICT_STYLE[each.expected]), ", got ", (each.got, VERDICT_STYLE[each.got]))
        yield Padding(Text.assemble(f"{render_rule_name(each)}: ", *verdicts), (0, 0, 0, 2))
        yield Padding(Text(escape_invisible(each.description), style="dim"), (0, 0, 0, 4))


def _find_coverage_gaps(report: PolicyTestReport) -> Iterator[tuple[str, str, str]]:
    for suite in report.suites:
        for each in suite.coverage_gaps if suite.has_cases else ():
            rule = f"guard: {each.target}" if each.target.part == "guards" else str(each.target)
            yield " or ".join(each.unseen_outcomes), suite.policy, escape_invisible(rule)


def _format_case_name(policy: str, case_result: CaseResult) -> str:
    return f"{policy}: {case_result.run.case.name}"


def _format_case_location(case_result: CaseResult) -> str:
    return f"{escape_invisible(case_result.file)}:{case_result.line}"


def _quote_table_cell(text: str) -> str:
    """As code in a cell of a table, whatever is in it."""
    escaped = escape_invisible(text).replace("`", "'").replace("|", "\\|")
    return f"`{escaped}`"


def _format_count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
