"""Plans: empty where nothing differs, complete, safe at every prefix, and bounded."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given

from promoter.domain.desired import DesiredState, RegistryDocument, Safety
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import (
    AliasDifference,
    BlockedTarget,
    Change,
    ChangeCause,
    ChangeGate,
    Plan,
    build_plan,
    compare_model,
)
from tests.support.strategies.plans import NOW, versions, worlds

World = tuple[DesiredState, dict[str, ObservedModel], dict[str, dict[str, int | None]]]


def plan_of(world: World) -> Plan:
    """The plan of a world in which every gate is open."""
    desired, observed, settled = world
    compared = [compare_model(intent, observed.get(name), settled.get(name, {})) for name, intent in desired.listed.items()]
    changes = [Change(difference) for part in compared for difference in part.differences]
    return build_plan("a" * 40, changes, compared, desired.document.safety, 100)


def carry_out(observed: dict[str, ObservedModel], changes: tuple[Change, ...]) -> dict[str, ObservedModel]:
    """The registry after those changes."""
    after = dict(observed)
    for change in changes:
        what = change.difference
        aliases = dict(after[what.model].aliases)
        if what.to_version is None:
            del aliases[what.alias]
        else:
            aliases[what.alias] = what.to_version
        after[what.model] = replace(after[what.model], aliases=aliases)
    return after


@given(worlds())
def test_a_plan_carried_out_leaves_nothing_to_plan(world: World) -> None:
    """Planning again after the plan finds no change, and what was blocked or reported is told again."""
    desired, observed, settled = world
    plan = plan_of(world)
    again = plan_of((desired, carry_out(observed, plan.changes), settled))
    assert again.changes == ()
    assert again.blocked == plan.blocked
    assert again.reported == plan.reported


@given(worlds())
def test_a_plan_carried_out_yields_the_desired_state(world: World) -> None:
    """Every stated alias of a model that is neither blocked nor only reported stands where git says."""
    desired, observed, _ = world
    plan = plan_of(world)
    after = carry_out(observed, plan.changes)
    blocked = {each.model for each in plan.blocked if each.alias != "champion" or "prune" not in each.reason}
    reported = {(each.model, each.alias) for each in plan.reported}
    for name, intent in desired.listed.items():
        for alias in intent.aliases.values():
            if alias.has_declared_target and name not in blocked and (name, alias.alias) not in reported:
                assert after[name].aliases.get(alias.alias) == alias.version
        if intent.prune and name in after and name not in blocked:
            assert set(after[name].aliases) <= {*intent.aliases, "champion"}


@given(worlds())
def test_every_prefix_of_a_plan_is_safe(world: World) -> None:
    """At every step, each alias has its old or its planned version, and no champion is missing that was there."""
    desired, observed, _ = world
    plan = plan_of(world)
    target = carry_out(observed, plan.changes)
    for length in range(len(plan.changes) + 1):
        state = carry_out(observed, plan.changes[:length])
        for name, model in state.items():
            for alias in {*model.aliases, *observed[name].aliases, *target[name].aliases}:
                assert model.aliases.get(alias) in (observed[name].aliases.get(alias), target[name].aliases.get(alias))
            wanted = desired.listed[name].aliases.get("champion")
            if "champion" in observed[name].aliases and not (wanted and wanted.absent):
                assert "champion" in model.aliases
            if name in target and model.aliases != target[name].aliases and "champion" in target[name].aliases:
                deleted = observed[name].aliases.keys() - model.aliases.keys()
                assert not deleted or model.aliases.get("champion") == target[name].aliases["champion"]


@given(worlds())
def test_a_plan_of_a_matching_registry_is_empty(world: World) -> None:
    """Nothing to change means an empty plan, whatever was agreed on before."""
    desired, observed, settled = world
    matching = {
        name: replace(
            model,
            versions=versions(7),
            aliases={a.alias: a.version for a in desired.listed[name].aliases.values() if a.version is not None},
        )
        for name, model in observed.items()
    }
    plan = plan_of((desired, matching, settled))
    assert (plan.changes, plan.reported) == ((), ())
    assert all(each.model not in matching for each in plan.blocked)


def one(aliases: dict[str, object], **settings: object) -> DesiredState:
    """A desired state with the one model `fraud`."""
    models = {"fraud": {"aliases": aliases, **settings}}
    return DesiredState.from_document(RegistryDocument.model_validate({"version": 1, "models": models}))


def test_a_missing_version_blocks_its_model_whole_and_says_which() -> None:
    """No half of a commit is carried out where the registry lacks a version that it names."""
    desired = one({"champion": 2, "challenger": 9})
    compared = compare_model(desired.listed["fraud"], ObservedModel("fraud", {"champion": 1}, versions(3)), {})
    assert compared.differences == ()
    reason = "the registry has no version 9 of this model (the newest is 3)"
    assert compared.blocked == (BlockedTarget("fraud", "challenger", reason),)


def test_a_difference_is_drift_only_where_git_and_the_registry_had_agreed() -> None:
    """The same difference is a new decision, and gated, until both sides have once said the same."""
    intent = one({"champion": {"version": 2, "policy": "champion"}}).listed["fraud"]
    observed = ObservedModel("fraud", {"champion": 3}, versions(3))
    new = compare_model(intent, observed, {}).differences[0]
    back = compare_model(intent, observed, {"champion": RememberedVersion(2)}).differences[0]
    assert (new.cause, new.select_gate(NOW, held_before=False)) == (ChangeCause.COMMIT, ChangeGate.POLICY)
    assert (back.cause, back.select_gate(NOW, held_before=False)) == (ChangeCause.DRIFT, ChangeGate.NONE)


@pytest.mark.parametrize(
    ("until", "held_before", "gate"),
    [
        (None, True, ChangeGate.READINESS),
        (NOW + timedelta(days=8), True, ChangeGate.READINESS),
        (NOW - timedelta(days=22), True, ChangeGate.POLICY),
        (None, False, ChangeGate.POLICY),
    ],
)
def test_a_version_returns_under_a_hold_by_readiness(until: datetime | None, held_before: bool, gate: ChangeGate) -> None:
    """Only a version that held the alias before, and only while the hold is in force, is spared the policy."""
    hold = {"reason": "bad recall", "by": "alice"} | ({"until": until} if until else {})
    entry = {"version": 2, "policy": "champion", "hold": hold}
    intent = one({"champion": entry}).listed["fraud"]
    found = compare_model(intent, ObservedModel("fraud", {"champion": 3}, versions(3)), {}).differences[0]
    assert found.select_gate(NOW, held_before=held_before) is gate


def test_prune_deletes_strays_and_never_the_champion() -> None:
    """A champion goes only where git says so in words."""
    intent = one({}, prune=True).listed["fraud"]
    compared = compare_model(intent, ObservedModel("fraud", {"champion": 1, "old": 2}, versions(2)), {})
    assert [(each.alias, each.to_version, each.cause) for each in compared.differences] == [("old", None, ChangeCause.PRUNE)]
    assert [each.alias for each in compared.blocked] == ["champion"]


@pytest.mark.parametrize(
    ("limit", "count", "managed", "refused"),
    [
        ("30%", 10, 10, False),
        ("30%", 11, 36, True),
        ("30%", 11, 37, False),
        ("0%", 11, 1_000, True),
        ("100%", 500, 500, False),
        (5, 6, 1_000, True),
        (5, 5, 5, False),
    ],
)
def test_a_plan_over_the_mass_change_limit_is_refused_whole(limit: str | int, count: int, managed: int, refused: bool) -> None:
    """Above the limit nothing is carried out, and the reason names the figures."""
    changes = [Change(AliasDifference("fraud", f"a{n}", 1, 2, ChangeCause.COMMIT)) for n in range(count)]
    plan = build_plan(None, changes, [], Safety(max_changes=limit), managed)
    assert (plan.refused is not None) is refused
    assert len(plan.allowed_changes) == (0 if refused else count)


def test_the_digest_says_what_would_be_done_and_nothing_else() -> None:
    """Equal plans have equal digests; another revision, target or order of things does not."""
    change = Change(AliasDifference("fraud", "champion", 1, 2, ChangeCause.COMMIT))
    other = Change(AliasDifference("fraud", "champion", 1, 3, ChangeCause.COMMIT))
    digest = build_plan("a", [change], [], Safety(), 1).digest
    assert digest == build_plan("a", [change], [], Safety(), 99).digest
    assert digest not in (build_plan("b", [change], [], Safety(), 1).digest, build_plan("a", [other], [], Safety(), 1).digest)
