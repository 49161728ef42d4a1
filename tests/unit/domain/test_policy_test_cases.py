"""Cases: the evidence that they state, and how they run: on the product's own evaluation, compared with what is expected."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from promoter.application.policy_tests import run_policy_tests
from promoter.domain.approvals import Approver, ApproverDirectory
from promoter.domain.observed import MetricRef
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.test_cases import Case, CaseFile, CasesDocument
from promoter.domain.policy.test_runner import CaseRun, find_case_faults, list_verdict_targets, run_policy_case

GOOD = {"val_auc": 0.96}
ALICE = Approver(key="ed25519:" + base64.b64encode(bytes(32)).decode(), groups=("risk",))


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    """A policy of these rules, in which a higher val_auc is better."""
    ranked = {"from": "any", "rank": {"metric": "val_auc", "order": "highest"}}
    written = {"version": 1, "candidates": ranked, "rules": list(rules), **more}
    return Policy("champion", "d1", PolicyDocument.model_validate(written), ApproverDirectory({"alice": ALICE}))


def case(version: dict[str, Any], **more: Any) -> Case:
    """A case that expects a pass, unless it says what it expects."""
    expected = {} if more.keys() & {"expect", "rules", "guards"} else {"expect": "pass"}
    return Case.model_validate({"name": "one", "version": version, **expected, **more})


def ran(tested: Policy, version: dict[str, Any], **more: Any) -> CaseRun:
    """A run of the one case."""
    return run_policy_case(tested, case(version, **more))


@pytest.mark.parametrize(
    ("rule", "version", "verdict"),
    [
        ({"metric": "auc", "at_least": 0.9}, {"metrics": {"auc": 0.9}}, "pass"),
        ({"metric": "auc", "at_least": 0.9}, {"metrics": {"auc": 0.8}}, "fail"),
        ({"metric": "auc", "at_least": 0.9}, {}, "pending"),
        ({"metric": "auc", "at_least": 0.9}, {"metrics": {"auc": float("nan")}}, "error"),
        ({"metric": "auc", "at_least": 0.9}, {"series": {"auc": [0.1, 0.9, None]}}, "pass"),
        ({"metric": "auc", "at_least": 0.9}, {"series": {"auc": [0.9, 0.1]}}, "fail"),
        ({"metric": "auc", "at_least": 0.9}, {"series": {"auc": [None]}}, "pending"),
        ({"metric": "auc", "at_least": 0.9, "dataset": "new"}, {"metrics": {"auc": 0.9}}, "error"),
        (
            {"metric": "auc", "at_least": 0.9, "dataset": "new"},
            {"logged_model": {"metrics": {"auc": 0.1}, "datasets": {"new": {"metrics": {"auc": 0.9}}}}},
            "pass",
        ),
        ({"metric": "auc", "at_least": 0.9, "source": "logged_model"}, {"logged_model": {"metrics": {"auc": 0.9}}}, "pass"),
        ({"metric": "auc", "at_least": 0.9, "source": "logged_model"}, {"logged_model": "unreadable"}, "error"),
        ({"tag": "by", "equals": "risk"}, {"tags": {"by": "risk"}}, "pass"),
        ({"tag": "by", "equals": "risk"}, {"tags": {"by": "risk"}, "copied": True}, "pending"),
        ({"tag": "by", "equals": "risk"}, {"tags": {"by": "risk"}, "copied": True, "witnessed": ["by"]}, "pass"),
        ({"tag": "by", "equals": "risk", "bound": True}, {"tags": {"by": "risk"}}, "pending"),
        ({"tag": "by", "equals": "risk", "bound": True}, {"tags": {"by": "risk"}, "witnessed": ["by"]}, "pass"),
        ({"run": {"status": "FINISHED"}}, {}, "pass"),
        ({"run": {"status": "FINISHED"}}, {"run": {"status": "RUNNING"}}, "pending"),
        ({"run": {"status": "FINISHED"}}, {"run": None}, "error"),
        ({"run": {"experiment": "e", "user": "u"}}, {"run": {"experiment": "e", "user": "u"}}, "pass"),
        ({"run": {"params": {"k": "1"}}}, {"run": {"params": {"k": "2"}}}, "fail"),
        ({"run": {"dataset": {"digest": "d"}}}, {"run": {"datasets": [{"name": "n", "digest": "d"}]}}, "pass"),
        ({"age": {"at_least": "1h"}}, {"age": "1h"}, "pass"),
        ({"age": {"at_least": "1h"}}, {}, "pending"),
        ({"age": {"at_most": "1d"}}, {"age": "2d"}, "fail"),
        ({"soak": {"alias": "next", "at_least": "1d"}}, {"held": {"next": "30h"}}, "pass"),
        ({"soak": {"alias": "next", "at_least": "1d"}}, {"held": {"next": "3h"}}, "pending"),
        ({"soak": {"alias": "next", "at_least": "1d"}}, {"held": {"next": {"since": "50h", "until": "20h"}}}, "pass"),
        ({"soak": {"alias": "next", "at_least": "1d"}}, {"held": {"next": {"since": "50h", "until": "30h"}}}, "pending"),
        ({"signature": {"present": True}}, {"signature": {"inputs": {"age": "long"}}}, "pass"),
        ({"signature": {"present": True}}, {}, "fail"),
        ({"signature": {"present": True}}, {"signature": "unreadable"}, "error"),
        ({"loads": True}, {"loads": True}, "pass"),
        ({"loads": True}, {"loads": False}, "fail"),
        ({"loads": True}, {"loads": "untried"}, "error"),
        ({"loads": True}, {}, "pending"),
        ({"description": {"present": True}}, {"description": "Detects fraud."}, "pass"),
        ({"description": {"present": True}}, {"description": " "}, "pending"),
        ({"description": {"present": True}}, {}, "pending"),
        ({"description": {"present": True}}, {"description": "unreadable"}, "error"),
    ],
)
def test_a_case_states_the_evidence_of_every_rule(rule: dict[str, Any], version: dict[str, Any], verdict: str) -> None:
    """Each kind of rule finds what the version of the case has."""
    assert ran(policy(rule), version).decision.verdict == verdict


@pytest.mark.parametrize(
    ("rule", "version", "holders", "verdict"),
    [
        ({"metric": "val_auc", "beats": "champion"}, {"metrics": GOOD}, {"champion": {"metrics": {"val_auc": 0.95}}}, "pass"),
        ({"metric": "val_auc", "beats": "champion"}, {"metrics": GOOD}, {"champion": {"metrics": {"val_auc": 0.97}}}, "fail"),
        ({"metric": "val_auc", "beats": "champion"}, {"metrics": GOOD}, {"champion": {"run": None}}, "pending"),
        ({"metric": "val_auc", "beats": "champion"}, {"metrics": GOOD}, {"champion": None}, "pass"),
        ({"metric": "val_auc", "beats": "champion"}, {"metrics": GOOD}, {}, "pass"),
        (
            {"metric": "fold", "beats": "champion", "confidence": 0.95},
            {"series": {"fold": [0.95, 0.96, 0.94, 0.97, 0.95, 0.96]}},
            {"champion": {"series": {"fold": [0.9, 0.91, 0.89, 0.91, 0.9, 0.92]}}},
            "pass",
        ),
        (
            {"metric": "fold", "beats": "champion", "confidence": 0.95},
            {"series": {"fold": [0.95, 0.96, 0.94, 0.97, 0.95, 0.96]}},
            {"champion": {"series": {"fold": [0.9, 0.91, 0.89]}}},
            "error",
        ),
        (
            {"signature": {"equals": "champion"}},
            {"signature": {"inputs": {"age": "long"}}},
            {"champion": {"signature": {"inputs": {"age": "double"}}}},
            "fail",
        ),
    ],
)
def test_holders_are_compared_with(
    rule: dict[str, Any], version: dict[str, Any], holders: dict[str, Any], verdict: str
) -> None:
    """A holder has the same keys as the version; an alias that the case leaves out is held by nobody."""
    assert ran(policy(rule), version, holders=holders).decision.verdict == verdict


def test_a_version_is_no_rival_of_its_own() -> None:
    """As in production: the holder of the alias in question is not compared with itself, and nothing moves."""
    tested = policy({"metric": "val_auc", "beats": "champion"}, limits={"cooldown": "6h"})
    itself = {"champion": {"number": 2, "metrics": GOOD}}
    own = case({"metrics": GOOD}, alias="champion", moves=["1h"], holders=itself)
    assert (own.moves_alias, own.build_case_evidence(tested).holders, own.build_case_evidence(tested).past) == (
        False,
        {"champion": None},
        None,
    )
    assert [each.rule for each in run_policy_case(tested, own).decision.findings] == ["metric val_auc beats champion"]
    other = case({"metrics": GOOD}, alias="challenger", holders=itself)
    assert run_policy_case(tested, other).decision.findings[0].verdict == "fail", "of another alias it is"


def test_series_are_told_with_their_steps() -> None:
    """A step without a value is left out, also of the logged model on a dataset."""
    version = {
        "series": {"fold": [0.9, None, 0.7]},
        "logged_model": {"series": {"fold": [1]}, "datasets": {"new": {"series": {"fold": [2]}}}},
    }
    candidate = case(version).build_case_evidence(policy({"loads": True})).candidate
    assert candidate.find_step_values(MetricRef("fold")) == {0: 0.9, 2: 0.7}
    assert candidate.find_step_values(MetricRef("fold", "logged_model")) == {0: 1.0}
    assert candidate.find_step_values(MetricRef("fold", "logged_model", "new")) == {0: 2.0}


def test_an_artifact_is_tried_only_once_everything_else_passes() -> None:
    """As in production: where another rule does not pass, what loading would bring is not known."""
    tested = policy({"loads": True}, {"metric": "val_auc", "at_least": 0.9})
    assert [each.verdict for each in ran(tested, {"loads": False, "metrics": GOOD}).decision.findings] == ["fail", "pass"]
    assert [each.verdict for each in ran(tested, {"loads": False}).decision.findings] == ["pending", "pending"]


@pytest.mark.parametrize(
    ("more", "verdicts"),
    [
        ({}, ["pass", "pass", "pass"]),
        ({"moves": ["1h"]}, ["pending", "pass", "pass"]),
        ({"moves": ["20h", "7h"]}, ["pass", "pending", "pass"]),
        ({"at": "2026-01-10T12:00:00Z"}, ["pass", "pass", "pending"]),
        ({"at": "2026-01-10T12:00:00Z", "begun": "2d"}, ["pass", "pass", "pass"]),
        ({"at": "2026-01-10T12:00:00Z", "override": "outage"}, ["pass", "pass", "pass"]),
    ],
)
def test_limits_and_freezes_are_judged_where_an_alias_moves(more: dict[str, Any], verdicts: list[str]) -> None:
    """They are expected by their text, like rules."""
    texts = ("cooldown 6h", "max_per_day 2", "freeze 0 18 * * FRI for 62h UTC")
    limits = {"limits": {"cooldown": "6h", "max_per_day": 2}, "freeze": [{"cron": "0 18 * * FRI", "duration": "62h"}]}
    expected = dict(zip(texts, verdicts, strict=True))
    tested = policy({"run": {"status": "FINISHED"}}, **limits)
    moment = {"at": datetime.fromisoformat(more["at"])} if "at" in more else {}
    assert ran(tested, {}, alias="champion", rules=expected, **{**more, **moment}).mismatches == ()
    wrong = dict.fromkeys(texts, "error")
    assert len(ran(tested, {}, alias="champion", rules=wrong, **{**more, **moment}).mismatches) == 3


def test_every_unexpected_verdict_is_told_with_what_was_seen() -> None:
    """Of the whole, of a rule by its name, of one inside a group by its text, of the group, and of a guard."""
    tested = policy(
        {"metric": "val_auc", "at_least": 0.95, "name": "good"},
        {"any_of": [{"tag": "by", "present": True}, {"not": {"metric": "p99", "at_most": 50}}]},
        guards=[{"metric": "live", "at_least": 0.8}],
    )
    rules = {"good": "fail", "tag by present": "pass", "metric p99 at_most 50": "fail", "any_of": "fail", "not": "pass"}
    found = ran(tested, {"metrics": {"val_auc": 0.96, "p99": 40}}, expect="pass", rules=rules, guards={
        "metric live at_least 0.8": "pass",
    }).mismatches  # fmt: skip
    assert [(each.part, each.rule, each.expected, each.got, each.description) for each in found] == [
        (None, "the whole", "pass", "pending", "any_of is pending (saw 0 of 2 pass, expected at least one passes)"),
        ("rules", "good", "fail", "pass", "saw 0.96, wanted at least 0.95"),
        ("rules", "any_of (rule 2)", "fail", "pending", "saw 0 of 2 pass, wanted at least one passes"),
        ("rules", "tag by present", "pass", "pending", "saw nothing, wanted present"),
        ("rules", "not (rule 2.2)", "pass", "fail", "saw 1 of 1 pass, wanted it fails"),
        ("rules", "metric p99 at_most 50", "fail", "pass", "saw 40, wanted at most 50"),
        ("guards", "metric live at_least 0.8", "pass", "pending", "saw nothing, wanted at least 0.8"),
    ]


def test_an_expectation_of_nothing_is_never_met() -> None:
    """Whatever verdict is expected: of a name that the policy does not have, of a limit where nothing moves, of no guard."""
    tested = policy({"run": {"status": "FINISHED"}}, limits={"cooldown": "6h"})
    expected = {"rules": {"cooldown 6h": "error", "bare": "pass"}, "guards": {"bare": "error"}}
    found = ran(tested, {}, **expected).mismatches
    assert [(each.part, each.rule, each.got, each.description) for each in found] == [
        ("rules", "cooldown 6h", "error", "nothing of that name was judged"),
        ("rules", "bare", "error", "nothing of that name was judged"),
        ("guards", "bare", "error", "nothing of that name was judged"),
    ]


def test_a_waived_rule_passes_and_is_not_covered_by_it() -> None:
    """The verdict expected is that of the decision; what the rule itself found is what counts as seen."""
    waiver = {"model": "fraud", "version": 2, "rule": "good", "reason": "r", "until": case({}).at.replace(year=2027)}
    tested = policy({"metric": "val_auc", "at_least": 0.95, "name": "good"}, waivers=[waiver])
    told = ran(tested, {"metrics": {"val_auc": 0.9}}, model="fraud", expect="pass", rules={"good": "pass"})
    assert told.has_passed
    assert list(told.verdicts.values()) == ["fail"]
    assert not ran(tested, {"metrics": {"val_auc": 0.9}}, model="other").has_passed


def test_approvals_are_signed_for_the_case() -> None:
    """Stated people approve as `promoter approve` would, by the product's own check; nobody else does."""
    tested = policy({"approval": {"at_least": 1, "from": ["risk"]}}, {"metric": "val_auc", "at_least": 0.95})
    assert ran(tested, {"metrics": GOOD}, approvals=["alice"]).decision.verdict == "pass"
    assert ran(tested, {"metrics": GOOD}).decision.verdict == "pending"
    assert ran(tested, {"metrics": GOOD}, approvals=["bob"]).decision.verdict == "pending", "approvers.yaml has no bob"
    late = ALICE.model_copy(update={"until": case({}).at})
    expired = Policy("champion", "d1", tested.document, ApproverDirectory({"alice": late}))
    assert ran(expired, {"metrics": GOOD}, approvals=["alice"]).decision.verdict == "pending", "`until` is over"
    signed = ran(tested, {"metrics": GOOD}, approvals=["alice"]).decision.evidence
    assert signed is not None
    copied = {"metrics": {"val_auc": 0.97}, "tags": dict(signed.candidate.tags)}
    assert ran(tested, copied).decision.verdict == "pending", "the key is the case's own: approvers.yaml does not know it"


