"""Results of policy tests as JUnit XML, the form that CI systems read."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console

from promoter.application.policy_tests import Report, Told
from promoter.delivery.cli.policy_report import rule_of
from promoter.delivery.cli.render import decision_tree
from promoter.domain.faults import Refused

_TREE_WIDTH = 1_000
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot say, not even escaped."""


def write_junit(report: Report, path: Path) -> None:
    """Write the file. Raises `Refused` where it cannot be written."""
    try:
        path.write_bytes(junit_xml(report))
    except OSError as error:
        raise Refused("files", f"{path}: cannot be written: {error.strerror or 'no reason given'}", "name another") from None


def junit_xml(report: Report) -> bytes:
    """One `testsuite` a policy, one `testcase` a case; a failure tells each verdict that was not expected, and the decision."""
    root = ET.Element("testsuites", name="promoter policy test", tests=str(report.cases), failures=str(report.failed))
    for suite in report.suites:
        counts = {"tests": str(len(suite.cases)), "failures": str(len(suite.failed)), "errors": "0", "skipped": "0"}
        element = ET.SubElement(root, "testsuite", {"name": _legal(suite.policy), **counts})
        for told in suite.cases:
            _add(element, suite.policy, told)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _add(suite: ET.Element, policy: str, told: Told) -> None:
    named = {"classname": _legal(f"policies.{policy}"), "name": _legal(told.run.case.name)}
    case = ET.SubElement(suite, "testcase", {**named, "file": _legal(told.file), "line": str(told.line)})
    if told.run.passed:
        return
    lines = [f"{rule_of(each)}: expected {each.expected}, got {each.got}" for each in told.run.mismatches]
    failure = ET.SubElement(case, "failure", type="verdict", message=_legal("; ".join(lines)))
    failure.text = _legal("\n".join([f"{told.file}:{told.line}", *lines, "", *_trees(told)]))


def _trees(told: Told) -> list[str]:
    page = io.StringIO()
    screen = Console(file=page, width=_TREE_WIDTH, color_system=None, force_terminal=False)
    screen.print(decision_tree(told.run.decision))
    if told.run.guards:
        screen.print(decision_tree(told.run.guards, guards=True))
    return [line.rstrip() for line in page.getvalue().splitlines()]


def _legal(text: str) -> str:
    return _ILLEGAL.sub("", text)
