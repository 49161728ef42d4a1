"""Signed approvals: which ones count, every reason why one does not, and that nothing of what was signed can be altered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.approvals import (
    TAG_VALUE_LIMIT,
    Approval,
    ApprovalSubject,
    Approver,
    ApproverDirectory,
    SigningKey,
    build_approval_tag_key,
    parse_approval_tag_key,
)
from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need, VersionEvidence
from promoter.domain.observed import LoggedModel, MetricRef, MetricSeries, MetricValue, TrainingRun, Unreadable
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy
from tests.support.strategies.plans import NOW

NAMES = ("alice", "bob", "carol", "dave", "erin@example.org", "frank", "gina", "hal")
SIGNERS = {name: SigningKey.from_seed(name.encode().ljust(32)) for name in NAMES}
LOST = SIGNERS["frank"]
WANTED = "an approval that counts"
GIVEN = "approved 2026-11-23 12:00:00 UTC"
HOLDOUT = MetricRef("auc", "logged_model", "holdout")
FOLDS = MetricRef("fold_auc")

APPROVERS = ApproverDirectory(
    {
        "alice": Approver(key=SIGNERS["alice"].public_key, groups=("risk", "ml-leads")),
        "bob": Approver(key=SIGNERS["bob"].public_key, groups=("risk",)),
        "carol": Approver(key=SIGNERS["carol"].public_key),
        "erin@example.org": Approver(key=SIGNERS["erin@example.org"].public_key, groups=("ml-leads", "everybody")),
        "frank": Approver(key=SIGNERS["frank"].public_key, groups=("risk",), until=NOW + timedelta(hours=1)),
        "gina": Approver(key=SIGNERS["gina"].public_key, groups=("interns",)),
    }
)


def policy(
    rule: Mapping[str, Any], name: str = "champion", digest: str = "d1", approvers: ApproverDirectory = APPROVERS
) -> Policy:
    """A policy with that approval rule, and rules on metrics of every kind."""
    rules = [
        {"approval": dict(rule)},
        {"metric": "auc", "at_least": 0.5, "dataset": "holdout"},
        {"metric": "fold_auc", "beats": "champion", "confidence": 0.95},
        {"metric": "p99_ms", "at_most": 50},
    ]
    ranked = {"from": "any", "rank": {"metric": "val_auc", "order": "highest"}}
    document = PolicyDocument.model_validate({"version": 1, "candidates": ranked, "rules": rules})
    return Policy(name, digest, document, approvers)


RULE = {"at_least": 2, "from": ["risk", "ml-leads", "carol"]}
POLICY = policy(RULE)


def evidence(**changed: Any) -> Evidence:
    """Version 3 of fraud-detector, with what is changed of it, or of the evidence (`model`, `at`)."""
    outside = {name: changed.pop(name) for name in ("model", "at") if name in changed}
    candidate = VersionEvidence(
        version=3,
        run_id="run-3",
        run=TrainingRun("run-3", "FINISHED", {"val_auc": 0.95, "fold_auc": 0.9, "unused": 1.0}),
        created_at=NOW - timedelta(days=1),
        source="models:/m-1",
        logged_model=LoggedModel("m-1", (MetricValue("auc", 0.94, "holdout", "7d"),)),
        series=(MetricSeries(FOLDS, ((0, 0.8), (1, 0.9))),),
    )
    found = Evidence(NOW, replace(candidate, **changed), {"champion": None}, model="fraud-detector")
    return replace(found, **outside)


def approval(name: str, at: Evidence | None = None, under: Policy = POLICY, signer: SigningKey | None = None) -> dict[str, str]:
    """The tag that `promoter approve` writes for that person."""
    seen = at or evidence()
    subject = ApprovalSubject.from_evidence(seen, under.name, under.digest, under.rule_context.used)
    value = (signer or SIGNERS[name]).sign_approval(subject, name, seen.at).to_tag_value()
    return {build_approval_tag_key(under.name, name): value}


def found(tags: Mapping[str, str], under: Policy = POLICY, **changed: Any) -> RuleFinding:
    """What the approval rule of the policy finds."""
    return evaluate_policy(under, "fraud-detector", None, evidence(tags=tags, **changed)).findings[0]


def whole(verdict: str, count: int, *children: tuple[str, str, str]) -> RuleFinding:
    """The finding of RULE, with a child each of who, verdict and value."""
    return RuleFinding(
        "approval at_least 2 from [risk, ml-leads, carol]",
        Verdict(verdict),
        f"{count} of 2 approve",
        "2 of [risk, ml-leads, carol] to approve",
        tuple(RuleFinding(who, Verdict(each), value, WANTED) for who, each, value in children),
    )


def run(**values: float) -> TrainingRun:
    """The run, with other metrics."""
    return TrainingRun("run-3", "FINISHED", {"val_auc": 0.95, "fold_auc": 0.9} | values)


FIELDS_TEXT = next(iter(approval("bob").values()))
FIELDS = json.loads(FIELDS_TEXT)
ALICE = ("alice (risk, ml-leads)", "pass", GIVEN)


def test_people_are_counted_not_their_groups() -> None:
    """Two people make two, named or by group; one in two groups makes one; nobody makes none."""
    assert found({}) == whole("pending", 0)
    assert found(approval("alice")) == whole("pending", 1, ALICE)
    both = found(approval("carol") | approval("alice"))
    assert both == whole("pass", 2, ALICE, ("carol", "pass", GIVEN))
    one = policy({"from": ["risk"]})
    assert found(approval("bob", under=one), one).verdict is Verdict.PASS


def tampered(tags: Mapping[str, str], **changed: Any) -> dict[str, str]:
    """The tags, with something in their values altered."""
    return {key: json.dumps(json.loads(value) | changed) for key, value in tags.items()}


def held_by(name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The value of the first of the tags, as the tag of somebody else."""
    return {build_approval_tag_key("champion", name): next(iter(tags.values()))}


