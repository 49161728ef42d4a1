"""The JSON Schemas and the parser agree about what is valid."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promoter.adapters.yaml.json_schema import DOCUMENTS
from promoter.domain.policy.document import PolicyDocument
from promoter.domain.policy.rules import RULES
from tests.support.profiles import examples
from tests.support.schema_validation import complaints

KEY = "ed25519:" + "A" * 43 + "="
RULE = {"metric": "val_auc", "at_least": 0.9}


def parses(document: str, value: Any) -> bool:
    """Whether the parser takes it."""
    model, _ = DOCUMENTS[document]
    try:
        parsed = model.model_validate(deepcopy(value))
    except ValidationError:
        return False
    return not (isinstance(parsed, PolicyDocument) and parsed.find_faults())


def policy(*rules: object, **more: object) -> dict[str, Any]:
    """A policy of these rules."""
    rank = {"from": "any", "rank": {"metric": "val_auc", "order": "highest"}}
    return {"version": 1, "candidates": rank, "rules": list(rules) or [RULE], **more}


def registry(entry: object = 7, **more: object) -> dict[str, Any]:
    """A registry with one alias of one model."""
    return {"version": 1, "models": {"fraud": {"aliases": {"champion": entry}}}, **more}


UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
WAIVER = {"model": "fraud", "version": 9, "rule": "auc", "reason": "r", "until": UNTIL}

VALID = [
    ("registry", registry()),
    ("registry", registry("absent")),
    ("registry", registry({})),
    ("registry", registry({"rotation": False})),
    ("registry", registry({"rotation": "off", "policy": None, "hold": None, "version": None})),
    ("registry", registry({"version": 8, "policy": "a.b-c_d", "rotation": "pull-request", "quarantine": [9]})),
    ("registry", registry({"hold": {"reason": "r", "by": "b", "until": UNTIL}})),
    ("registry", registry(safety={"max_changes": "100%"}, defaults={"on_drift": "adopt", "prune": True})),
    ("registry", registry(safety={"max_changes": 0}, families=[{"match": "*", "aliases": {"eu-1": {"rotation": False}}}])),
    ("registry", {"version": 1, "models": {"modèle à 3 %": {"owners": ["a"], "aliases": {"größe_2": 1, "v": 1, "v1x": 2}}}}),
    ("policy", policy()),
    ("policy", policy(candidates={"from": "any"}, metrics={"source": "logged_model", "dataset": "d"}, enforcement="audit")),
    ("policy", policy(candidates=None, metrics={"dataset": None}, description="d")),
    ("policy", policy(guards=[{**RULE, "for": 3, "every": "1h30m"}, {"any_of": [RULE], "for": 2}])),
    ("policy", policy(limits={"cooldown": "6h", "max_per_day": 3}, waivers=[WAIVER], rules=[{**RULE, "name": "auc"}])),
    ("policy", policy(freeze=[{"cron": "0 18 * * FRI", "duration": "62h", "timezone": "Europe/Berlin", "reason": "r"}])),
    ("approvers", {"version": 1, "approvers": {"alice": {"key": KEY, "groups": ["ml-leads"], "until": UNTIL}}}),
    ("approvers", {"version": 1, "approvers": {}}),
]

INVALID = [
    ("registry", registry(0)),
    ("registry", registry("8")),
    ("registry", registry(True)),
    ("registry", registry(None)),
    ("registry", registry(2**31)),
    ("registry", registry({"absent": True})),
    ("registry", registry({"rotation": "on"})),
    ("registry", registry({"rotation": True})),
    ("registry", registry({"policy": "a/b"})),
    ("registry", registry({"hold": {"reason": "r"}})),
    ("registry", registry({"hold": {"reason": "r", "by": "b", "until": date(2026, 12, 1)}})),
    ("registry", registry({"quarantine": [0]})),
    ("registry", {"version": 1, "models": {"fraud": {"aliases": {"latest": 1}}}}),
    ("registry", {"version": 1, "models": {"fraud": {"aliases": {"V12": 1}}}}),
    ("registry", {"version": 1, "models": {"fraud": {"aliases": {"a b": 1}}}}),
    ("registry", {"version": 1, "models": {"a/b": {}}}),
    ("registry", {"version": 1, "models": {" ": {}}}),
    ("registry", {"version": 2, "models": {}}),
    ("registry", {"version": 1}),
    ("registry", registry(modles={})),
    ("registry", registry(safety={"max_changes": "101%"})),
    ("registry", registry(safety={"max_changes": -1})),
    ("registry", registry(defaults={"aliases": {"champion": {"version": 7}}})),
    ("registry", registry(defaults={"aliases": {"champion": 7}})),
    ("registry", registry(families=[{"aliases": {}}])),
    ("policy", policy({})),
    ("policy", policy("metric")),
    ("policy", policy({"metrics": "val_auc", "at_least": 0.9})),
    ("policy", policy({"metric": "val_auc"})),
    ("policy", policy({**RULE, "at_most": 1})),
    ("policy", policy({**RULE, "beats": "champion"})),
    ("policy", policy({**RULE, "by": 0.1})),
    ("policy", policy({**RULE, "tag": "x"})),
    ("policy", policy({"metric": "val_auc", "at_least": "0.9"})),
    ("policy", policy({"metric": "val_auc", "at_least": True})),
    ("policy", policy({"metric": "val_auc", "beats": "champion", "by": -0.1})),
    ("policy", policy({"metric": "val_auc", "beats": "champion", "by": "1 %"})),
    ("policy", policy({"metric": "val_auc", "beats": "champion", "confidence": 1})),
    ("policy", policy({"metric": "val_auc", "beats": "champion", "confidence": 0.4})),
    ("policy", policy({"metric": "val_auc", "beats": "champion", "steps": "folds"})),
    ("policy", policy({**RULE, "dataset": "d", "source": "run"})),
    ("policy", policy({"tag": "x"})),
    ("policy", policy({"tag": "x", "present": False})),
    ("policy", policy({"tag": "x", "present": True, "equals": "y"})),
    ("policy", policy({"tag": "x", "one_of": []})),
    ("policy", policy({"tag": "x", "equals": 1})),
    ("policy", policy({"tag": "x", "present": True, "bound": True, "copied": "accept"})),
    ("policy", policy({"run": {}})),
    ("policy", policy({"run": {"status": "DONE"}})),
    ("policy", policy({"run": {"params": {"depth": 3}}})),
    ("policy", policy({"run": {"dataset": {"name": "d"}}})),
    ("policy", policy({"age": {}})),
    ("policy", policy({"age": {"at_least": 24}})),
    ("policy", policy({"age": {"at_least": "1 day"}})),
    ("policy", policy({"soak": {"alias": "challenger"}})),
    ("policy", policy({"signature": {}})),
    ("policy", policy({"signature": {"present": True, "equals": "champion"}})),
    ("policy", policy({"loads": False})),
    ("policy", policy({"expression": ""})),
    ("policy", policy({"expression": "true", "holders": ["latest"]})),
    ("policy", policy({"approval": {"at_least": 0, "from": ["risk"]}})),
    ("policy", policy({"approval": {"from": []}})),
    ("policy", policy({"any_of": []})),
    ("policy", policy({"any_of": [{"metric": "val_auc"}]})),
    ("policy", policy({"all_of": RULE})),
    ("policy", policy({"not": [RULE]})),
    ("policy", policy({**RULE, "for": 3})),
    ("policy", policy({"not": {**RULE, "every": "1h"}})),
    ("policy", policy(guards=[{"any_of": [{**RULE, "for": 3}]}])),
    ("policy", policy(guards=[{**RULE, "for": 0}])),
    ("policy", policy(rules=[])),
    ("policy", policy(metrics={"source": "run", "dataset": "d"})),
    ("policy", policy(metrics={"dataset": "d"})),
    ("policy", policy(candidates={"rank": {"metric": "a", "order": "highest"}})),
    ("policy", policy(candidates={"from": "any", "rank": {"metric": "a", "order": "up"}})),
    ("policy", policy(limits={"max_per_day": 0})),
    ("policy", policy(freeze=[{"cron": "0 18 * *", "duration": "1h"}])),
    ("policy", policy(freeze=[{"cron": "0 18 * * FRI"}])),
    ("policy", policy(enforcement="warn")),
    ("policy", policy(waivers=[{**WAIVER, "until": None}])),
    ("approvers", {"version": 1, "approvers": {"alice": {}}}),
    ("approvers", {"version": 1, "approvers": {"alice": {"key": "ed25519:AAAA"}}}),
    ("approvers", {"version": 1, "approvers": {"a b": {"key": KEY}}}),
    ("approvers", {"version": 1, "approvers": {"alice": {"key": KEY, "groups": ["a/b"]}}}),
]


@pytest.mark.parametrize(("document", "value"), VALID, ids=str)
def test_valid_for_both(document: str, value: Any) -> None:
    """What the parser takes, the schema takes."""
    assert parses(document, value)
    assert complaints(document, value) == []


@pytest.mark.parametrize(("document", "value"), INVALID, ids=str)
def test_invalid_for_both(document: str, value: Any) -> None:
    """What is wrong by itself is wrong for both."""
    assert not parses(document, value)
    assert complaints(document, value)


def test_a_fault_is_told_of_its_kind_alone() -> None:
    """A rule with a fault is held against its own kind, not against all of them."""
    assert complaints("policy", policy({"metric": "val_auc", "at_lest": 0.9}))[0].startswith("Additional properties are not")
    (message,) = complaints("policy", policy({"soak": {"alias": "challenger", "at_least": "soon"}}))
    assert "'soon' does not match" in message


RULE_SAMPLES: list[dict[str, Any]] = [
    RULE,
    {"metric": "val_auc", "at_most": 1, "source": "logged_model", "dataset": "holdout", "name": "auc"},
    {"metric": "val_auc", "beats": "champion", "by": "0.5%", "order": "lowest", "at_least": None, "source": None},
    {"metric": "val_auc", "beats": "champion", "confidence": 0.95, "steps": "independent", "by": 0},
    {"tag": "x", "present": True, "copied": "accept", "bound": False},
    {"tag": "x", "equals": "", "bound": True},
    {"tag": "x", "one_of": ["a", "b"], "matches": None},
    {"tag": "x", "matches": "[a-z]+"},
    {"run": {"status": "FINISHED", "experiment": "e", "user": "u"}},
    {"run": {"params": {"depth": "3"}, "dataset": {"digest": "d", "name": None}, "user": None}},
    {"age": {"at_least": "1h", "at_most": "1d12h"}},
    {"soak": {"alias": "challenger", "at_least": "24h"}},
    {"signature": {"present": True, "equals": None}},
    {"signature": {"equals": "champion"}},
    {"description": {"present": True}},
    {"loads": True},
    {"expression": "metrics.a > 0.5", "metrics": ["a"], "holders": ["champion"]},
    {"approval": {"at_least": 2, "from": ["risk"]}},
    {"review": {"at_least": 2, "from": ["alice", "acme/risk"], "not_author": False}},
    {"any_of": [RULE, {"loads": True}]},
    {"all_of": [{"not": RULE, "name": "n"}]},
    {"not": {"any_of": [RULE]}},
]
VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    0.5,
    2,
    "",
    "a",
    "1h",
    "1%",
    "run",
    "champion",
    "latest",
    [],
    ["a"],
    {},
    {"a": "b"},
    RULE,
    [RULE],
]


def keys_of(rule: dict[str, Any]) -> list[str]:
    """The keys that a rule of that kind may have, and one that none has."""
    kind = next(kind for kind in RULES if kind.kind in rule)
    return [*(field.alias or name for name, field in kind.model_fields.items()), "nonsense"]


@st.composite
def altered_rules(draw: st.DrawFn) -> dict[str, Any]:
    """A valid rule with up to two values put in, inside of its kind or beside it."""
    rule: dict[str, Any] = deepcopy(draw(st.sampled_from(RULE_SAMPLES)))
    inner = [value for value in rule.values() if isinstance(value, dict)]
    for _ in range(draw(st.integers(0, 2))):
        target = draw(st.sampled_from([rule, *inner]))
        target[draw(st.sampled_from(keys_of(rule) if target is rule else list(target)))] = draw(st.sampled_from(VALUES))
    return rule


def test_every_kind_is_valid_for_both() -> None:
    """A rule of every kind, as a rule and as a guard."""
    assert {kind.kind for rule in RULE_SAMPLES for kind in RULES if kind.kind in rule} == {kind.kind for kind in RULES}
    guards = [{**rule, "for": 3, "every": "1h"} for rule in RULE_SAMPLES if not rule.keys() & {"approval", "review"}]
    value = policy(*RULE_SAMPLES, guards=guards)
    assert parses("policy", value)
    assert complaints("policy", value) == []


@examples(300)
@given(altered_rules(), st.booleans())
def test_whatever_the_parser_takes(rule: dict[str, Any], as_guard: bool) -> None:
    """No rule or guard that the parser takes is refused by the schema."""
    value = policy(guards=[rule]) if as_guard else policy(rule)
    if parses("policy", value):
        assert complaints("policy", value) == []