def test_what_no_type_shows_is_a_slip() -> None:
    """Names that the policy does not have, or has twice, in the order of the cases; with what may have been meant."""
    twice = {"metric": "p99", "at_most": 50}
    tested = policy(
        {"metric": "val_auc", "beats": "champion"}, {"any_of": [twice, twice]}, limits={"cooldown": "6h"}, guards=[twice]
    )
    rules = {"metric p99 at_most 50": "pass", "metric val_auc beat champion": "pass", "cooldown 6h": "pass"}
    guards = {"metric val_auc beats champion": "pass"}
    written = case({}, rules=rules, guards=guards, holders={"champoin": None, "champion": None}, approvals=["alicia"])
    found = list(find_case_faults(CasesDocument(version=1, cases=(written,)), tested))
    assert [(each.path[2:], each.message) for each in found] == [
        (
            ("rules", "metric p99 at_most 50"),
            "`metric p99 at_most 50` names 2 rules: give the one that is meant a `name`",
        ),
        (
            ("rules", "metric val_auc beat champion"),
            "`metric val_auc beat champion` names no rule of policy `champion`",
        ),
        (("rules", "cooldown 6h"), "`cooldown 6h` is judged only where an alias moves"),
        (
            ("guards", "metric val_auc beats champion"),
            "`metric val_auc beats champion` names no guard of policy `champion`",
        ),
        (("approvals", 0), "`alicia` is not in approvers.yaml"),
        (("holders", "champoin"), "nothing in policy `champion` compares with the holder of `champoin`"),
    ]
    assert [(each.word, each.known) for each in found[-2:]] == [("alicia", ("alice",)), ("champoin", ("champion",))]
    assert "metric val_auc beats champion" in found[1].known