BOB = "bob (risk)"


@pytest.mark.parametrize(
    ("tags", "changed", "child"),
    [
        (approval("bob"), {"run": run(val_auc=0.93)}, (BOB, "void: val_auc was 0.95, is 0.93")),
        (approval("bob"), {"run": run(val_auc=float("nan"))}, (BOB, "void: val_auc was 0.95, is nan")),
        (approval("bob"), {"run": run(p99_ms=41.0)}, (BOB, "void: p99_ms was absent, is 41.0")),
        (
            approval("bob"),
            {"run": None},
            (BOB, "void: fold_auc was 0.9, is absent; val_auc was 0.95, is absent"),
        ),
        (
            approval("bob"),
            {"run": run(val_auc=1.0, fold_auc=1.0, p99_ms=1.0), "logged_model": LoggedModel("m-1")},
            (BOB, "void: auc on holdout was 0.94, is absent; fold_auc was 0.9, is 1.0; p99_ms was absent, is 1.0; and 1 more"),
        ),
        (
            approval("bob"),
            {"logged_model": LoggedModel("m-1", (MetricValue("auc", 0.94, "holdout", "8e"),))},
            (BOB, "void: auc on holdout was measured on data 7d, now on 8e"),
        ),
        (
            approval("bob"),
            {"series": (MetricSeries(FOLDS, ((0, 0.81), (1, 0.9))),)},
            (BOB, "void: fold_auc has other values over its steps"),
        ),
        (approval("bob"), {"series": ()}, (BOB, "void: fold_auc has other values over its steps")),
        (approval("bob", under=policy(RULE, digest="d0")), {}, (BOB, "void: the policy has changed since")),
        (approval("bob"), {"source": "models:/m-2"}, (BOB, "void: its source was models:/m-1, is models:/m-2")),
        (approval("bob"), {"version": 4}, (BOB, "signed for fraud-detector v3, not for this version")),
        (approval("bob"), {"model": "prices"}, (BOB, "signed for fraud-detector v3, not for this version")),
        (
            approval("bob"),
            {"created_at": NOW},
            (BOB, "signed for the v3 that was registered 2026-11-22 12:00:00 UTC, not for this version"),
        ),
        (
            held_by("bob", approval("bob", under=policy(RULE, "challenger"))),
            {},
            (BOB, "signed for policy challenger, not for this one"),
        ),
        (held_by("bob", approval("alice")), {}, (BOB, "signature is wrong")),
        (held_by("bob", approval("alice", signer=SIGNERS["bob"])), {}, (BOB, "signed as alice")),
        (approval("bob", signer=LOST), {}, (BOB, "signature is wrong")),
        (approval("bob", evidence(at=NOW + timedelta(minutes=6))), {},
         (BOB, "dated 2026-11-23 12:06:00 UTC, which is yet to come")),
        (approval("frank"), {"at": NOW + timedelta(hours=1)},
         ("frank (risk)", "the key was valid until 2026-11-23 13:00:00 UTC")),
        (approval("dave"), {}, ("dave", "not in approvers.yaml")),
        (approval("gina"), {}, ("gina", "not among [risk, ml-leads, carol]")),
        ({build_approval_tag_key("champion", "bob"): "yes"}, {}, (BOB, "not an approval that can be read")),
        ({build_approval_tag_key("champion", "bob"): ""}, {}, (BOB, "not an approval that can be read")),
        ({build_approval_tag_key("champion", "bob"): "[" * TAG_VALUE_LIMIT}, {}, (BOB, "not an approval that can be read")),
        (tampered(approval("bob"), extra=1), {}, (BOB, "not an approval that can be read")),
        (tampered(approval("bob"), version="3"), {}, (BOB, "not an approval that can be read")),
        (
            {build_approval_tag_key("champion", "bob"): FIELDS_TEXT + " " * TAG_VALUE_LIMIT},
            {},
            (BOB, "not an approval that can be read"),
        ),
    ],
)  # fmt: skip
def test_why_an_approval_does_not_count(tags: dict[str, str], changed: dict[str, Any], child: tuple[str, str]) -> None:
    """Each reason in words; it is pending, never an error, whatever a tag holds."""
    assert found(tags, **changed) == whole("pending", 0, (child[0], "pending", child[1]))


