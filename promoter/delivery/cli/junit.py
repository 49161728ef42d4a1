"""Results of policy tests as JUnit XML, the form that CI systems read."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console

from promoter.application.policy_tests import PolicyTestReport, CaseResult
from promoter.delivery.cli.policy_report import render_rule_name
from promoter.delivery.cli.render import build_decision_tree
from promoter.domain.faults import PermanentError

_TREE_WIDTH = 1_000
_ILLEGAL_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot say, not even escaped."""


def write_junit_report(report: PolicyTestReport, path: Path) -> None:
    """Write the file. Raises `PermanentError` where it cannot be written."""
    try:
        path.write_bytes(render_junit_xml(report))
    except OSError as error:
        raise PermanentError(
            "files", f"{path}: cannot be written: {error.strerror or 'no reason given'}", "name another"
        ) from None


def render_junit_xml(report: PolicyTestReport) -> bytes:
    """One `testsuite` a policy, one `testcase` a case; a failure tells each verdict that was not expected, and the decision."""
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
    return _ILLEGAL_CHARACTERS.sub("", text)
