"""The metric rule with `confidence`: which values it pairs, and what it finds; and what it is called."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from promoter.domain.decision import RuleFinding
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import LoggedModel, MetricRef, MetricSeries, MetricValue, TrainingRun, Unreadable
from promoter.domain.policy.rules import BaseRule, Rule, RuleContext
from tests.support.strategies.plans import NOW

RULE: TypeAdapter[BaseRule] = TypeAdapter(Rule)
HIGHEST = RuleContext(order="highest")
HOLDOUT = RuleContext(order="highest", source="logged_model", dataset="holdout")
SURE = {"metric": "auc", "beats": "champion", "confidence": 0.95}
OURS, THEIRS = (0.71, 0.74, 0.75, 0.78, 0.79), (0.70, 0.72, 0.74, 0.76, 0.78)
ON_RUN, ON_HOLDOUT = MetricRef("auc"), MetricRef("auc", "logged_model", "holdout")
INTERVAL = (0.00616709, 0.0218329, 0.9)


def folded(number: int, folds: tuple[float, ...], at: MetricRef = ON_RUN) -> VersionEvidence:
    """A version with these values of its run, step by step."""
    run = TrainingRun(f"run-{number}", "FINISHED", {"auc": folds[-1]} if folds else {})
    return VersionEvidence(number, run=run, series=(MetricSeries(at, tuple(enumerate(folds))),))


def measured(number: int, folds: tuple[float, ...], digest: str | None = None, at: str = "holdout") -> VersionEvidence:
    """A version with these values of its logged model, step by step, and the digest of the data at the last."""
    logged = LoggedModel(f"m-{number}", (MetricValue("auc", folds[-1], at, digest),))
    series = MetricSeries(MetricRef("auc", "logged_model", at), tuple(enumerate(folds)))
    return VersionEvidence(number, run=TrainingRun(f"run-{number}", "FINISHED"), logged_model=logged, series=(series,))


def finding(
    terms: dict[str, Any], candidate: VersionEvidence, holder: VersionEvidence | None, setting: RuleContext = HIGHEST
) -> RuleFinding:
    """What the rule with confidence finds, where `champion` is held by `holder`."""
    return RULE.validate_python({**SURE, **terms}).evaluate(Evidence(NOW, candidate, {"champion": holder}), setting)


def words(told: str) -> str:
    """The usual expectation."""
    return f"a gain {told.replace('WITH', 'with confidence 0.95 against champion v1 over')}"


@pytest.mark.parametrize(
    ("terms", "candidate", "holder", "verdict", "value", "expected", "interval"),
    [
        ({}, folded(2, OURS), folded(1, THEIRS), "pass", 0.014, words("above 0 WITH 5 steps (folds)"), INTERVAL),
        (
            {"by": "0.9%"},
            folded(2, OURS),
            folded(1, THEIRS),
            "fail",
            0.014,
            words("above 0.00666 WITH 5 steps (folds)"),
            INTERVAL,
        ),
        (
            {"by": 0.007, "steps": "independent"},
            folded(2, OURS),
            folded(1, THEIRS),
            "pass",
            0.014,
            words("above 0.007 WITH 5 steps (independent)"),
            (0.00877806, 0.0192219, 0.9),
        ),
        (
            {"order": "lowest"},
            folded(2, THEIRS),
            folded(1, OURS),
            "pass",
            0.014,
            words("above 0 WITH 5 steps (folds)"),
            INTERVAL,
        ),
        (
            {},
            folded(2, OURS[:4]),
            folded(1, THEIRS),
            "error",
            None,
            words("WITH the same steps: only champion v1 has 4"),
            None,
        ),
        ({}, folded(2, OURS), folded(1, ()), "pending", None, words("WITH values at steps: champion v1 has none"), None),
        ({}, folded(2, OURS), folded(2, OURS), "fail", 0.79, "better than champion v2, which is this very version", None),
        ({}, folded(2, OURS), None, "pass", 0.79, "better than champion (nobody else holds it)", None),
    ],
)
def test_a_metric_that_beats_the_holder_with_confidence(
    terms: dict[str, Any],
    candidate: VersionEvidence,
    holder: VersionEvidence | None,
    verdict: str,
    value: float | None,
    expected: str,
    interval: tuple[float, float, float] | None,
) -> None:
    """The whole finding, with its interval."""
    found = finding(terms, candidate, holder)
    assert (found.verdict, found.value, found.expected) == (verdict, value, expected)
    assert (astuple(found.interval) if found.interval else None) == (pytest.approx(interval, rel=1e-5) if interval else None)


@pytest.mark.parametrize(
    ("candidate", "holder", "verdict", "expected"),
    [
        (measured(2, OURS, "a"), measured(1, THEIRS, "a"), "pass", words("above 0 WITH 5 steps (folds)")),
        (measured(2, OURS), measured(1, THEIRS), "pass", words("above 0 WITH 5 steps (folds)")),
        (
            measured(2, OURS, "a"),
            measured(1, THEIRS, "b"),
            "error",
            "values measured on the data of champion v1: digest b, not a",
        ),
        (
            measured(2, OURS, "a"),
            measured(1, THEIRS, "a", at="train"),
            "error",
            "auc on dataset holdout, and champion v1 has it on dataset train only",
        ),
        (
            folded(2, OURS),
            measured(1, THEIRS, "a"),
            "error",
            "the logged model of this version to be readable: it was not asked for",
        ),
        (
            measured(2, OURS, "a"),
            VersionEvidence(1, logged_model=Unreadable("it was deleted")),
            "error",
            "the logged model of champion v1 to be readable: it was deleted",
        ),
    ],
)
def test_confidence_compares_what_was_measured_on_the_same_data(
    candidate: VersionEvidence, holder: VersionEvidence, verdict: str, expected: str
) -> None:
    """On the dataset of the policy, with the digest that the holder was measured on; anything else is an error."""
    found = finding({}, candidate, holder, HOLDOUT)
    assert (found.verdict, found.expected) == (verdict, expected)


def test_the_source_of_the_rule_decides_which_values_are_paired() -> None:
    """Values of the run do not stand in for those of the logged model, nor the other way round."""
    both = [
        VersionEvidence(
            number,
            run=TrainingRun(f"run-{number}", "FINISHED", {"auc": 0.5}),
            logged_model=LoggedModel(f"m-{number}", (MetricValue("auc", 0.5, "holdout"),)),
            series=(MetricSeries(ON_RUN, tuple(enumerate(run))), MetricSeries(ON_HOLDOUT, tuple(enumerate(model)))),
        )
        for number, run, model in ((2, OURS, THEIRS), (1, THEIRS, OURS))
    ]
    assert finding({"source": "run"}, both[0], both[1], HOLDOUT).value == 0.014
    assert finding({}, both[0], both[1], HOLDOUT).value == -0.014


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"metric": "auc", "at_least": 0.9999996}, "metric auc at_least 0.9999996"),
        ({"metric": "auc", "at_most": 0.9500004}, "metric auc at_most 0.9500004"),
        ({"metric": "ms", "at_most": 1_234_567}, "metric ms at_most 1234567"),
        ({"metric": "ms", "at_most": 0.0}, "metric ms at_most 0"),
        (SURE, "metric auc beats champion with confidence 0.95"),
        ({**SURE, "confidence": 0.99999999}, "metric auc beats champion with confidence 0.99999999"),
        ({**SURE, "by": "1%"}, "metric auc beats champion by 1% with confidence 0.95"),
        ({**SURE, "steps": "independent"}, "metric auc beats champion with confidence 0.95 over independent steps"),
        ({**SURE, "dataset": "holdout"}, "metric auc on holdout beats champion with confidence 0.95"),
    ],
)
def test_a_rule_is_called_by_what_it_asks(written: dict[str, Any], text: str) -> None:
    """Its text is what a waiver and `explain` call it."""
    assert str(RULE.validate_python(written)) == text


@pytest.mark.parametrize(
    "terms",
    [
        {"by": 10**400},
        {"by": -(10**400)},
        {"confidence": 0.49},
        {"confidence": 10**400},
        {"confidence": "0.95"},
        {"confidence": True},
        {"steps": "days"},
    ],
)
def test_terms_that_are_none_are_refused(terms: dict[str, Any]) -> None:
    """Beyond the range of a double, or of the setting: a fault of the file."""
    with pytest.raises(ValidationError):
        RULE.validate_python({**SURE, **terms})


def test_a_bound_is_a_number_that_a_metric_can_have() -> None:
    """An integer between two doubles would be compared as another one."""
    with pytest.raises(ValidationError, match="the nearest one is 9007199254740992"):
        RULE.validate_python({"metric": "rows", "at_least": 2**53 + 1})