def test_a_review_that_nothing_looks_at_is_a_slip() -> None:
    """And so is a team that no rule asks for, with those that one does."""
    stated = case({}, review={"teams": {"acme/rsik": ["alice"], "acme/risk": ["bob"]}}, expect="pending")
    document = CasesDocument(version=1, cases=(stated,))
    (found,) = find_case_faults(document, policy({"review": {"from": ["acme/risk"]}}))
    assert (found.path[2:], found.word, found.known) == (("review", "teams", "acme/rsik"), "acme/rsik", ("acme/risk",))
    (found,) = find_case_faults(document, policy({"metric": "auc", "at_least": 1}))
    assert (found.path[2:], found.message) == (
        ("review",),
        "no rule of policy `champion` looks at the review of a pull request",
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"version": {}, "rules": {}}, "a case expects something: say `expect`, `rules` or `guards`"),
        (
            {"version": {}, "expect": "pass", "moves": ["1h"]},
            "`moves`, `begun` and `override` go with `alias`: they are the alias's own past",
        ),
        (
            {"version": {"run": None, "metrics": {"a": 1}}, "expect": "pass"},
            "`metrics` and `series` are those of the run, and `run: null` says that there is none",
        ),
        (
            {"version": {"witnessed": ["by"]}, "expect": "pass"},
            "`witnessed` names `by`, which is not among the `tags`",
        ),
        (
            {"version": {"held": {"next": {"since": "1h", "until": "1h"}}}, "expect": "pass"},
            "`until` is as long ago as `since`, or longer: both say how long ago",
        ),
        ({"version": {}, "expect": "pass", "name": "a\nb"}, "a case's name is one line of visible characters"),
    ],
)
def test_what_makes_no_sense_is_refused(written: dict[str, Any], message: str) -> None:
    """In words."""
    with pytest.raises(ValidationError) as caught:
        Case.model_validate({"name": "one", **written})
    assert [str(each["ctx"]["error"]) for each in caught.value.errors()] == [message]


