"""The plan of a pull request, pure: what decides the status, what it brings, and who gates an alias."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.application.responses.plans import PullPlanResponse
from promoter.domain.commit_status import STATUS_LENGTH_LIMIT, CommitStatusState, shorten_to_line
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.desired import Declaration, DesiredState, Hold, PromoteFrom, ProposalSettings, RegistryDocument
from promoter.domain.errors import Fault
from promoter.domain.plan import AliasDifference, BlockedTarget, Change, ChangeCause, ModelComparison, Plan
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy_diff import AliasEffect, DivergentVersion, PolicyStep, PolicyStepKind, compare_policies
from promoter.domain.pull_plan import (
    MergeEffects,
    PullPlan,
    build_gated_declaration,
    describe_gate_changes,
    describe_setting_changes,
    select_new_blocks,
    select_new_changes,
)

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOUCHED = frozenset({"registry.yaml"})


def change(alias: str, verdict: Verdict | None = None, to: int | None = 2, enforcement: str = "enforce") -> Change:
    """Of model `m`, from v1."""
    decision = None
    if verdict is not None:
        finding = RuleFinding("metric auc at_least 0.9", verdict, 0.8, "at least 0.9")
        decision = Decision("m", alias, to or 0, "p", "d", verdict, (finding,), AT, enforcement=enforcement)  # type: ignore[arg-type]
    return Change(AliasDifference("m", alias, 1, to, ChangeCause.COMMIT), decision)


def pull(*changes: Change, due: tuple[Change, ...] = (), refused: str | None = None, **brought: object) -> PullPlan:
    """A plan that brings these."""
    plan = Plan("h" * 40, (*changes, *due), refused=refused)
    return PullPlan("b" * 40, "h" * 40, TOUCHED, plan=plan, brought=MergeEffects(changes, **brought))  # type: ignore[arg-type]


def declared(told: dict[str, object], **policies: str) -> Declaration:
    """`registry.yaml` with these keys, and policies of one rule on a tag of that name."""
    desired = DesiredState.from_document(RegistryDocument.model_validate({"version": 1, "models": {}, **told}))
    made = {
        name: Policy(name, tag, PolicyDocument.model_validate({"version": 1, "rules": [{"tag": tag, "present": True}]}))
        for name, tag in policies.items()
    }
    return Declaration(None, desired, made)


def one(**aliases: object) -> dict[str, object]:
    """A model `m` with these aliases."""
    return {"models": {"m": {"aliases": aliases}}}


LACKS = (BlockedTarget("m", "a", "no version 9"), BlockedTarget("n", None, "no model"))
FAULTS = (Fault("is no number", "registry.yaml", line=3, column=7), Fault("is missing", "policies/p.yaml"))


@pytest.mark.parametrize(
    ("found", "state", "description"),
    [
        (PullPlan("b", "h", plan=Plan("h")), CommitStatusState.SUCCESS, "it changes no file that Promoter reads"),
        (pull(), CommitStatusState.SUCCESS, "it moves no alias"),
        (pull(change("a"), change("b", Verdict.PASS)), CommitStatusState.SUCCESS, "2 changes, all allowed"),
        (pull(change("a"), due=(change("b", Verdict.FAIL),)), CommitStatusState.SUCCESS, "1 change, all allowed"),
        (
            pull(change("a", Verdict.FAIL, enforcement="audit")),
            CommitStatusState.SUCCESS,
            "1 change, all allowed, 1 only as their policy just watches",
        ),
        (
            pull(change("a", Verdict.PENDING), change("b")),
            CommitStatusState.PENDING,
            "1 of 2 changes waiting: m@a v2: metric auc at_least 0.9 is pending (saw 0.8, expected at least 0.9)",
        ),
        (
            pull(change("a", Verdict.PENDING), change("b", Verdict.ERROR)),
            CommitStatusState.FAILURE,
            "1 of 2 changes blocked: m@b v2: metric auc at_least 0.9 is error (saw 0.8, expected at least 0.9)",
        ),
        (pull(change("a", Verdict.PENDING), lacking=LACKS), CommitStatusState.FAILURE, "m@a: no version 9; and 1 more"),
        (pull(change("a"), refused="too many"), CommitStatusState.FAILURE, "too many"),
        (pull(due=(change("a"),), refused="too many"), CommitStatusState.SUCCESS, "it moves no alias"),
        (
            PullPlan("b", "h", TOUCHED, FAULTS),
            CommitStatusState.FAILURE,
            "2 faults: registry.yaml:3:7: is no number",
        ),
        (
            PullPlan("b", "h", TOUCHED, FAULTS, ("registry.yaml", "policies/a.yaml", "policies/b.yaml")),
            CommitStatusState.FAILURE,
            "conflicts with the base in registry.yaml, policies/a.yaml and 1 more: merge the base into it",
        ),
        (PullPlan("b", "h", TOUCHED, unjudged="no base"), CommitStatusState.FAILURE, "no base"),
    ],
)
def test_what_decides(found: PullPlan, state: CommitStatusState, description: str) -> None:
    """Only what the pull request brings: a failure before what is pending, and never what is due anyway."""
    assert (found.status_state, found.status_description) == (state, description)
    assert PullPlanResponse.from_value(found).state == state.value


@given(st.text())
def test_a_description_is_one_short_line(text: str) -> None:
    """Whatever stands in it."""
    told = shorten_to_line(text)
    assert len(told) <= STATUS_LENGTH_LIMIT
    assert told.isprintable()


def test_what_is_brought() -> None:
    """What the base by itself would not do: another target counts, and so does the first block of a model."""
    same, other = AliasDifference("m", "a", 1, 2, ChangeCause.COMMIT), AliasDifference("m", "b", 1, 3, ChangeCause.COMMIT)
    base = [ModelComparison((same, replace(other, to_version=2)), (LACKS[0],))]
    assert select_new_changes([Change(replace(same, cause=ChangeCause.DRIFT)), Change(other)], base) == (Change(other),)
    assert select_new_blocks([ModelComparison(blocked=LACKS)], base) == (LACKS[1],)


def test_who_gates() -> None:
    """The base, wherever it names a policy; else a policy of the base that the head names; also by family."""
    family = {"families": [{"match": "f-*", "aliases": {"champion": {"policy": "strict"}}}]}
    base = declared(one(a={"version": 1, "policy": "strict"}, b=1, d=1) | family, strict="x", weak="y")
    wanted = one(a={"version": 2, "policy": "weak"}, b={"version": 2, "policy": "weak"}, c={"version": 2, "policy": "new"}, d=2)
    weaker = {"families": [{"match": "f-*", "aliases": {"champion": {"policy": "weak"}}}]}
    merged = declared(wanted | weaker, strict="x", weak="y", new="z")
    judge = build_gated_declaration(merged, base, "h" * 40)
    intent, of_family = judge.desired.find_model_intent("m"), judge.desired.find_model_intent("f-1")
    assert intent is not None
    assert of_family is not None
    assert {name: alias.policy for name, alias in intent.aliases.items()} == {"a": "strict", "b": "weak", "c": None, "d": None}
    assert of_family.aliases["champion"].policy == "strict"
    assert {name: alias.version for name, alias in intent.aliases.items()} == {"a": 2, "b": 2, "c": 2, "d": 2}
    assert judge.policies is base.policies
    assert judge.desired.managed_alias_count == 4
    assert judge.desired.find_model_intent("other") is None
    assert describe_gate_changes(base, merged) == (
        "m@a: policy weak takes the place of strict from the next change on; this one is judged by strict",
        "m@b: policy weak gates it, from this change on",
        "m@c: policy new comes with this pull request: it judges from the next change on, and no policy gates this one",
    )
    dropped = declared(one(a=2, b=1, d=1), strict="x")
    assert describe_gate_changes(base, dropped) == (
        "m@a: no policy gates it from the next change on; this one is judged by strict",
    )


SENTENCES = (
    "`defaults` change",
    "`families` change",
    "`safety.max_changes` is 5 instead of 30%",
    "signed commits are required from now on",
    "m: owned by risk instead of nobody",
    "m: aliases that are not listed are deleted (`prune`)",
    "m: `on_drift` is report instead of revert",
    "m: settings of proposals change (labels, reviewers, auto-merge or `revise`)",
    "m@a: held by ada until 2026-11-23 12:00:00 UTC: bad recall",
    "m@a: v2 in quarantine",
    "m@a: v3 out of quarantine",
    "m@a: rotation is commit instead of off",
    "m@a: versions come from m@x in registry s instead of this model's own",
    "m@b: git says absent instead of v1",
    "m@gone: git says nothing of it any more",
    "m@held: the hold by ada is lifted: bad recall",
    "n: managed from now on",
    "n: owned by ml instead of nobody",
    "n@c: git says v1 instead of none",
)


def test_everything_that_is_said_besides_is_told() -> None:
    """One sentence each: whatever a document may say of a model or an alias, and what all models share."""
    hold = Hold(reason="bad recall", by="ada", until=AT)
    base = declared(one(a={"version": 1, "quarantine": [3]}, b=1, gone=1, held={"version": 1, "hold": hold.model_copy()}))
    document = base.desired.document
    model = document.models["m"]
    source = PromoteFrom(registry="s", alias="x")
    aliases = {
        "a": {"version": 1, "hold": hold, "quarantine": [2], "rotation": "commit", "promote_from": source},
        "b": "absent",
        "held": 2,
    }  # fmt: skip
    changed = model.model_validate(
        {
            "aliases": aliases,
            "owners": ["risk"],
            "prune": True,
            "on_drift": "report",
            "proposals": ProposalSettings(labels=("x",)),
        }
    )
    safety = {"max_changes": 5, "require_signed_commits": True}
    told = {"models": {"m": changed, "n": {"aliases": {"c": 1}}}, "safety": safety, "defaults": {"owners": ["ml"]}}
    merged = declared(told | {"families": [{"match": "x"}]})
    assert describe_setting_changes(base, merged, {("m", "held")}) == SENTENCES
    assert describe_setting_changes(merged, declared({}), ())[-2:] == (
        "m: no longer managed; its aliases stay as they are",
        "n: no longer managed; its aliases stay as they are",
    )


def test_steps_of_policies() -> None:
    """Changed, removed, added in the place of another, added for nobody, and renamed: by the bytes of the file."""
    base = declared(
        one(a={"version": 1, "policy": "kept"}, b={"version": 1, "policy": "old"}), kept="1", old="2", name="3", z="4"
    )
    merged = declared(
        one(a={"version": 1, "policy": "kept"}, b={"version": 1, "policy": "new"}), kept="9", new="5", other="3", spare="6"
    )
    assert compare_policies(base, merged) == (
        PolicyStep("kept", PolicyStepKind.CHANGED, "kept"),
        PolicyStep("new", PolicyStepKind.ADDED, "old"),
        PolicyStep("old", PolicyStepKind.REMOVED),
        PolicyStep("other", PolicyStepKind.RENAMED, "name"),
        PolicyStep("spare", PolicyStepKind.ADDED),
        PolicyStep("z", PolicyStepKind.REMOVED),
    )
    assert compare_policies(base, base) == ()


def test_an_effect_in_words() -> None:
    """Each thing that would have been otherwise; and that nothing would."""
    many = tuple(DivergentVersion(number, "why") for number in range(1, 8))
    effect = AliasEffect("m", "a", 9, many, many[:1], many[1:2], many[2:3], 4, None)
    assert effect.description_parts == (
        "would have blocked the promotion of v1 (why), v2 (why), v3 (why), v4 (why), v5 (why) and 2 more",
        "would have let through the promotion of v1 (why)",
        "turns down the candidate v2 (why)",
        "no longer turns down the candidate v3 (why)",
        "none would hold the alias now instead of v4",
    )
    assert AliasEffect("m", "a", None).description_parts == (
        "the ledger knows no past promotion",
        "nothing would have been otherwise",
    )
