"""The body of a proposal's pull request, compared whole; and what is in it that no page shows."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from promoter.application.markdown.comparison import render_metric_chart, render_points_text, render_sparkline
from promoter.application.markdown.proposal import (
    MAX_BODY_LENGTH,
    PullRequestMarker,
    insert_marker,
    parse_marker,
    remove_marker,
    render_proposal_markdown,
)
from promoter.domain.comparison import MetricHistory, MetricRow, VersionComparison, VersionOrigin
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.desired import Hold
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.links import MlflowAddresses, PageAddresses
from promoter.domain.observed import CopyOrigin, MetricRef, Unreadable
from promoter.domain.policy.rules import RuleContext
from promoter.domain.policy.rules.review import ReviewRule, ReviewTerms
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from promoter.domain.refusals import find_answer_key

HERE = Path(__file__).parent / "proposal_bodies"
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOSTILE = "<img src=x> @acme/risk fixes #3 | [x](http://a)"


def decision(verdict: Verdict = Verdict.PASS, *more: RuleFinding) -> Decision:
    """Of version 9."""
    findings = (
        RuleFinding("metric val_auc beats champion by 0.005", Verdict.PASS, 0.953, "at least 0.935 (champion v7 has 0.93)"),
        RuleFinding("tag note present", Verdict.PASS, HOSTILE, "any value"),
        *more,
    )
    return Decision("fraud-detector", "champion", 9, "champion", "d" * 64, verdict, findings, AT)


PAGES = PageAddresses(
    "https://promoter.example/",
    MlflowAddresses.build("https://ada:secret@mlflow.example", "https://mlflow.example", None),
    {"staging": MlflowAddresses.build("http://staging.example", "http://staging.example", None)},
)
ROTATE = Proposal(RegistryEdit("fraud-detector", "champion", 9), 7, decision())
COMPARED = VersionComparison(
    version=9,
    replaces=7,
    metrics=(
        MetricRow("val_auc", 0.953, 0.93, "highest"),
        MetricRow("p99_ms on holdout|x", 41.5, None, "lowest"),
        MetricRow("loss", 0.25, 0.2, "lowest"),
        MetricRow("drift", 0.3, 0.1),
    ),
    other_metrics=(MetricRow("rmse|<b>", float("nan"), 0.2), MetricRow("rows", 1000.0, 1000.0)),
    more=2,
    origin=VersionOrigin("c0ffee", CopyOrigin("fraud|x", 3, "staging", "5eed")),
    replaced_origin=VersionOrigin("beef"),
    signature=("input age is double, was long", "input note is new"),
    requirements=(),
    past=MetricHistory(MetricRef("val_auc"), ((3, 0.9), (5, 0.85), (7, 0.93), (9, 0.953))),
)
BACK = RegistryEdit("fraud-detector", "champion", 7, Hold(reason=HOSTILE, by="Promoter"), (9,))
SHOWN = {
    "rotate": (ROTATE, COMPARED),
    "reviews": (
        replace(
            ROTATE,
            decision=decision(
                Verdict.PENDING,
                ReviewRule(review=ReviewTerms(at_least=2)).evaluate(Evidence(AT, VersionEvidence(9)), RuleContext()),
            ),
        ),
        replace(
            COMPARED, signature=Unreadable("MLmodel is not YAML"), requirements=("mlflow is ==3.4.0, was ==3.3.0",), past=None
        ),
    ),
    "first": (replace(ROTATE, replaces=None), VersionComparison(9, metrics=(MetricRow("val_auc", 0.953, None),))),
    "guard": (
        Proposal(BACK, 9, replace(decision(Verdict.FAIL), enforcement="enforce"), ProposalReason.GUARD),
        replace(COMPARED, version=7, replaces=9),
    ),
    "rollback": (
        Proposal(replace(BACK, hold=Hold(reason=HOSTILE, by="alice")), 9, None, ProposalReason.ROLL_BACK, "alice", HOSTILE),
        None,
    ),
    "release": (
        Proposal(
            RegistryEdit("m", "champion", None, release=True), None, None, ProposalReason.RELEASE, "alice", "audit is over"
        ),
        None,
    ),
    "adopt": (
        Proposal(RegistryEdit("m", "champion", 9), 7, None, ProposalReason.ADOPT),
        VersionComparison(9, 7, signature=(), requirements=()),
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_body(name: str) -> None:
    """Whole: what it is for, on which evidence, and what follows; words from outside are only words."""
    assert render_proposal_markdown(*SHOWN[name], pages=PAGES) == (HERE / f"{name}.md").read_text()


def test_the_body_has_an_end() -> None:
    """Forges take so much; whole lines are left out, and that is said."""
    long = replace(
        ROTATE, decision=decision(Verdict.PASS, *(RuleFinding(f"rule {n}", Verdict.PASS, "x" * 900, "y") for n in range(100)))
    )
    body = render_proposal_markdown(long, COMPARED)
    assert MAX_BODY_LENGTH - 2_000 < len(body) <= MAX_BODY_LENGTH
    assert body.count("`rule ") == body.count(" y\n") > 50
    assert re.search(r"\nA pull request has an end: \d+ lines of “Decision”; .*“Over the versions”.* left out\. ", body)
    assert "```" not in body
    assert "<details>" not in body
    assert body.endswith("- **Nobody decides**: v7 stays, and this stays open.\n")


def test_the_picture() -> None:
    """What a chart cannot say is left to the words: one point, figures without end, names with quotes."""
    assert render_metric_chart("auc", [(1, 0.5)]) == []
    assert render_metric_chart("auc", [(1, 1e-12), (2, 0.5)]) == []
    drawn = "\n".join(render_metric_chart('a"b]\n', [(1, 0.00001), (2, 123456789.0)]))
    assert 'title "a b "' in drawn.replace("  ", " ")
    assert "e-" not in drawn.partition("x-axis")[2]
    assert "line [0.00001, 123457000]" in drawn
    assert "y-axis 0.9 --> 1.1" in "\n".join(render_metric_chart("auc", [(1, 1.0), (2, 1.0)]))
    assert render_sparkline([1.0, 2.0, 1.5]) == "▁█▅"
    assert render_sparkline([1.0, 1.0]) == "▁▁"
    assert render_points_text("auc", [(1, 0.5)], {1: "now"}) == "auc: ▁ **v1 0.5** (now)"


MARKER = PullRequestMarker(
    ProposalReason.GUARD, "m-->--x<b>", "champion", 3, 4, None, "abc", "def", "it's --> over", ("rotate:7",)
)


def test_a_marker_is_read_back() -> None:
    """Whatever is in it: nothing ends the comment; and with it, and without it, the body is the same."""
    body = insert_marker("Text\n", MARKER)
    assert body.count("-->") == 1
    assert "--" not in body.removeprefix("<!-- ").partition(" -->")[0]
    assert parse_marker(body.replace("\n", "\r\n")) == MARKER
    assert remove_marker(body) == "\nText\n"
    again = replace(MARKER, withdrawn=None)
    assert parse_marker(insert_marker(f"before {body}", again)) == again


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<!-- promoter:proposal {} -->",
        '<!-- promoter:proposal {"aim": "conquer", "model": "m", "alias": "a"} -->',
        '<!-- promoter:proposal {"aim": "rotate", "model": 7, "alias": "a"} -->',
        '<!-- promoter:proposal {"aim": "rotate", "model": "m", "alias": "a", "version": "7"} -->',
        '<!-- promoter:proposal {"aim": "rotate", "model": "m", "alias": "a", "declined": 7} -->',
        "<!-- promoter:proposal {]} -->",
        "<!-- promoter:proposal {" + "[" * 100_000 + "} -->",
    ],
)
def test_what_is_no_marker(body: str) -> None:
    """Says nothing, and breaks nothing."""
    assert parse_marker(body) is None


def test_what_is_declined() -> None:
    """A version; of a guard's rollback, only for the version that broke."""
    marker = PullRequestMarker(ProposalReason.ROTATE, "m", "a", 3, declined=("rotate:2",))
    assert marker.answer_key == "rotate:3"
    assert MARKER.answer_key == "guard:3:4"
    assert find_answer_key(ROTATE) == "rotate:9"


def test_a_rollback_without_a_check_does_not_wait_for_loading() -> None:
    """The body says whose word stands in for the check, and that a merge moves the alias at once."""
    hold = Hold(reason="bad recall", by="alice", without_artifact_check=7)
    proposal = Proposal(replace(BACK, hold=hold), 9, None, ProposalReason.ROLL_BACK, "alice", "bad recall")
    body = render_proposal_markdown(proposal, None)
    assert "**v7 held the alias before, and returns without a check of its artifact, on the word of alice.**" in body
    assert "- **Merged**: the alias moves to v7 at once.\n- **Closed**: v9 stays.\n" in body
    assert "found to load" not in body