def test_an_approval_outlives_what_it_is_not_about() -> None:
    """Other metrics, other tags, and a clock that is a little behind change nothing."""
    tags = approval("alice", evidence(at=NOW + timedelta(minutes=5))) | approval("bob") | {"approved_by": "mallory"}
    changed = evidence(run=run(unused=2.0, other=1.0)).candidate.run
    assert found(tags, run=changed).verdict is Verdict.PASS


def altered(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, int):
        return value + 1
    if str(value).endswith(":00:00Z"):
        return f"{value[:-7]}:59:00Z"
    if isinstance(value, str):
        return value[:-1] + ("A" if value[-1] != "A" else "B")
    return [*value[:-1], {**value[-1], "value": "1.0"}]


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_no_signed_field_can_be_altered(field: str) -> None:
    """Whatever is altered, or left out, the signature does not hold any more, also where the version was altered to match."""
    for changed in ({**FIELDS, field: altered(FIELDS[field])}, {key: value for key, value in FIELDS.items() if key != field}):
        assert found({build_approval_tag_key("champion", "bob"): json.dumps(changed)}).children[0].verdict is Verdict.PENDING
    follow: dict[str, dict[str, Any]] = {
        "version": {"version": 4},
        "model": {"model": altered("fraud-detector")},
        "source": {"source": altered("models:/m-1")},
        "metrics": {"run": run(val_auc=1.0)},
    }
    tags = tampered(approval("bob"), **{field: altered(FIELDS[field])})
    child = found(tags, **follow.get(field, {})).children[0]
    assert child.value == ("not an approval that can be read" if field == "format" else "signature is wrong")


@pytest.mark.parametrize("index", range(len(FIELDS["metrics"])))
def test_no_signed_metric_can_be_altered(index: int) -> None:
    """Neither a part of a metric, nor a metric as a whole."""
    for key in FIELDS["metrics"][index]:
        metrics = json.loads(json.dumps(FIELDS["metrics"]))
        metrics[index][key] = altered(metrics[index][key]) if key != "source" else "run"
        assert found(tampered(approval("bob"), metrics=metrics)).children[0].verdict is Verdict.PENDING
    without = FIELDS["metrics"][:index] + FIELDS["metrics"][index + 1 :]
    assert found(tampered(approval("bob"), metrics=without)).children[0].value == "signature is wrong"


@given(st.integers(0, 2**16), st.integers(1, 255))
def test_no_byte_of_an_approval_can_be_altered(place: int, change: int) -> None:
    """A flipped byte anywhere makes another statement, which nobody signed, or no statement; or it says the same as before."""
    content = bytearray(FIELDS_TEXT.encode())
    content[place % len(content)] ^= change
    value = content.decode(errors="replace")
    if Approval.parse_tag_value(value) != Approval.parse_tag_value(FIELDS_TEXT):
        assert found({build_approval_tag_key("champion", "bob"): value}).children[0].verdict is Verdict.PENDING


