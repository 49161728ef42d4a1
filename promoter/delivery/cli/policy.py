"""`promoter policy test`: the unit tests of policies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json
from promoter.delivery.cli.files import Folder, checked, tell_faults_as

if TYPE_CHECKING:
    from promoter.application.policy_tests import Report

app = typer.Typer(no_args_is_help=True)


@app.command("test")
def run_policy_tests(
    path: Folder = Path(),
    output: FormatOption = Format.TEXT,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML too, for CI.")] = None,
    require_coverage: Annotated[
        bool, typer.Option("--require-coverage", help="Exit code 1 too, unless every rule was seen both to pass and not to.")
    ] = False,
) -> None:
    """Run the cases of policies/tests/*.yaml against the policies, offline. Exit code 0: all as expected, 1: not.

    Example: promoter policy test --junit policies.xml --require-coverage
    """
    from promoter.application.policy_tests import run_tests
    from promoter.domain.faults import Faults

    try:
        declaration, cases = checked(path)
    except Faults as faults:
        if output is Format.TEXT:
            raise
        tell_faults_as(output, faults.faults)
        raise typer.Exit(1) from None
    report = run_tests(cases, declaration.policies)
    if junit is not None:
        from promoter.delivery.cli.junit import write_junit

        write_junit(report, junit)
    _tell(report, output)
    if report.failed or (require_coverage and not report.complete):
        raise typer.Exit(1)


def _tell(report: Report, output: Format) -> None:
    from promoter.delivery.cli import policy_report

    if output is Format.JSON:
        tell_json(report.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write(policy_report.as_markdown(report))
    else:
        policy_report.as_text(console(), report)
