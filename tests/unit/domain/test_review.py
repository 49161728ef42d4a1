"""Reviews of the pull request that brings a change: who counts, who does not and why, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import NOT_REQUESTED, Evidence, Need, VersionEvidence
from promoter.domain.observed import LoadingResult, TrainingRun, Unreadable
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy, hinges_on_loading, hinges_on_review
from promoter.domain.policy.rules.base import RuleContext
from promoter.domain.policy.rules.review import ReviewRule
from promoter.domain.review import ChangeOrigin, PullRequestReview
from tests.support.strategies.plans import NOW

WANTED = "an approval that counts"
TEAM = {"acme/risk": frozenset({"alice", "Bob"})}
ASKED = {"at_least": 2, "from": ["carol", "acme/risk"]}
TEXT = "review at_least 2 from [carol, acme/risk]"
EXPECTED = "2 of [carol, acme/risk] to approve the pull request, none of them an author"


def origin(*by: str, author: str = "dan", merged: bool = False, **changed: Any) -> ChangeOrigin:
    """A pull request that these accounts approve; a name with `~` did so before the last commit."""
    reviews = tuple(PullRequestReview(name.removeprefix("~"), NOW, stale=name.startswith("~")) for name in by)
    found = ChangeOrigin(12, "https://forge.example/12", author, frozenset({author}), reviews, merged, teams=TEAM)
    return replace(found, **changed)


def find(asked: dict[str, Any], seen: ChangeOrigin | Unreadable | None) -> RuleFinding:
    """What the rule finds."""
    rule = ReviewRule.model_validate({"review": asked})
    return rule.evaluate(Evidence(NOW, VersionEvidence(3), origin=seen), RuleContext())


def who(name: str, told: str = "approves") -> RuleFinding:
    """The line of one account."""
    return RuleFinding(name, Verdict.PASS if told == "approves" else Verdict.PENDING, told, WANTED)


def test_enough_of_those_who_are_asked() -> None:
    """By name, and as a member of a team, however the forge spells them."""
    found = find(ASKED, origin("Carol", "bob"))
    assert found == RuleFinding(TEXT, Verdict.PASS, "2 of 2 approve #12", EXPECTED, (who("bob"), who("Carol")))


@pytest.mark.parametrize("merged", [False, True])
def test_too_few(merged: bool) -> None:
    """Pending while somebody can still approve; a failure once it is merged. Each is told why he does not count."""
    found = find(ASKED, origin("carol", "~alice", "bob", "erin", author="BOB", merged=merged))
    assert found.verdict is (Verdict.FAIL if merged else Verdict.PENDING)
    assert found.value == "1 of 2 approve #12"
    assert found.children == (
        who("carol"),
        who("alice", "approved an earlier commit"),
        who("bob", "an author"),
        who("erin", "not among [carol, acme/risk]"),
    )


def test_whoever_has_a_commit_in_it_is_an_author() -> None:
    """Somebody who adds to another's pull request does not approve his own work."""
    seen = origin("carol", "alice", authors=frozenset({"dan", "Alice"}))
    assert find(ASKED, seen).verdict is Verdict.PENDING
    assert find({**ASKED, "not_author": False}, seen).verdict is Verdict.PASS
    assert find({**ASKED, "not_author": False}, seen).rule == TEXT + " not_author false"


def test_one_account_counts_once() -> None:
    """However often it says so, and by what it said of the last commit."""
    assert find(ASKED, origin("carol", "Carol", "CAROL")).value == "1 of 2 approve #12"
    assert find({"at_least": 1}, origin("~carol", "carol")).verdict is Verdict.PASS


def test_anybody_where_nobody_is_named() -> None:
    """One, and not the author, where nothing else is said."""
    assert find({}, origin("somebody")).verdict is Verdict.PASS
    assert find({}, origin("dan")).verdict is Verdict.PENDING
    assert find({}, origin()).expected == "1 to approve the pull request, none of them an author"


def test_a_team_is_no_account() -> None:
    """An account cannot pass by having a team's name."""
    assert find(ASKED, origin("acme/risk", "carol")).value == "1 of 2 approve #12"


def test_a_team_that_cannot_be_read() -> None:
    """Who is in it is not known, so that too few is no answer; where others are enough, it does not matter."""
    asked = {"from": ["carol", "acme/ml"]}
    found = find(asked, origin("alice"))
    assert found.verdict is Verdict.ERROR
    assert found.expected.endswith("and to know who is in acme/ml")
    assert find(asked, origin("carol")).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("seen", "verdict", "value"),
    [
        (NOT_REQUESTED, Verdict.PENDING, "no pull request yet"),
        (Unreadable("the forge does not answer"), Verdict.ERROR, None),
        (None, Verdict.FAIL, "pushed without a pull request"),
    ],
)
def test_without_a_pull_request(seen: Unreadable | None, verdict: Verdict, value: str | None) -> None:
    """Not yet is pending; never is a failure; not to be known is an error."""
    found = find(ASKED, seen)
    assert (found.verdict, found.value) == (verdict, value)


