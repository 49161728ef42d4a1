"""Every rule kind in a table of cases: pass, fail, pending, error, with the value seen and the expectation in words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.policy.rules import Rule, RuleContext
from promoter.domain.policy.rules.base import BaseRule
from tests.support.strategies.plans import NOW

RULE: TypeAdapter[BaseRule] = TypeAdapter(Rule)
NAN, INF = float("nan"), float("inf")


def finding(written: dict[str, Any], candidate: VersionEvidence, holder: VersionEvidence | None = None) -> RuleFinding:
    """What the rule finds, where higher is better and `champion` is held by `holder`."""
    rule = RULE.validate_python(written)
    return rule.evaluate(Evidence(NOW, candidate, {"champion": holder}), RuleContext(order="highest"))


def metrics(version: int = 2, **values: float) -> VersionEvidence:
    """A version whose finished run has these metrics."""
    return VersionEvidence(version, run_id=f"run-{version}", run=TrainingRun(f"run-{version}", "FINISHED", values))


@pytest.mark.parametrize(
    ("written", "value", "verdict", "expected"),
    [
        ({"metric": "auc", "at_least": 0.9}, 0.9, "pass", "at least 0.9"),
        ({"metric": "auc", "at_least": 0.9}, 0.89, "fail", "at least 0.9"),
        ({"metric": "auc", "at_least": 0.9}, None, "pending", "at least 0.9"),
        ({"metric": "auc", "at_least": 0.9}, NAN, "error", "at least 0.9"),
        ({"metric": "auc", "at_least": 0.9}, INF, "error", "at least 0.9"),
        ({"metric": "auc", "at_most": 0}, 0.0, "pass", "at most 0"),
        ({"metric": "auc", "at_most": 0}, 0.1, "fail", "at most 0"),
    ],
)
def test_a_metric_against_a_bound(written: dict[str, Any], value: float | None, verdict: str, expected: str) -> None:
    """Absent is pending, NaN and infinities are errors."""
    found = finding(written, metrics() if value is None else metrics(auc=value))
    assert (found.verdict, found.expected) == (verdict, expected)


@pytest.mark.parametrize(
    ("terms", "ours", "theirs", "verdict", "expected"),
    [
        ({}, 0.91, 0.90, "pass", "better than 0.9 (champion v1)"),
        ({}, 0.90, 0.90, "fail", "better than 0.9 (champion v1)"),
        ({"by": 0.005}, 0.905, 0.90, "pass", "at least 0.905 (champion v1 has 0.9)"),
        ({"by": 0.005}, 0.9049, 0.90, "fail", "at least 0.905 (champion v1 has 0.9)"),
        ({"by": 0.1}, 0.3, 0.2, "pass", "at least 0.3 (champion v1 has 0.2)"),
        ({"by": "1%"}, 0.909, 0.9, "pass", "at least 0.909 (champion v1 has 0.9)"),
        ({"by": "1%"}, 0.908, 0.9, "fail", "at least 0.909 (champion v1 has 0.9)"),
        ({"by": "10%", "order": "lowest"}, 89.9, 100.0, "pass", "at most 90 (champion v1 has 100.0)"),
        ({"by": "10%", "order": "lowest"}, 90.1, 100.0, "fail", "at most 90 (champion v1 has 100.0)"),
        ({"by": "10%"}, -0.91, -1.0, "fail", "at least -0.9 (champion v1 has -1.0)"),
        ({}, None, 0.9, "pending", None),
        ({}, NAN, 0.9, "error", None),
        ({}, 0.9, None, "pending", None),
        ({}, 0.9, NAN, "error", None),
    ],
)
def test_a_metric_that_beats_the_holder(
    terms: dict[str, Any], ours: float | None, theirs: float | None, verdict: str, expected: str | None
) -> None:
    """Margins are absolute or a share, in decimal, in the direction of the rank or of the rule itself."""
    candidate = metrics() if ours is None else metrics(auc=ours)
    holder = metrics(1) if theirs is None else metrics(1, auc=theirs)
    found = finding({"metric": "auc", "beats": "champion", **terms}, candidate, holder)
    assert found.verdict == verdict
    if expected is not None:
        assert found.expected == expected


def test_nobody_is_beaten_and_nobody_beats_itself() -> None:
    """An alias without a holder is beaten; a version never beats itself; an unknown holder is an error."""
    rule = {"metric": "auc", "beats": "champion"}
    assert finding(rule, metrics(auc=0.1), None).verdict is Verdict.PASS
    assert finding(rule, metrics(auc=0.1), metrics(auc=0.1)).verdict is Verdict.FAIL
    unknown = RULE.validate_python(rule).evaluate(Evidence(NOW, metrics(auc=0.1), {}), RuleContext("highest"))
    assert unknown.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("terms", "value", "verdict"),
    [
        ({"present": True}, "x", "pass"),
        ({"present": True}, None, "pending"),
        ({"equals": "risk"}, "risk", "pass"),
        ({"equals": "risk"}, "risk ", "fail"),
        ({"equals": "risk"}, None, "pending"),
        ({"one_of": ["a", "b"]}, "b", "pass"),
        ({"one_of": ["a", "b"]}, "c", "fail"),
        ({"matches": "[a-z]+@example[.]com"}, "bob@example.com", "pass"),
        ({"matches": "[a-z]+@example[.]com"}, "bob@example.com\n", "fail"),
        ({"matches": "[a-z]+@example[.]com"}, "x bob@example.com", "fail"),
        ({"matches": "(a+)+$"}, "a" * 5_000 + "!", "fail"),
    ],
)
def test_a_tag(terms: dict[str, Any], value: str | None, verdict: str) -> None:
    """Absent is pending; a pattern must match the whole value, in time that is linear in its length."""
    tags = {} if value is None else {"approved_by": value}
    assert finding({"tag": "approved_by", **terms}, VersionEvidence(2, tags=tags)).verdict == verdict


PASSES, FAILS = {"metric": "p", "at_least": 1}, {"metric": "f", "at_least": 1}
PENDING, ERROR = {"metric": "absent", "at_least": 1}, {"metric": "n", "at_least": 1}
SAMPLE = metrics(p=1.0, f=0.0, n=NAN)


@pytest.mark.parametrize(
    ("written", "verdict"),
    [
        ({"any_of": [FAILS, ERROR, PASSES]}, "pass"),
        ({"any_of": [FAILS, PENDING, ERROR]}, "error"),
        ({"any_of": [FAILS, PENDING]}, "pending"),
        ({"any_of": [FAILS]}, "fail"),
        ({"all_of": [PASSES, PASSES]}, "pass"),
        ({"all_of": [PASSES, ERROR, FAILS]}, "fail"),
        ({"all_of": [PASSES, PENDING, ERROR]}, "error"),
        ({"all_of": [PASSES, PENDING]}, "pending"),
        ({"not": FAILS}, "pass"),
        ({"not": PASSES}, "fail"),
        ({"not": PENDING}, "pending"),
        ({"not": ERROR}, "error"),
        ({"not": {"any_of": [FAILS, {"all_of": [PASSES, FAILS]}]}}, "pass"),
    ],
)
def test_groups_follow_three_valued_logic(written: dict[str, Any], verdict: str) -> None:
    """What is not known is never turned into a pass, by `not` neither."""
    assert finding(written, SAMPLE).verdict == verdict


@pytest.mark.parametrize(
    "written",
    [
        {"metric": "auc"},
        {"metric": "auc", "at_least": 1, "at_most": 2},
        {"metric": "auc", "at_least": "0.9"},
        {"metric": "auc", "at_least": True},
        {"metric": "auc", "at_least": NAN},
        {"metric": "auc", "at_least": 0.9, "by": 1},
        {"metric": "auc", "beats": "champion", "by": -1},
        {"metric": "auc", "beats": "champion", "by": "1"},
        {"metric": "auc", "beats": "latest"},
        {"tag": "a"},
        {"tag": "a", "present": False},
        {"tag": "a", "equals": True},
        {"tag": "a", "matches": "("},
        {"tag": "a", "matches": "(?=x)"},
        {"tag": "a", "one_of": []},
        {"run": {"status": "DONE"}},
        {"any_of": []},
        {"soak": {"alias": "challenger", "at_least": "24 hours"}},
        {"age": {"at_least": "2d", "at_most": "1d"}},
        {"age": {}},
        {"run": {}},
        {"run": {"params": {"depth": 6}}},
        {"signature": {"present": True, "equals": "champion"}},
        {"loads": False},
        {"description": {"present": False}},
        {"description": "present"},
        {"loads": 1},
        {"tag": "a", "present": 1.0},
        {"tag": "a", "present": True, "bound": True, "copied": "accept"},
        {"metric": "auc", "at_least": 1, "source": "run", "dataset": "holdout"},
        {"metric": "auc", "at_least": 1, "confidence": 0.95},
        {"metric": "auc", "beats": "champion", "confidence": 1},
        {"metric": "auc", "beats": "champion", "steps": "folds"},
        {"metric": "auc", "at_least": 1, "for": 0},
        {"not_": {"tag": "a", "present": True}},
        "metric",
    ],
)
def test_what_is_not_a_rule_is_refused(written: object) -> None:
    """A rule that could not be judged as meant is a fault of the file, never a rule that passes."""
    with pytest.raises(ValidationError):
        RULE.validate_python(written)


VERDICTS = {"pass": PASSES, "fail": FAILS, "pending": PENDING, "error": ERROR}
leaves = st.sampled_from(sorted(VERDICTS))
trees = st.recursive(
    leaves.map(lambda name: VERDICTS[name]),
    lambda inner: st.lists(inner, min_size=1, max_size=4).flatmap(
        lambda kids: st.sampled_from([{"any_of": kids}, {"all_of": kids}])
    ),
    max_leaves=12,
)


def worse(tree: dict[str, Any]) -> dict[str, Any]:
    """The same tree with every passing leaf failing."""
    parsed: dict[str, Any] = json.loads(json.dumps(tree).replace(json.dumps(PASSES), json.dumps(FAILS)))
    return parsed


@given(st.lists(trees, min_size=1, max_size=5), st.data())
def test_a_rule_turned_from_pass_to_fail_never_helps(rules: list[dict[str, Any]], data: st.DataObject) -> None:
    """Whatever the other rules say, a decision that did not pass does not pass after a rule got worse."""
    index = data.draw(st.integers(0, len(rules) - 1))
    damaged = [worse(rule) if position == index else rule for position, rule in enumerate(rules)]
    before, after = (
        evaluate_policy(
            Policy("p", "d", PolicyDocument.model_validate({"version": 1, "rules": each})), "m", "a", Evidence(NOW, SAMPLE)
        )
        for each in (rules, damaged)
    )
    assert not (after.verdict is Verdict.PASS and before.verdict is not Verdict.PASS)
    plain = {"all_of": [*rules, FAILS]}
    assert finding(plain, SAMPLE).verdict is Verdict.FAIL


@given(st.floats(), st.floats(), st.sampled_from([0, 0.005, "1%", "0%", 3]), st.sampled_from(["highest", "lowest"]))
def test_beats_never_passes_on_a_number_that_is_not_better(ours: float, theirs: float, by: object, order: str) -> None:
    """For any two floats, a pass means better in the direction of the order; NaN and infinities are errors."""
    found = finding({"metric": "m", "beats": "champion", "by": by, "order": order}, metrics(m=ours), metrics(1, m=theirs))
    if found.verdict is Verdict.PASS:
        assert ours > theirs if order == "highest" else ours < theirs
    if not all(math.isfinite(value) for value in (ours, theirs)):
        assert found.verdict is Verdict.ERROR


def test_what_is_told_of_evidence_is_visible() -> None:
    """A tag that holds escape sequences, line breaks or a change of direction paints over nothing."""
    tags = {"approved_by": "risk\x1b[2K\r\n✓ pass\u202e"}
    found = finding({"tag": "approved_by", "equals": "risk"}, VersionEvidence(2, tags=tags))
    assert found.value == "risk\\x1b[2K\\r\\n✓ pass\\u202e"
    assert isinstance(found.value, str)
    assert found.value.isprintable()


def test_what_belongs_to_guards_is_refused_elsewhere() -> None:
    """`for` in a rule or inside of a group, and an approval as a guard."""
    guard = {"metric": "live", "at_least": 1, "for": 3}
    approval = {"approval": {"from": ["risk"]}}
    document = PolicyDocument.model_validate(
        {"version": 1, "rules": [guard, PASSES], "guards": [{"any_of": [guard]}, {"not": approval}, guard]}
    )
    assert [(path, said.partition(":")[0]) for path, said in document.find_faults()] == [
        (("rules", 0), "`for` and `every` belong to a guard"),
        (("guards", 0), "`for` and `every` belong to the guard as a whole, not to a rule inside"),
        (("guards", 1), "an approval cannot guard"),
    ]
