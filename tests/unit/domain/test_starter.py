"""What a starter makes of the holders of aliases: bounds, tags, families, gates, and aliases from stages."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from math import inf

import pytest

from promoter.domain.observed import ModelVersion, ObservedModel
from promoter.domain.starter import (
    FAMILY_SIZE,
    ChosenMetric,
    HolderEvidence,
    Starter,
    StarterModel,
    StarterPolicies,
    TagDemand,
    build_starter,
    find_owners,
    map_stages,
)
from tests.support.fakes.repository import START


def champion(name: str, tags: dict[str, str] | None = None, **metrics: float) -> StarterModel:
    """A model whose champion is version 1, with these metrics."""
    return StarterModel(name, {"champion": 1}, holders={1: HolderEvidence(metrics, tags or {})})


def policies_for(*values: float, metric: str = "val_auc") -> StarterPolicies:
    """The policies for champions with these values."""
    models = [champion(f"m{number}", **{metric: value}) for number, value in enumerate(values)]
    return build_starter(models).policies[0]


@pytest.mark.parametrize(
    ("metric", "values", "bound", "margin"),
    [
        ("val_auc", (0.9, 0.95), "0.88", "0.005"),
        ("val_auc", (0.99, 1.0), "0.97", ""),
        ("val_auc", (0.0, 0.5), "0.00", "0.005"),
        ("val_rmse", (10.0, 12.3), "14", "1%"),
        ("val_rmse", (0.0, 0.0), "0", "1%"),
        ("val_rmse", (1.0, 2e6), None, "1%"),
        ("val_rmse", (1e-300,), None, "1%"),
        ("val_rmse", (1.7e308,), None, "1%"),
        ("val_r2", (-0.5, 0.5), None, "1%"),
    ],
)
def test_bounds_come_from_the_holders(metric: str, values: tuple[float, ...], bound: str | None, margin: str) -> None:
    """The worst value with some room; none where one bound suits no two of them, or nobody would write the number."""
    found = policies_for(*values, metric=metric)
    assert found.champion_bound == (None if bound is None else Decimal(bound))
    assert found.margin == margin


def test_each_metric_has_its_policies() -> None:
    """Models are grouped by the metric that decides, the largest group first; names that differ by signs only stay apart."""
    models = [champion("a", val_auc=0.9), champion("b", val_auc=0.9), champion("c", val_rmse=3.0)]
    models += [champion("d", **{"val.rmse": 3.0}), champion("e", training_loss=0.1)]
    made = build_starter(models)
    assert [each.champion for each in made.policies] == ["champion", "champion-val-rmse", "champion-val-rmse-2"]
    assert made.unmeasured == ("e",)
    assert [made.find_policy(model, "champion") for model in made.models[:3]] == ["champion", "champion", "champion-val-rmse-2"]


def test_what_a_person_chose_decides() -> None:
    """The first metric that a model has counts, a training metric too; the others are decided as if nobody had chosen."""
    models = [champion("a", val_auc=0.9, val_f1=0.8), champion("b", training_loss=0.1), champion("c", val_f1=0.7, val_acc=0.8)]
    made = build_starter(models, wanted=[ChosenMetric("val_auc", "highest"), ChosenMetric("training_loss", "lowest")])
    assert {each.metric.name for each in made.policies} == {"val_auc", "training_loss"}
    assert [each.models for each in made.undecided] == [("c",)]
    assert build_starter(models).needs_choice


@pytest.mark.parametrize(
    ("tags", "demands"),
    [
        ([{"approved_by": "risk"}, {"approved_by": "ds"}], (TagDemand("approved_by", ("ds", "risk")),)),
        ([{"validation_status": "ok", "framework": "x"}], (TagDemand("validation_status", ("ok",)),)),
        ([{"approved_at": "2026-11-01"}], (TagDemand("approved_at"),)),
        ([{"approved_by": f"person {number}"} for number in range(11)], (TagDemand("approved_by"),)),
        ([{"approved_by": "a\x1b[2J"}], (TagDemand("approved_by"),)),
        ([{"approved_by": "risk"}, {}, {}], ()),
        ([{"mlflow.approved": "x"}, {"team": "risk"}], ()),
    ],
)
def test_tags_that_most_holders_have(tags: list[dict[str, str]], demands: tuple[TagDemand, ...]) -> None:
    """A tag that looks like an approval is asked for: with the values seen, or with any value where these are no list."""
    models = [champion(f"m{number}", own, val_auc=0.9) for number, own in enumerate(tags)]
    assert build_starter(models).policies[0].tags == demands


def test_families_of_names() -> None:
    """Hundreds of names that share a beginning and their policies become a family, below a prefix of the whole company too."""
    demand = [champion(f"acme-demand-{number}", val_rmse=3.0) for number in range(FAMILY_SIZE)]
    fraud = [champion(f"acme-fraud-{number}", val_auc=0.9) for number in range(FAMILY_SIZE - 1)]
    made = build_starter([*demand, *fraud], [model.name for model in (*demand, *fraud)])
    assert [(each.prefix, each.policies.champion, each.count) for each in made.families] == [
        ("acme-demand-", "champion", FAMILY_SIZE)
    ]
    unmeasured = replace(demand[0], holders={1: HolderEvidence()})
    assert build_starter([unmeasured, *demand[1:]]).families == (), "one of them could never pass"
    odd = [champion(f"a[1]-{number}", val_rmse=3.0) for number in range(FAMILY_SIZE)]
    assert build_starter(odd).families == (), "a pattern would mean other names"


def test_owners_from_tags() -> None:
    """Owners are split, and what does not print is none."""
    assert find_owners({"Owner": "risk; fraud, ,risk", "team": "ml", "x": "y"}) == ("risk", "fraud", "ml")
    assert find_owners({"owner": "a\x1b[2J"}) == ()


def test_stages_become_aliases() -> None:
    """The newest ready version of a stage; what an alias says already stays, and what is left is named with its reason."""
    versions = {number: ModelVersion(number, START, ready=number != 5) for number in range(1, 7)}
    model = ObservedModel("m", {}, versions)
    stages = {1: "Archived", 2: "Production", 3: "Production", 4: "Staging", 5: "Staging", 6: "Other"}
    new, left = map_stages(model, stages)
    assert new == {"champion": 3, "challenger": 4}
    assert [(each.version, each.reason) for each in left] == [
        (5, "its registration is not complete"),
        (2, "champion becomes v3, which is newer"),
    ]
    new, left = map_stages(replace(model, aliases={"champion": 1, "challenger": 4}), {3: "Production", 4: "Staging"})
    assert new == {}
    assert [(each.version, each.reason) for each in left] == [(3, "champion is v1 already")]


def test_a_new_alias_is_gated_only_where_it_passes() -> None:
    """What was in production before there was a policy is not blocked by it; nor is a family made of such models."""
    good = StarterModel("good", {}, {"champion": 1}, holders={1: HolderEvidence({"val_auc": 0.9})})
    running = replace(good, name="running", holders={1: HolderEvidence({"val_auc": 0.9}, finished=False)})
    made = build_starter([good, running])
    assert [made.find_policy(model, "champion") for model in made.models] == ["champion", None]
    assert made.find_policy(good, "shadow") is None


def test_the_limit_grows_with_the_new_aliases() -> None:
    """More new aliases than a plan may usually change, and more than the ten that are always allowed, raise the limit."""
    new = tuple(StarterModel(f"n{number}", {}, {"champion": 1}) for number in range(11))
    old = tuple(StarterModel(f"o{number}", {"champion": 1}) for number in range(30))
    assert Starter(new).exceeds_limit
    assert not Starter(new[:10]).exceeds_limit
    assert not Starter((*new, *old)).exceeds_limit


def test_names_that_the_file_cannot_hold() -> None:
    """Such a model is left out by its name, and the others are stated; infinite values never get here."""
    made = build_starter([champion("a\tb", val_auc=0.9), champion("ok", val_auc=0.9)])
    assert (made.left_out, [model.name for model in made.models]) == (("a\tb",), ["ok"])
    assert inf not in made.models[0].holders[1].metrics.values()
