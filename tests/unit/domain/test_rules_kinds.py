"""Every kind of rule that looks beyond last metrics and tags: tables of pass, fail, pending and error, compared whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from promoter.domain.evidence import Evidence, HeldStretch, Need, VersionEvidence
from promoter.domain.observed import (
    LoadingResult,
    LoggedModel,
    MetricRef,
    MetricValue,
    RunDataset,
    TrainingRun,
    Unreadable,
    VersionSignature,
)
from promoter.domain.policy.rules import Rule, RuleContext
from promoter.domain.policy.rules.base import BaseRule
from tests.support.strategies.plans import NOW

RULE: TypeAdapter[BaseRule] = TypeAdapter(Rule)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOLDOUT = RuleContext(order="highest", source="logged_model", dataset="holdout")
RUN = TrainingRun(
    "r",
    "FINISHED",
    {"auc": 0.91},
    "fraud",
    "ada",
    {"depth": "6", "loss": "log"},
    (RunDataset("train", "d1"), RunDataset("test", "d2")),
)


def version(number: int = 2, **known: Any) -> VersionEvidence:
    """A version of which that is known."""
    return VersionEvidence(number, **known)


def measured(number: int, *rows: tuple[str, float, str | None, str | None]) -> VersionEvidence:
    """A version whose logged model has these measurements: name, value, dataset, digest."""
    return version(
        number,
        run=TrainingRun("r", "FINISHED", {"auc": 0.5}),
        logged_model=LoggedModel("m-1", tuple(MetricValue(*each) for each in rows)),
    )


def told(
    rule: dict[str, Any], candidate: VersionEvidence, holder: VersionEvidence | None, setting: RuleContext
) -> tuple[Any, ...]:
    """Verdict, value and expectation."""
    found = RULE.validate_python(rule).evaluate(Evidence(NOW, candidate, {"champion": holder}), setting)
    return found.verdict.value, found.value, found.expected


ELSEWHERE = "auc on dataset holdout, and this version has it on the run, on dataset test only"
AT_LEAST = {"metric": "auc", "at_least": 0.9}
BEATS = {"metric": "auc", "beats": "champion"}


@pytest.mark.parametrize(
    ("rule", "candidate", "holder", "expected"),
    [
        (AT_LEAST, measured(2, ("auc", 0.95, "holdout", "a")), None, ("pass", 0.95, "at least 0.9")),
        (
            AT_LEAST,
            measured(2, ("auc", 0.85, "holdout", "a"), ("auc", 0.99, "test", "b")),
            None,
            ("fail", 0.85, "at least 0.9"),
        ),
        (AT_LEAST, version(logged_model=LoggedModel("m-1")), None, ("pending", None, "at least 0.9")),
        (
            AT_LEAST,
            measured(2, ("auc", 0.99, "test", "b")),
            None,
            (
                "error",
                None,
                "at least 0.9, and auc on dataset holdout, and this version has it on the run, on dataset test only",
            ),
        ),
        (
            AT_LEAST,
            version(logged_model=Unreadable("it was deleted")),
            None,
            ("error", None, "at least 0.9, and the logged model of this version to be readable: it was deleted"),
        ),
        (
            AT_LEAST,
            version(logged_model=None),
            None,
            ("error", None, "at least 0.9, and a logged model, and this version was registered from none"),
        ),
        ({**AT_LEAST, "source": "run"}, measured(2, ("auc", 0.99, "holdout", "a")), None, ("fail", 0.5, "at least 0.9")),
        ({**AT_LEAST, "dataset": "test"}, measured(2, ("auc", 0.99, "test", "b")), None, ("pass", 0.99, "at least 0.9")),
        (
            BEATS,
            measured(2, ("auc", 0.95, "holdout", "a")),
            measured(1, ("auc", 0.9, "holdout", "a")),
            ("pass", 0.95, "better than 0.9 (champion v1)"),
        ),
        (
            BEATS,
            measured(2, ("auc", 0.95, "holdout", "a")),
            measured(1, ("auc", 0.9, "holdout", "b")),
            ("error", 0.95, "better than 0.9 (champion v1), measured on the data of champion v1: digest b, not a"),
        ),
        (
            BEATS,
            measured(2, ("auc", 0.95, "holdout", "a")),
            measured(1, ("auc", 0.9, "test", "a")),
            ("error", 0.95, "auc on dataset holdout, and champion v1 has it on the run, on dataset test only"),
        ),
        (
            BEATS,
            measured(2, ("auc", 0.95, "holdout", "a")),
            version(1, logged_model=LoggedModel("m-0")),
            ("pending", 0.95, "better than champion v1, which has no value"),
        ),
    ],
)
def test_a_metric_of_the_logged_model(
    rule: dict[str, Any], candidate: VersionEvidence, holder: VersionEvidence | None, expected: tuple[Any, ...]
) -> None:
    """One source and one dataset, for the candidate and the holder; the same name elsewhere is an error, never a stand-in."""
    assert told(rule, candidate, holder, HOLDOUT) == expected


@pytest.mark.parametrize(
    ("terms", "run", "expected"),
    [
        ({"status": "FINISHED"}, RUN, ("pass", "FINISHED", "FINISHED")),
        ({"status": "FINISHED"}, TrainingRun("r", "RUNNING"), ("pending", "RUNNING", "FINISHED")),
        ({"status": "FINISHED"}, TrainingRun("r", "SCHEDULED"), ("pending", "SCHEDULED", "FINISHED")),
        ({"status": "FINISHED"}, TrainingRun("r", "FAILED"), ("fail", "FAILED", "FINISHED")),
        ({"status": "FINISHED"}, None, ("error", None, "status FINISHED (the version has no run that can be read)")),
        ({"experiment": "fraud"}, RUN, ("pass", "fraud", "fraud")),
        ({"experiment": "sandbox"}, RUN, ("fail", "fraud", "sandbox")),
        ({"user": "ada"}, RUN, ("pass", "ada", "ada")),
        ({"user": "eve"}, RUN, ("fail", "ada", "eve")),
        ({"params": {"depth": "6"}}, RUN, ("pass", "6", "6")),
        ({"params": {"depth": "7"}}, RUN, ("fail", "6", "7")),
        ({"params": {"seed": "7"}}, RUN, ("fail", None, "7")),
        ({"params": {"seed": "7"}}, TrainingRun("r", "RUNNING"), ("pending", None, "7")),
        ({"dataset": {"digest": "d2"}}, RUN, ("pass", "train d1, test d2", "d2")),
        ({"dataset": {"name": "train", "digest": "d2"}}, RUN, ("fail", "train d1, test d2", "train d2")),
        ({"dataset": {"digest": "d1"}}, TrainingRun("r", "RUNNING"), ("pending", None, "d1")),
        ({"status": "FINISHED", "user": "ada"}, RUN, ("pass", "2 of 2 pass", "all pass")),
        ({"status": "FINISHED", "user": "eve"}, RUN, ("fail", "1 of 2 pass", "all pass")),
    ],
)
def test_a_run(terms: dict[str, Any], run: TrainingRun | None, expected: tuple[Any, ...]) -> None:
    """What a run may yet log is pending while it runs; a version without a run that can be read is an error."""
    assert told({"run": terms}, version(run=run), None, RuleContext()) == expected


REGISTERED = "registered 2026-11-22 12:00:00 UTC"


@pytest.mark.parametrize(
    ("terms", "created", "expected"),
    [
        ({"at_least": "1d"}, NOW - DAY, ("pass", REGISTERED, "not before 2026-11-23 12:00:00 UTC")),
        ({"at_least": "25h"}, NOW - DAY, ("pending", REGISTERED, "not before 2026-11-23 13:00:00 UTC")),
        ({"at_most": "1d"}, NOW - DAY, ("pass", REGISTERED, "until 2026-11-23 12:00:00 UTC")),
        ({"at_most": "23h"}, NOW - DAY, ("fail", REGISTERED, "until 2026-11-23 11:00:00 UTC")),
        (
            {"at_least": "1h", "at_most": "23h"},
            NOW - DAY,
            ("fail", REGISTERED, "not before 2026-11-22 13:00:00 UTC and until 2026-11-23 11:00:00 UTC"),
        ),
        ({"at_least": "1d"}, None, ("error", None, "a time of registration")),
    ],
)
def test_an_age(terms: dict[str, Any], created: Any, expected: tuple[Any, ...]) -> None:
    """Too young is pending, since it passes by waiting; too old fails for good."""
    assert told({"age": terms}, version(created_at=created), None, RuleContext()) == expected


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({}, ("pending", "never held challenger", "held challenger for 1d")),
        (
            {"challenger": HeldStretch(NOW - DAY)},
            ("pass", "holds challenger since 2026-11-22 12:00:00 UTC", "held challenger for 1d: at 2026-11-23 12:00:00 UTC"),
        ),
        (
            {"challenger": HeldStretch(NOW - HOUR)},
            ("pending", "holds challenger since 2026-11-23 11:00:00 UTC", "held challenger for 1d: at 2026-11-24 11:00:00 UTC"),
        ),
        (
            {"challenger": HeldStretch(NOW - 3 * DAY, NOW - DAY)},
            ("pass", "held challenger from 2026-11-20 12:00:00 UTC to 2026-11-22 12:00:00 UTC", "held challenger for 1d"),
        ),
        (
            {"challenger": HeldStretch(NOW - 3 * DAY, NOW - 3 * DAY + HOUR)},
            ("pending", "held challenger from 2026-11-20 12:00:00 UTC to 2026-11-20 13:00:00 UTC", "held challenger for 1d"),
        ),
    ],
)
def test_a_soak(held: dict[str, HeldStretch], expected: tuple[Any, ...]) -> None:
    """Until it is over it is pending. The words do not change from look to look, so that nothing new is recorded."""
    rule = {"soak": {"alias": "challenger", "at_least": "24h"}}
    assert told(rule, version(held=held), None, RuleContext()) == expected


OURS = VersionSignature({"input age": "long", "output 0": "double"})
THEIRS = VersionSignature({"input age": "double", "input x": "long", "output 0": "double"})
TOLD = "1 input, 1 output"
DIFFERENCES = "input age is long, was double; input x is gone"


@pytest.mark.parametrize(
    ("terms", "ours", "holder", "expected"),
    [
        ({"present": True}, OURS, None, ("pass", TOLD, "a signature in the artifact")),
        ({"present": True}, None, None, ("fail", None, "a signature in the artifact")),
        ({"present": True}, Unreadable("no storage"), None, ("error", None, "a signature that can be read: no storage")),
        (
            {"equals": "champion"},
            OURS,
            version(1, signature=OURS),
            ("pass", TOLD, "the signature of champion v1"),
        ),
        ({"equals": "champion"}, OURS, version(1, signature=THEIRS), ("fail", DIFFERENCES, "the signature of champion v1")),
        ({"equals": "champion"}, OURS, None, ("pass", TOLD, "the signature of champion (nobody else holds it)")),
        ({"equals": "champion"}, None, version(1, signature=OURS), ("fail", None, "the signature of champion")),
        (
            {"equals": "champion"},
            OURS,
            version(1, signature=None),
            ("error", TOLD, "the signature of champion v1, which cannot be compared: it has none"),
        ),
        (
            {"equals": "champion"},
            OURS,
            version(1, signature=Unreadable("gone")),
            ("error", TOLD, "the signature of champion v1, which cannot be compared: gone"),
        ),
    ],
)
def test_a_signature(terms: dict[str, Any], ours: Any, holder: VersionEvidence | None, expected: tuple[Any, ...]) -> None:
    """What changed is said by name. One that cannot be read, on either side, is an error."""
    assert told({"signature": terms}, version(signature=ours), holder, RuleContext()) == expected


DESCRIBED = "a description of the version or its model"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"description": "Detects fraud."}, ("pass", "Detects fraud.", DESCRIBED)),
        ({"description": "x" * 300}, ("pass", "x" * 200, DESCRIBED)),
        ({"description": None}, ("pending", None, DESCRIBED)),
        ({"description": " \n\t"}, ("pending", None, DESCRIBED)),
        ({"description": Unreadable("no answer")}, ("error", None, "a description that can be read: no answer")),
        ({}, ("error", None, "a description that can be read: it was not asked for")),
    ],
)
def test_a_description(known: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """Pending until somebody writes one: of the version, or of its model."""
    assert told({"description": {"present": True}}, version(**known), None, RuleContext()) == expected


@pytest.mark.parametrize(
    ("loading", "expected"),
    [
        (LoadingResult("loaded", "sklearn"), ("pass", "sklearn")),
        (LoadingResult("failed", "UnpicklingError"), ("fail", "UnpicklingError")),
        (LoadingResult("untried", "no library for xgboost"), ("error", "no library for xgboost")),
        (None, ("pending", "not tried: it is, once everything else passes")),
    ],
)
def test_loading(loading: LoadingResult | None, expected: tuple[Any, ...]) -> None:
    """What cannot be tried here is an error, not a pass."""
    assert told({"loads": True}, version(loading=loading), None, RuleContext())[:2] == expected


CAME_ALONG = "present, set on this version: it came with the copy (delete it and set it anew)"
TOO_EARLY = "present, set after the version was registered, as the ledger saw it (delete it and set it anew)"
TAGGED = {"approved_by": "risk"}


@pytest.mark.parametrize(
    ("terms", "known", "expected"),
    [
        ({}, {"copied": True}, ("pending", "risk", CAME_ALONG)),
        ({}, {"copied": True, "witnessed": frozenset({"approved_by"})}, ("pass", "risk", "present")),
        ({"copied": "accept"}, {"copied": True}, ("pass", "risk", "present")),
        ({"bound": True}, {}, ("pending", "risk", TOO_EARLY)),
        ({"bound": True}, {"witnessed": frozenset({"approved_by"})}, ("pass", "risk", "present")),
        ({"bound": True}, {"witnessed": frozenset({"another"})}, ("pending", "risk", TOO_EARLY)),
        ({"bound": True, "equals": "legal", "present": None}, {}, ("fail", "risk", "equals legal")),
        ({"bound": True}, {"tags": {}}, ("pending", None, "present")),
    ],
)
def test_a_tag_that_came_along_or_was_there_from_the_start(
    terms: dict[str, Any], known: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """It does not count, unless the rule accepts copies, or the ledger saw it being set."""
    rule = {"tag": "approved_by", "present": True, **terms}
    assert told(rule, version(**{"tags": TAGGED, **known}), None, RuleContext()) == expected


def test_what_rules_need_is_all_that_is_read() -> None:
    """The evidence that each kind asks for, and a group for those inside."""
    holdout = MetricRef("auc", "logged_model", "holdout")
    needs = {
        '{"age": {"at_least": "1h"}}': Need(),
        '{"soak": {"alias": "challenger", "at_least": "1h"}}': Need(held=frozenset({"challenger"})),
        '{"tag": "a", "present": true, "bound": true}': Need(watched=frozenset({"a"})),
        '{"tag": "a", "present": true}': Need(tags=frozenset({"a"})),
        '{"tag": "a", "present": true, "copied": "accept"}': Need(),
        '{"run": {"status": "FINISHED"}}': Need(run=True),
        '{"run": {"experiment": "fraud"}}': Need(run=True, experiment=True),
        '{"signature": {"equals": "champion"}}': Need(signature=True, holders=frozenset({"champion"})),
        '{"not": {"loads": true}}': Need(loading=True),
        '{"description": {"present": true}}': Need(description=True),
        '{"metric": "auc", "at_least": 1}': Need(run=True, logged_model=True),
        '{"metric": "auc", "beats": "champion", "confidence": 0.9}': Need(
            run=True, logged_model=True, holders=frozenset({"champion"}), series=frozenset({holdout})
        ),
    }
    for written, need in needs.items():
        assert RULE.validate_json(written).needed_evidence(HOLDOUT) == need, written