@given(st.text(max_size=300) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_anything_at_all_in_a_tag_is_no_error(value: str) -> None:
    """It does not count, and the approvals of others do."""
    tags = approval("alice") | approval("carol") | {build_approval_tag_key("champion", "bob"): value}
    told = found(tags)
    assert (told.verdict, told.value) == (Verdict.PASS, "2 of 2 approve")


def test_strangers_cannot_crowd_out_an_approval() -> None:
    """Ten of them are named, without a look at what they wrote; unreadable names are passed over; the right two count."""
    crowd = {build_approval_tag_key("champion", f"aaa{number:04}"): "x" * 100_000 for number in range(500)}
    odd = dict.fromkeys(["promoter.approval/champion/", "promoter.approval/champion/ä\x1b[2J", "promoter.approval/", "x"], "y")
    told = found(crowd | odd | approval("alice") | approval("carol"))
    assert told.verdict is Verdict.PASS
    assert [child.rule for child in told.children] == [
        "alice (risk, ml-leads)", "carol", *(f"aaa{number:04}" for number in range(10)), "490 more",
    ]  # fmt: skip


def test_two_policies_do_not_mix() -> None:
    """What was signed under one policy counts under that one only, and is not even seen under the other."""
    other = policy(RULE, "challenger")
    tags = approval("alice") | approval("carol") | approval("bob", under=other)
    assert found(tags) == whole("pass", 2, ALICE, ("carol", "pass", GIVEN))
    assert found(tags, other) == whole("pending", 1, (BOB, "pass", GIVEN))


def test_one_key_under_two_names_counts_once() -> None:
    """Whoever holds it is one person."""
    known = {"alice": APPROVERS.known["alice"], "alice2": APPROVERS.known["alice"]}
    twice = policy(RULE, approvers=ApproverDirectory(known))
    tags = approval("alice", under=twice) | approval("alice2", under=twice, signer=SIGNERS["alice"])
    assert [child.value for child in found(tags, twice).children] == [GIVEN, "has the same key as alice"]
    assert found(tags, twice).verdict is Verdict.PENDING
    assert found(tags | {build_approval_tag_key("champion", "alice"): "spoilt"}, twice).children[1].value == GIVEN


def test_too_few_approvers_are_told() -> None:
    """A rule that nobody can meet says so, and is pending."""
    nobody = policy(RULE, approvers=ApproverDirectory())
    assert found(approval("alice"), nobody) == RuleFinding(
        "approval at_least 2 from [risk, ml-leads, carol]",
        Verdict.PENDING,
        "0 of 2 approve",
        "2 of [risk, ml-leads, carol] to approve, of which approvers.yaml has none",
        (RuleFinding("alice", Verdict.PENDING, "not in approvers.yaml", WANTED),),
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"logged_model": Unreadable("storage is down")}, "and its logged model to be readable: storage is down"),
        ({"created_at": None}, "and to know the version's model, its registration, its metrics and the policy"),
        ({"model": ""}, "and to know the version's model, its registration, its metrics and the policy"),
    ],
)
def test_what_cannot_be_known_is_an_error(changed: dict[str, Any], expected: str) -> None:
    """Evidence that is missing altogether is never a pass, even with every approval."""
    told = found(approval("alice") | approval("bob"), **changed)
    rule = "approval at_least 2 from [risk, ml-leads, carol]"
    assert told == RuleFinding(rule, Verdict.ERROR, None, f"2 of [risk, ml-leads, carol] to approve, {expected}")


def test_what_is_needed_is_what_is_signed() -> None:
    """The rule asks for the sources of all metrics that the policy uses; a rule that pairs steps asks for these."""
    rule = POLICY.document.rules[0]
    assert rule.needed_evidence(POLICY.rule_context) == Need(run=True, logged_model=True)
    assert POLICY.needed_evidence.series == {FOLDS}
    assert {(each["metric"], each["value"]) for each in FIELDS["metrics"]} == {
        ("auc", "0.94"), ("fold_auc", "0.9"), ("p99_ms", "absent"), ("val_auc", "0.95"),
    }  # fmt: skip


def test_many_metrics_are_signed_by_their_digest() -> None:
    """So that the tag stays within what every store of MLflow keeps; a change of one of them still makes it void."""
    names = [f"metric_{number:03}_{'x' * 200}" for number in range(150)]
    rules: list[dict[str, Any]] = [{"metric": name, "at_least": 0} for name in names]
    document = PolicyDocument.model_validate({"version": 1, "rules": [{"approval": {"from": ["risk"]}}, *rules]})
    many = Policy("champion", "d1", document, APPROVERS)
    values = run(**dict.fromkeys(names, 0.25))
    tags = approval("bob", evidence(run=values), many)
    assert len(next(iter(tags.values())).encode()) < 1_000
    assert found(tags, many, run=values).verdict is Verdict.PASS
    told = found(tags, many, run=run(**dict.fromkeys(names, 0.25) | {names[7]: 0.26}))
    assert told.children[0].value == "void: the metrics that the policy uses have changed"


@pytest.mark.parametrize("name", ["alice", "erin@example.org", "a@b@c", "x" * 100])
def test_a_tag_names_its_approver(name: str) -> None:
    """Also where MLflow would refuse the name as a key; policies whose names hold dots cannot be confused."""
    assert parse_approval_tag_key("champion", build_approval_tag_key("champion", name)) == name
    assert "@" not in build_approval_tag_key("champion", name)
    assert parse_approval_tag_key("champion.v2", build_approval_tag_key("champion", f"v2.{name[:90]}")) is None
    assert build_approval_tag_key("champion.v2", name) != build_approval_tag_key("champion", f"v2.{name}")
