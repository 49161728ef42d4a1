"""Which version is a copy of which, what follows for rotation, and what its tags are worth."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from pydantic import ValidationError

from promoter.domain.copy_source import (
    AliasRef,
    SourceAlias,
    SourceVersion,
    build_unknown_registry_error,
    find_withheld_tags,
    list_used_registries,
)
from promoter.domain.desired import AliasIntent, PromoteFrom, RegistryDocument
from promoter.domain.errors import TransientError
from promoter.domain.evidence import Evidence, TagObservation, VersionEvidence, find_new_observations, find_witnessed_tags
from promoter.domain.observed import ModelVersion, ObservedModel, TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.rotation import CandidateSearch, choose_best_candidate, find_candidates, list_rotation_obstacles

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACE = AliasRef("staging", "m", "champion")
SOURCE = SourceVersion("staging", "m", ModelVersion(7, AT, "run-7", tags={"approved_by": "risk"}))
HOLDING = SourceAlias(PLACE, SOURCE)
WITHIN = SourceVersion("", "work", ModelVersion(7, AT, "run-7"))
INTENT = AliasIntent(
    "m", "champion", rotation="commit", policy="p", promote_from=PromoteFrom(registry="staging", alias="champion")
)
POLICY = Policy("p", "d", PolicyDocument.model_validate({"version": 1, "rules": [{"metric": "auc", "at_least": 0.5}]}))


def copy(number: int, source: SourceVersion = SOURCE, *, ready: bool = True) -> ModelVersion:
    """A copy of it, as Promoter leaves it."""
    made_at = AT + timedelta(minutes=number)
    if not source.registry:
        return ModelVersion(number, made_at, source.version.run_id, f"models:/{source.model}/{source.version.number}", ready)
    return ModelVersion(number, made_at, f"copy-{number}", "mlflow-artifacts:/1/model", ready, dict(source.copy_tags))


def model(*versions: ModelVersion, **aliases: int) -> ObservedModel:
    """The model here."""
    return ObservedModel("m", aliases, {each.number: each for each in versions})


@pytest.mark.parametrize(
    ("observed", "intent", "holding", "expected"),
    [
        (model(), INTENT, None, "m@champion in staging was not looked at"),
        (model(), INTENT, SourceAlias(PLACE), "nobody holds m@champion in staging"),
        (
            model(),
            INTENT,
            SourceAlias(PLACE, trouble=TransientError("staging", "no answer")),
            "staging cannot be read: no answer",
        ),
        (
            model(),
            INTENT,
            SourceAlias(PLACE, trouble=build_unknown_registry_error("staging")),
            "staging cannot be read: the settings name no registry `staging`",
        ),
        (
            model(),
            INTENT,
            SourceAlias(PLACE, replace(SOURCE, version=replace(SOURCE.version, ready=False))),
            "m@champion in staging is v7, which is not ready",
        ),
        (model(), INTENT, HOLDING, "v7 of m in staging has champion there, and is not copied yet"),
        (model(copy(2), champion=2), INTENT, HOLDING, "v2 is the copy of v7 of m in staging"),
        (model(copy(2), copy(3), champion=2), INTENT, HOLDING, "v2 is the copy of v7 of m in staging"),
        (model(copy(2, ready=False)), INTENT, HOLDING, "v2, the copy of v7 of m in staging, is not ready"),
        (
            model(copy(2), copy(3)),
            replace(INTENT, quarantine=frozenset({2})),
            HOLDING,
            "v2, the copy of v7 of m in staging, is in quarantine",
        ),
    ],
)
def test_why_there_is_no_candidate(
    observed: ObservedModel, intent: AliasIntent, holding: SourceAlias | None, expected: str
) -> None:
    """Each in words; and only where there is no copy at all, one is to be made."""
    found = find_candidates(intent, POLICY, observed, {}, AT, holding)
    assert (found.versions, found.reason) == ((), expected)
    assert (found.missing is SOURCE) == ("not copied yet" in expected)


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (model(copy(2)), 2),
        (model(copy(2), copy(3)), 3),
        (model(copy(2), copy(3, ready=False)), 2),
        (model(copy(2), ModelVersion(5, AT), champion=5), 2),
    ],
    ids=["the copy", "the newest copy", "not one that is not ready", "an older one than the holder"],
)
def test_the_candidate(observed: ObservedModel, expected: int) -> None:
    """The copy of the present holder, whatever else is here."""
    assert find_candidates(INTENT, POLICY, observed, {}, AT, HOLDING) == CandidateSearch((expected,))


def test_what_the_policy_says_of_candidates_is_ignored() -> None:
    """The alias says where its versions come from; a policy without `candidates` is enough."""
    document = {"version": 1, "rules": [{"metric": "auc", "at_least": 0.5}], "candidates": {"from": "any"}}
    policy = Policy("p", "d", PolicyDocument.model_validate(document))
    observed = model(copy(2), ModelVersion(3, AT))
    assert find_candidates(INTENT, policy, observed, {}, AT, HOLDING) == CandidateSearch((2,))
    assert find_candidates(replace(INTENT, promote_from=None), policy, observed, {}, AT).versions == (2, 3)


def test_a_single_candidate_needs_no_rank() -> None:
    """A policy that other aliases use may rank by a metric that the copy does not have."""
    candidates = {"from": "any", "rank": {"metric": "val_auc", "order": "highest"}}
    document = {"version": 1, "rules": [{"metric": "auc", "at_least": 0.5}], "candidates": candidates}
    policy = Policy("p", "d", PolicyDocument.model_validate(document))
    evidence = Evidence(AT, VersionEvidence(2, run_id="r", run=TrainingRun("r", "FINISHED", {"auc": 0.9})), model="m")
    decision = evaluate_policy(policy, "m", "champion", evidence)
    proposal = choose_best_candidate(INTENT, policy, None, {2: decision}).proposal
    assert proposal is not None
    assert proposal.edit.version == 2
    assert choose_best_candidate(replace(INTENT, promote_from=None), policy, None, {2: decision}).proposal is None


@pytest.mark.parametrize(
    "version",
    [
        replace(copy(2), tags={**SOURCE.copy_tags, "promoter.source.registry": "dev"}),
        replace(copy(2), tags={**SOURCE.copy_tags, "promoter.source.model": "n"}),
        replace(copy(2), tags={**SOURCE.copy_tags, "promoter.source.version": "8"}),
        replace(copy(2), tags={**SOURCE.copy_tags, "promoter.source.run_id": "run-8"}),
        replace(copy(2), tags=replace(SOURCE, version=replace(SOURCE.version, created_at=AT + timedelta(seconds=1))).copy_tags),
        replace(copy(2), tags={key: value for key, value in SOURCE.copy_tags.items() if not key.endswith("created_at")}),
        replace(copy(2), source="models:/m/1"),
        copy(2, WITHIN),
    ],
    ids=["registry", "model", "version", "run", "made anew", "half tagged", "copied here once more", "of this registry"],
)
def test_what_is_no_copy_of_it(version: ModelVersion) -> None:
    """Everything has to be the same."""
    assert SOURCE.is_copied_as(copy(2))
    assert not SOURCE.is_copied_as(version)


@pytest.mark.parametrize(
    "version",
    [
        replace(copy(2, WITHIN), source="models:/work/8"),
        replace(copy(2, WITHIN), run_id="run-8"),
        replace(copy(2, WITHIN), created_at=AT - timedelta(hours=1)),
        copy(2),
    ],
    ids=["version", "run", "copied before it was there", "of another registry"],
)
def test_what_is_no_copy_within_the_registry(version: ModelVersion) -> None:
    """A version that is older than its source is a copy of one that had the same number."""
    assert WITHIN.is_copied_as(copy(2, WITHIN))
    assert not WITHIN.is_copied_as(version)


def test_tags_of_a_copy_from_elsewhere_count_once_they_are_set_on_it() -> None:
    """Like those of a copy within a registry: seen on it from the start they came along; set later, somebody meant it."""
    came = replace(copy(2), tags={**SOURCE.copy_tags, "approved_by": "risk"})
    assert came.is_copied
    first = find_new_observations("m", [came], {"approved_by"}, (), AT)
    assert find_witnessed_tags(came, first) == frozenset()
    without = replace(came, tags=dict(SOURCE.copy_tags))
    deleted = [*first, *find_new_observations("m", [without], {"approved_by"}, first, AT)]
    again = [*deleted, *find_new_observations("m", [came], {"approved_by"}, deleted, AT)]
    assert find_witnessed_tags(came, again) == {"approved_by"}
    assert all(isinstance(each, TagObservation) for each in again)


def test_one_tag_of_its_source_is_enough_to_be_a_copy() -> None:
    """So that nobody makes approvals count by taking away one of them."""
    assert ModelVersion(2, AT, tags={"promoter.source.run_id": "r"}).is_copied
    assert not ModelVersion(2, AT, tags={"promoter.approval/p/ada": "x"}).is_copied


def test_why_a_version_is_not_considered() -> None:
    """Only copies are; which one, the standing tells."""
    observed = model(copy(2), ModelVersion(3, AT))
    assert list_rotation_obstacles(INTENT, POLICY, observed, 2, AT) == []
    assert list_rotation_obstacles(INTENT, POLICY, observed, 3, AT) == [
        "v3 is no copy, and champion gets copies only (`promote_from`)"
    ]


def test_a_place_is_this_models_or_this_registrys_unless_it_says_otherwise() -> None:
    """And reads as people say it."""
    assert AliasRef.from_intent(INTENT) == PLACE
    within = replace(INTENT, promote_from=PromoteFrom(model="work", alias="challenger"))
    assert (str(AliasRef.from_intent(INTENT)), str(AliasRef.from_intent(within))) == (
        "m@champion in staging",
        "work@challenger",
    )
    assert AliasRef.from_intent(replace(INTENT, promote_from=None)) is None
    with pytest.raises(ValidationError, match="names a `registry`, a `model`, or both"):
        PromoteFrom(alias="champion")


def test_the_registries_that_a_document_names() -> None:
    """With where: in the defaults, in families, and of models."""
    said = {"promote_from": {"registry": "staging", "alias": "champion"}}
    document = RegistryDocument.model_validate(
        {
            "version": 1,
            "defaults": {"aliases": {"shadow": said}},
            "families": [
                {"match": "demand-*", "aliases": {"champion": {"promote_from": {"registry": "dev", "alias": "champion"}}}}
            ],
            "models": {"m": {"aliases": {"champion": said, "other": {"promote_from": {"model": "n", "alias": "champion"}}}}},
        }
    )
    assert list_used_registries(document) == {"staging": ["defaults@shadow", "m@champion"], "dev": ["demand-*@champion"]}


def read_policy(*rules: str, guards: str = "[]") -> Policy:
    """A policy with these rules, each in YAML."""
    text = "version: 1\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules) + f"guards: {guards}\n"
    return Policy("p", "d", PolicyDocument.model_validate(yaml.safe_load(text)))


@pytest.mark.parametrize(
    ("rules", "withheld"),
    [
        (("{age: {at_most: 1d}}",), set()),
        (("{tag: reviewed, present: true}",), {"reviewed"}),
        (("{tag: reviewed, present: true, bound: true}",), {"reviewed"}),
        (("{tag: reviewed, present: true, copied: accept}",), set()),
        (("{tag: reviewed, present: true}", "{tag: reviewed, equals: x, copied: accept}"), set()),
        (("any_of: [{tag: a, present: true}, {not: {tag: b, equals: x}}]",), {"a", "b"}),
        (('{expression: \'version.tags["risk"] == "low"\'}',), {"risk"}),
        (("{tag: promoter.source.registry, equals: staging, copied: accept}",), set()),
        (("{tag: promoter.source.tag.reviewed, equals: risk, copied: accept}",), {"reviewed"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_which_tags_a_copy_must_not_have_from_its_source(rules: tuple[str, ...], withheld: set[str]) -> None:
    """Those that a rule or a guard asks for on the version itself, however deep; and `approved_by`, also before any asks."""
    assert find_withheld_tags([read_policy(*rules)]) == withheld | {"approved_by"}
    assert find_withheld_tags([read_policy("{age: {at_most: 1d}}", guards="[{tag: incident, equals: none}]")]) == {
        "approved_by",
        "incident",
    }


def test_a_rule_that_accepts_the_approval_of_the_source() -> None:
    """The tag stays as it is: it is meant to come along."""
    policy = read_policy("{tag: approved_by, present: true, copied: accept}")
    assert find_withheld_tags([policy]) == set()
    assert find_withheld_tags([policy, read_policy("{tag: approved_by, present: true}")]) == set()


@pytest.mark.parametrize("source", [SOURCE, WITHIN], ids=["elsewhere", "within"])
def test_what_was_said_of_the_source_is_not_said_of_the_copy(source: SourceVersion) -> None:
    """Approvals and withheld tags get another name, whatever chain of copies they come by; everything else stays."""
    tags = {
        "approved_by": "risk",
        "note": "n",
        "promoter.approval/p/ada": "signed",
        "promoter.source.tag.approved_by": "of a farther place",
        "promoter.source.tag.else": "x",
        "a" * 250: "too long with the prefix",
    }
    moved = replace(source, version=replace(source.version, tags=tags))
    found = moved.select_copied_tags({"approved_by", "a" * 250})
    own = moved.copy_tags if source.registry else {}
    assert found == {
        "note": "n",
        "promoter.source.tag.approved_by": "risk",
        "promoter.source.tag.promoter.approval/p/ada": "signed",
        **own,
    }
    again = replace(WITHIN, version=replace(WITHIN.version, tags=dict(found)))
    assert again.select_copied_tags({"approved_by"}) == {"note": "n", **own}