def test_a_crowd_hides_nobody() -> None:
    """What counts is told first, and the list has an end."""
    found = find(ASKED, origin(*(f"a{number:04}" for number in range(5_000)), "carol", "alice"))
    assert found.verdict is Verdict.PASS
    assert [child.rule for child in found.children[:2]] == ["alice", "carol"]
    assert len(found.children) == 22


@pytest.mark.parametrize(
    "asked",
    [{"from": ["a b"]}, {"from": [""]}, {"from": ["/x"]}, {"from": ["a//b"]}, {"at_least": 0}, {"at_least": 101}, {"by": 1}],
)
def test_what_cannot_be_written(asked: dict[str, Any]) -> None:
    """Names that no forge has, and counts that mean nothing."""
    with pytest.raises(ValidationError):
        ReviewRule.model_validate({"review": asked})


def test_names_that_forges_have() -> None:
    """Bots, groups of GitLab's with groups inside, one at the top level."""
    rule = ReviewRule.model_validate({"review": {"from": ["renovate[bot]", "acme/a/b", "acme/"], "at_least": 3}})
    assert rule.needed_evidence(RuleContext()) == Need(review=True, teams=frozenset({"acme/a/b", "acme/"}))
    assert rule.find_faults(RuleContext()) == []


def test_more_than_there_are_is_a_fault() -> None:
    """Nobody would ever pass."""
    rule = ReviewRule.model_validate({"review": {"from": ["alice", "ALICE"], "at_least": 2}})
    assert rule.find_faults(RuleContext()) == ["`at_least: 2` can never be: `from` names 1 accounts, and no team"]


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    """A policy with these rules."""
    return Policy("champion", "d1", PolicyDocument.model_validate({"version": 1, "rules": list(rules), **more}))


def test_it_cannot_guard() -> None:
    """A review is over by then."""
    guarded = policy({"metric": "auc", "at_least": 0.5}, guards=[{"any_of": [{"review": {}}, {"metric": "a", "at_least": 1}]}])
    assert [place for place, said in guarded.document.find_faults() if "a review cannot guard" in said] == [("guards", 0)]


REVIEW = {"review": ASKED}
GOOD, BAD = {"metric": "auc", "at_least": 0.5}, {"metric": "auc", "at_least": 0.95}
EVIDENCE = Evidence(NOW, VersionEvidence(3, run_id="r", run=TrainingRun("r", "FINISHED", {"auc": 0.9})), model="fraud")


def waits(*rules: dict[str, Any]) -> bool:
    """Whether only reviews stand between the version and the alias."""
    made = policy(*rules)
    return hinges_on_review(made, evaluate_policy(made, "fraud", "champion", EVIDENCE))


def test_what_only_waits_for_its_review() -> None:
    """Whatever the rules ask of people, and wherever among the groups; anything else that is open is not supposed away."""
    assert waits(GOOD, REVIEW)
    assert waits(GOOD, REVIEW, {"review": {"at_least": 3}})
    assert waits(GOOD, {"any_of": [BAD, REVIEW]})
    assert not waits(BAD, REVIEW)
    assert not waits(GOOD)
    assert not waits(GOOD, REVIEW, {"tag": "approved_by", "present": True})
    assert not waits(GOOD, {"not": REVIEW})


def test_nobody_can_be_supposed_who_does_not_exist() -> None:
    """A rule that can never pass is not waited for."""
    assert not waits(GOOD, {"review": {"at_least": 2, "from": ["alice"]}})


def test_a_finding_of_rotations_own_is_not_supposed_away() -> None:
    """A version without its rank is not proposed."""
    made = policy(GOOD, REVIEW)
    decision = evaluate_policy(made, "fraud", "champion", EVIDENCE)
    unranked = RuleFinding("rank auc highest", Verdict.PENDING, None, "a number to rank by")
    assert not hinges_on_review(made, replace(decision, findings=(*decision.findings, unranked)))


def test_loading_is_tried_before_people_are_asked() -> None:
    """What does not load is not proposed to anybody."""
    made = policy(GOOD, REVIEW, {"loads": True})
    decision = evaluate_policy(made, "fraud", "champion", EVIDENCE)
    assert hinges_on_loading(made, decision)
    loaded = replace(EVIDENCE, candidate=replace(EVIDENCE.candidate, loading=LoadingResult("loaded", "sklearn")))
    assert hinges_on_review(made, evaluate_policy(made, "fraud", "champion", loaded))
    broken = replace(EVIDENCE, candidate=replace(EVIDENCE.candidate, loading=LoadingResult("failed", "no module")))
    assert not hinges_on_review(made, evaluate_policy(made, "fraud", "champion", broken))


def test_an_origin_goes_into_the_ledger_and_back() -> None:
    """With the evidence that it belongs to."""
    for seen in (origin("alice", "~carol", merged=True, merge_commit="f" * 40), None, Unreadable("down"), NOT_REQUESTED):
        told = replace(EVIDENCE, origin=seen)
        assert Evidence.from_json(told.to_json()) == told
