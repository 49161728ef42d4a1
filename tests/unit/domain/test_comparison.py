"""What a comparison says of a figure: which direction is better, how far apart, and which version another one is a copy of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from promoter.domain.comparison import MetricRow
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import CopyOrigin, MetricRef, ModelVersion
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.rules import RuleContext
from promoter.domain.policy.rules.review import ReviewRule, ReviewTerms, describe_within_pull_request
from promoter.domain.text import shorten_to_words

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAN = float("nan")


def test_the_metrics_that_a_policy_reads() -> None:
    """The ranked one comes first; bounds, comparisons and `not` say which direction is better, unless they contradict."""
    document = {
        "version": 1,
        "candidates": {"from": "any", "rank": {"metric": "z_auc", "order": "highest"}},
        "rules": [
            {"metric": "a_ms", "at_most": 50},
            {"not": {"metric": "bias", "at_least": 0.1}},
            {"metric": "size", "at_least": 1},
            {"metric": "size", "at_most": 9},
            {"any_of": [{"metric": "loss", "beats": "champion", "order": "lowest"}, {"metric": "f1", "beats": "champion"}]},
        ],
        "guards": [{"metric": "live_auc", "at_least": 0.8}],
    }
    found = Policy("p", "d", PolicyDocument.model_validate(document)).read_metrics
    assert next(iter(found)) == MetricRef("z_auc")
    assert {metric.name: order for metric, order in found.items()} == {
        "z_auc": "highest",
        "a_ms": "lowest",
        "bias": "lowest",
        "size": None,
        "loss": "lowest",
        "f1": "highest",
        "live_auc": "highest",
    }


@pytest.mark.parametrize(
    ("row", "apart", "better", "size"),
    [
        (MetricRow("m", 0.3, 0.1, "highest"), "0.2", True, 2 / 3),
        (MetricRow("m", 0.3, 0.1, "lowest"), "0.2", False, 2 / 3),
        (MetricRow("m", 0.3, 0.1), "0.2", None, 2 / 3),
        (MetricRow("m", 0.1, 0.1, "highest"), "0.0", None, 0),
        (MetricRow("m", 0.1, None, "highest"), "None", None, float("inf")),
        (MetricRow("m", NAN, NAN, "highest"), "None", None, 0),
        (MetricRow("m", None, None, "highest"), "None", None, 0),
        (MetricRow("m", 1e308, -1e308, "highest"), "2E+308", True, 2),
    ],
)
def test_a_figure_beside_another(row: MetricRow, apart: str, better: bool | None, size: float) -> None:
    """The difference is that of the digits that people read; what is no number is never better."""
    assert (str(row.difference), row.is_better) == (apart, better)
    assert row.change_size == pytest.approx(size)


TAGS = {
    "promoter.source.registry": "staging",
    "promoter.source.model": "fraud",
    "promoter.source.version": "3",
    "promoter.source.run_id": "r",
}


@pytest.mark.parametrize(
    ("source", "tags", "found"),
    [
        ("s3://a", TAGS, CopyOrigin("fraud", 3, "staging", "r")),
        ("models:/fraud-staging/4", TAGS, CopyOrigin("fraud-staging", 4, "", "run")),
        ("models:/m-123", {}, None),
        (None, {**TAGS, "promoter.source.version": "three"}, None),
        (None, {**TAGS, "promoter.source.version": "-3"}, None),
        (None, {**TAGS, "promoter.source.model": "x" * 5_000}, None),
        (None, {**TAGS, "promoter.source.registry": ""}, None),
        (f"models:/{'x' * 5_000}/4", {}, None),
    ],
)
def test_the_origin_of_a_copy(source: str | None, tags: dict[str, str], found: CopyOrigin | None) -> None:
    """MLflow's own mark counts before tags that came along, and what cannot be a name is none."""
    assert ModelVersion(9, AT, "run", source, tags=tags).copied_from == found


def test_the_words_inside_a_pull_request() -> None:
    """No decision says there that there is no pull request yet; a tag that has these words keeps them."""
    rule = ReviewRule(review=ReviewTerms(at_least=2))
    made = rule.evaluate(Evidence(AT, VersionEvidence(9)), RuleContext())
    assert made.value == "no pull request yet"
    (shown,) = describe_within_pull_request([made])
    assert (shown.value, shown.verdict) == ("this pull request, whose approvals count", made.verdict)
    tag = type(made)("tag note present", made.verdict, "no pull request yet", "any value", (made,))
    (kept,) = describe_within_pull_request([tag])
    assert (kept.value, kept.children[0].value) == (tag.value, shown.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one two three", "one two three"),
        ("one two three four", "one two…"),
        ("x" * 20, "x" * 12 + "…"),
        ("alpha (bc, defghij", "alpha (bc…"),
    ],
)
def test_whole_words(text: str, shown: str) -> None:
    """What does not fit ends behind a word, unless a word alone does not fit."""
    assert shorten_to_words(text, 13) == shown