def test_coverage_tells_what_was_never_seen() -> None:
    """Rules, those inside groups, limits and guards: over all cases of a policy, whatever these expect."""
    tested = policy(
        {"metric": "val_auc", "at_least": 0.9},
        {"any_of": [{"tag": "by", "present": True}, {"tag": "by", "present": True}]},
        limits={"cooldown": "6h"},
        guards=[{"metric": "live", "at_least": 0.8}],
    )
    assert [each.place for each in list_verdict_targets(tested)] == [
        "rule 1",
        "rule 2",
        "rule 2.1",
        "rule 2.2",
        "limit 1",
        "guard 1",
    ]
    cases = (
        case({"metrics": {"val_auc": 0.95}}, expect="pending"),
        case({"metrics": {"live": 0.9}}, guards={"metric live at_least 0.8": "pass"}),
    )
    report = run_policy_tests([CaseFile("f", "champion", cases, (3, 4))], {"champion": tested, "bare": policy({"loads": True})})
    suite = report.suites[1]
    assert [(str(each.target), [*each.verdicts], each.unseen_outcomes) for each in suite.coverage] == [
        ("metric val_auc at_least 0.9", ["pass", "pending"], ()),
        ("any_of (rule 2)", ["pending"], ("pass",)),
        ("tag by present", ["pending"], ("pass",)),
        ("tag by present", ["pending"], ("pass",)),
        ("cooldown 6h", [], ("pass", "fail")),
        ("metric live at_least 0.8", ["pass"], ("fail",)),
    ]
    assert (report.case_count, report.failed_count, report.rule_count, report.covered_count) == (2, 0, 6, 1)
    assert (report.untested_policies, report.is_complete) == (("bare",), False)
