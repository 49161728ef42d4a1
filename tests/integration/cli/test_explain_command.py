"""A decision with every kind of rule, as `explain` tells it: narrow and wide, as Markdown and as JSON, compared whole."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from promoter.adapters.git.checkout import WorkTree
from promoter.adapters.yaml import YamlDocuments
from promoter.adapters.yaml.policy_tests import read_test_files
from promoter.application.markdown.plan import render_decision_markdown, table_cell
from promoter.cli import render
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.policy.rules import RULES

HERE = Path(__file__).parent / "explained"


@pytest.fixture(scope="module")
def decision() -> Decision:
    """Of the policy in the folder, on the evidence of its one case."""
    policies = YamlDocuments().parse_declaration(WorkTree(HERE).read_sources(), None).policies
    case = read_test_files(HERE, policies)[0].cases[0]
    policy = policies["champion"]
    shown = {each.kind for rule in policy.document.rules for each in rule.walk_rules()}
    assert shown == {rule.kind for rule in RULES}
    made = evaluate_policy(policy, case.model, case.alias, case.build_case_evidence(policy))
    assert {finding.verdict for finding in made.findings} == {Verdict.PASS, Verdict.FAIL, Verdict.PENDING}
    return made


def _told(decision: Decision, width: int, *, colour: bool = False) -> str:
    out = io.StringIO()
    system = "standard" if colour else None
    Console(file=out, width=width, highlight=False, force_terminal=colour, color_system=system).print(  # type: ignore[arg-type]
        render.build_decision_tree(decision)
    )
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_the_tree(decision: Decision, width: int) -> None:
    """Whole, at two widths; with colours the words are the same."""
    plain = _told(decision, width)
    assert plain == (HERE / f"tree-{width}.txt").read_text()
    coloured = _told(decision, width, colour=True)
    assert "\x1b[32m" in coloured
    assert "".join(part.partition("m")[2] if n else part for n, part in enumerate(coloured.split("\x1b["))) == plain


def test_markdown(decision: Decision) -> None:
    """For pull requests."""
    assert "\n".join(render_decision_markdown(decision)) + "\n" == (HERE / "decision.md").read_text()


def test_json(decision: Decision) -> None:
    """For machines: NaN is text, the interval has numbers, the waiver its words."""
    told = json.loads(json.dumps(decision.to_json(), allow_nan=False), parse_float=_rounded)
    del told["policy_digest"]
    assert told == json.loads((HERE / "decision.json").read_text(), parse_float=_rounded)


def _rounded(text: str) -> float:
    """A figure without its last digits, which depend on the processor."""
    return float(f"{float(text):.12g}")


def test_markdown_takes_no_markup_from_outside(decision: Decision) -> None:
    """A tag's value, and a reason, are text on the page that a forge makes of it."""
    hostile = RuleFinding("tag a present", Verdict.FAIL, "<img src=x>\x1b[2K", "present | <b>")
    told = render_decision_markdown(replace(decision, findings=(hostile,)))[-1]
    assert told == "- ✗ fail: `tag a present`, saw &lt;img src=x>\\\\x1b[2K, expected present | &lt;b>"
    assert table_cell("a|b\n<i>\x1b") == "a\\|b &lt;i>\\\\x1b"
