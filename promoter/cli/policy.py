"""`promoter policy test`: runs the tests of policies, and reports as text, Markdown, JSON and JUnit."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from promoter.application.markdown.plan import render_table
from promoter.application.policy_tests import CaseResult, PolicyTestReport
from promoter.cli.common import FormatOption, OutputFormat, create_console, print_json
from promoter.cli.files import FolderArgument, check_working_tree, print_fault_report
from promoter.cli.render import VERDICT_STYLE, WIDE_TERMINAL_COLUMNS, build_decision_tree, build_plain_table, print_wrapped
from promoter.domain.errors import PermanentError
from promoter.domain.policy.test_runner import VerdictMismatch
from promoter.domain.text import escape_invisible, escape_lines, format_count
from promoter.terminal import TrimmedBlock

app = typer.Typer(no_args_is_help=True)


@app.command("test")
def run_policy_tests(
    path: FolderArgument = Path(),
    output: FormatOption = OutputFormat.TEXT,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML too, for CI.")] = None,
    require_coverage: Annotated[
        bool, typer.Option("--require-coverage", help="Exit code 1 too, unless every rule was seen both to pass and not to.")
    ] = False,
) -> None:
    """Run the cases of policies/tests/*.yaml against the policies, offline. Exit code 0: all as expected, 1: not.

    Example: promoter policy test --junit policies.xml --require-coverage
    """
    from promoter.application.policy_tests import run_policy_tests
    from promoter.domain.errors import Faults

    try:
        declaration, cases = check_working_tree(path)
    except Faults as faults:
        if output is OutputFormat.TEXT:
            raise
        print_fault_report(output, faults.faults)
        raise typer.Exit(1) from None
    report = run_policy_tests(cases, declaration.policies)
    if junit is not None:
        write_junit_report(report, junit)
    _print_test_report(report, output)
    if report.failed_count or (require_coverage and not report.is_complete):
        raise typer.Exit(1)


def _print_test_report(report: PolicyTestReport, output: OutputFormat) -> None:

    if output is OutputFormat.JSON:
        from promoter.application.responses.policies import PolicyTestResponse

        print_json(PolicyTestResponse.from_value(report))
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_test_report_markdown(report))
    else:
        render_test_report_text(create_console(), report)


def render_test_report_text(console: Console, report: PolicyTestReport) -> None:
    """Print what did not go as expected, which outcomes no case has, and a line that sums up."""
    if report.failed_count and console.width >= WIDE_TERMINAL_COLUMNS:
        console.print(build_plain_table(["CASE", "RULE", "EXPECTED", "GOT", "SEEN"], _build_mismatch_rows(report)))
        console.print()
    elif report.failed_count:
        for line in _render_mismatch_lines(report):
            console.print(TrimmedBlock(line), end="")
        console.print()
    gaps = [(never, Text(policy), Text(rule)) for never, policy, rule in _find_coverage_gaps(report)]
    if gaps:
        console.print(build_plain_table(["NEVER SEEN TO", "POLICY", "RULE"], gaps))
        console.print()
    style = "red" if report.failed_count else "green" if report.case_count else ""
    print_wrapped(console, Text(summarize_test_report(report), style=style))


def render_test_report_markdown(report: PolicyTestReport) -> str:
    """Render the same report for a pull request; names of files and rules stand there as code."""
    lines = [f"**{summarize_test_report(report)}**"]
    if report.failed_count:
        rows = (_build_markdown_row(*found) for found in _find_mismatches(report))
        lines += ["", *render_table(["case", "rule", "expected", "got", "seen"], rows)]
    gaps = [(never, _quote_table_cell(policy), _quote_table_cell(rule)) for never, policy, rule in _find_coverage_gaps(report)]
    if gaps:
        lines += ["", *render_table(["never seen to", "policy", "rule"], gaps)]
    return "\n".join(lines) + "\n"


def _build_markdown_row(policy: str, case_result: CaseResult, mismatch: VerdictMismatch) -> tuple[str, ...]:
    name, place = _format_case_name(policy, case_result), _format_case_location(case_result)
    rule, seen = map(_quote_table_cell, (render_rule_name(mismatch), mismatch.description))
    return f"{_quote_table_cell(name)} {_quote_table_cell(place)}", rule, mismatch.expected, mismatch.got, seen


def summarize_test_report(report: PolicyTestReport) -> str:
    """Count the cases, those that went wrong, and how much of the policies they cover."""
    policies = format_count(len(report.suites), "policy", "policies")
    if not report.case_count:
        return f"{policies}, no cases: add them in policies/tests/NAME.yaml."
    good = report.case_count - report.failed_count
    outcome = "all as expected" if not report.failed_count else f"{good} as expected, {report.failed_count} not"
    untested = f" Without a case: {', '.join(report.untested_policies)}." if report.untested_policies else ""
    covered = f"{report.covered_count} of {format_count(report.rule_count, 'rule')} seen both to pass and not to"
    return f"{policies}, {format_count(report.case_count, 'case')}: {outcome}. {covered}.{untested}"


def render_rule_name(mismatch: VerdictMismatch) -> str:
    """Name the rule, and whether it is a guard."""
    return escape_invisible(f"guard: {mismatch.rule}" if mismatch.part == "guards" else mismatch.rule)


def _find_mismatches(report: PolicyTestReport) -> Iterator[tuple[str, CaseResult, VerdictMismatch]]:
    for suite in report.suites:
        for case_result in suite.failed_cases:
            for each in case_result.run.mismatches:
                yield suite.policy, case_result, each


def _build_mismatch_rows(report: PolicyTestReport) -> Iterator[tuple[Text, ...]]:
    """Build a row for each verdict; the case stands in the first of its rows."""
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
    """Write the mismatches for narrow terminals, where columns would break every word."""
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
    """Write any text as code in a cell of a table."""
    escaped = escape_invisible(text).replace("`", "'").replace("|", "\\|")
    return f"`{escaped}`"


_TREE_WIDTH = 1_000
_ILLEGAL_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 does not allow, not even escaped."""


def write_junit_report(report: PolicyTestReport, path: Path) -> None:
    """Write the report as a file. Raises `PermanentError`."""
    try:
        path.write_bytes(render_junit_xml(report))
    except OSError as error:
        raise PermanentError(
            "files", f"{path}: cannot be written: {error.strerror or 'no reason given'}", "name another"
        ) from None


def render_junit_xml(report: PolicyTestReport) -> bytes:
    """Write a `testsuite` for each policy, with a `testcase` for each case. A failure has the verdicts and the decision."""
    root = ET.Element(
        "testsuites", name="promoter policy test", tests=str(report.case_count), failures=str(report.failed_count)
    )
    for suite in report.suites:
        counts = {"tests": str(len(suite.cases)), "failures": str(len(suite.failed_cases)), "errors": "0", "skipped": "0"}
        element = ET.SubElement(root, "testsuite", {"name": _remove_illegal_characters(suite.policy), **counts})
        for case_result in suite.cases:
            _add_test_case(element, suite.policy, case_result)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _add_test_case(suite: ET.Element, policy: str, case_result: CaseResult) -> None:
    named = {
        "classname": _remove_illegal_characters(f"policies.{policy}"),
        "name": _remove_illegal_characters(case_result.run.case.name),
    }
    case = ET.SubElement(
        suite, "testcase", {**named, "file": _remove_illegal_characters(case_result.file), "line": str(case_result.line)}
    )
    if case_result.run.has_passed:
        return
    lines = [f"{render_rule_name(each)}: expected {each.expected}, got {each.got}" for each in case_result.run.mismatches]
    failure = ET.SubElement(case, "failure", type="verdict", message=_remove_illegal_characters("; ".join(lines)))
    failure.text = _remove_illegal_characters(
        "\n".join([f"{case_result.file}:{case_result.line}", *lines, "", *_render_tree_lines(case_result)])
    )


def _render_tree_lines(case_result: CaseResult) -> list[str]:
    page = io.StringIO()
    screen = Console(file=page, width=_TREE_WIDTH, color_system=None, force_terminal=False)
    screen.print(build_decision_tree(case_result.run.decision))
    if case_result.run.guards:
        screen.print(build_decision_tree(case_result.run.guards, guards=True))
    return [line.rstrip() for line in page.getvalue().splitlines()]


def _remove_illegal_characters(text: str) -> str:
    return _ILLEGAL_CHARACTERS.sub("", escape_lines(text))
