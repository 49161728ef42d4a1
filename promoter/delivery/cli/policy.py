"""`promoter policy test`: the unit tests of policies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import OutputFormat, FormatOption, create_console, print_json
from promoter.delivery.cli.files import FolderArgument, check_working_tree, print_fault_report

if TYPE_CHECKING:
    from promoter.application.policy_tests import PolicyTestReport

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
    from promoter.domain.faults import Faults

    try:
        declaration, cases = check_working_tree(path)
    except Faults as faults:
        if output is OutputFormat.TEXT:
            raise
        print_fault_report(output, faults.faults)
        raise typer.Exit(1) from None
    report = run_policy_tests(cases, declaration.policies)
    if junit is not None:
        from promoter.delivery.cli.junit import write_junit_report

        write_junit_report(report, junit)
    _print_test_report(report, output)
    if report.failed_count or (require_coverage and not report.is_complete):
        raise typer.Exit(1)


def _print_test_report(report: PolicyTestReport, output: OutputFormat) -> None:
    from promoter.delivery.cli import policy_report

    if output is OutputFormat.JSON:
        print_json(report.to_json())
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(policy_report.render_test_report_markdown(report))
    else:
        policy_report.render_test_report_text(create_console(), report)
