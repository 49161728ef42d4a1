"""The identity of a version: what a number stood for when it was recorded, and what it stands for now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.audit import AuditRecord, NewAuditRecord, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.identity import (
    UNIDENTIFIED,
    IdentityTimes,
    PresentVersion,
    RememberedVersion,
    VersionIdentity,
    describe_replacement,
    is_same_identity,
)
from promoter.domain.observed import ModelVersion, ObservedModel
from promoter.domain.policy.rules.base import RuleContext
from promoter.domain.policy.rules.review import ReviewRule
from promoter.domain.replay.as_of import AliasTimeline
from promoter.domain.review import ChangeOrigin, PullRequestReview

NOW = datetime(2026, 11, 30, 12, 0, 0, 123_000, tzinfo=UTC)
LATER = NOW + timedelta(milliseconds=1)
IDENTITY = VersionIdentity(NOW, 1, NOW, "run-1", "models:/m-1")


@pytest.mark.parametrize(
    "other",
    [
        {"model_created_at": LATER},
        {"number": 2},
        {"created_at": LATER},
        {"run_id": "run-2"},
        {"source": "models:/m-2"},
    ],
)
def test_each_part_tells_versions_apart(other: dict[str, object]) -> None:
    """A millisecond is enough, and so is another run or another source."""
    assert replace(IDENTITY, **other).text != IDENTITY.text  # type: ignore[arg-type]


def test_the_text_is_short_and_names_its_times() -> None:
    """Equal identities have equal texts, in any time zone; a text that is none has no times."""
    assert replace(IDENTITY).text == IDENTITY.text
    assert IDENTITY.text.startswith("1796040000123.1.1796040000123.")
    assert IdentityTimes.parse(IDENTITY.text) == IdentityTimes(NOW, NOW)
    assert [IdentityTimes.parse(text) for text in (None, "", UNIDENTIFIED, "1.2.3", "a.b.c.d.e")] == [None] * 5


def test_what_an_answer_lacks_makes_no_other_version() -> None:
    """A run or a source that is left out tells nothing; times and number are always there."""
    for less in (replace(IDENTITY, run_id=None), replace(IDENTITY, source=None), replace(IDENTITY, run_id=None, source=None)):
        assert is_same_identity(IDENTITY.text, less.text)
        assert is_same_identity(less.text, IDENTITY.text)
        assert not is_same_identity(replace(less, created_at=LATER).text, IDENTITY.text)
    assert not is_same_identity(replace(IDENTITY, run_id=None, source="models:/m-2").text, IDENTITY.text)


@given(st.text(), st.text())
def test_any_run_and_source_have_a_text(run: str, source: str) -> None:
    """Also characters that no encoding knows."""
    assert "\n" not in VersionIdentity(NOW, 1, NOW, run, source).text


@pytest.mark.parametrize(
    ("remembered", "present", "still"),
    [
        (RememberedVersion(1, "a", NOW), PresentVersion(1, LATER, "a"), True),
        (RememberedVersion(1, "a", NOW), PresentVersion(1, NOW, "b"), False),
        (RememberedVersion(1, None, NOW), PresentVersion(1, NOW, "b"), True),
        (RememberedVersion(1, None, NOW), PresentVersion(1, LATER, "b"), False),
        (RememberedVersion(1, "a", NOW), PresentVersion(1, LATER, None), False),
        (RememberedVersion(1, UNIDENTIFIED, LATER), PresentVersion(1, NOW, "b"), False),
        (RememberedVersion(1, "a", NOW), None, True),
        (RememberedVersion(None, None, NOW), PresentVersion(1, LATER, "a"), True),
    ],
)
def test_what_was_remembered_is_still_there(remembered: RememberedVersion, present: PresentVersion, *, still: bool) -> None:
    """By the identity; without one, what was registered after the record is certainly another version."""
    assert remembered.is_still(present) is still


def test_an_identity_is_learned_only_of_what_may_be_the_same() -> None:
    """Once, and never of a version that was registered after the record."""
    old = RememberedVersion(1, None, NOW)
    assert old.needs_identity(PresentVersion(1, NOW, "a"))
    assert not old.needs_identity(PresentVersion(1, LATER, "a"))
    assert not old.needs_identity(PresentVersion(1, NOW, None))
    assert not RememberedVersion(1, "a", NOW).needs_identity(PresentVersion(1, NOW, "b"))


def test_a_model_gives_its_versions_their_identities() -> None:
    """Of a registry that does not tell when it registered the model, no identity is known."""
    model = ObservedModel("m", {}, {1: ModelVersion(1, NOW, "run-1", "models:/m-1")}, created_at=NOW)
    assert (model.find_identity(1), model.find_identity(2), model.find_identity(None)) == (IDENTITY.text, None, None)
    assert replace(model, created_at=None).find_identity(1) is None
    assert model.still_has(model.remember(1, NOW))
    assert not replace(model, created_at=LATER).still_has(model.remember(1, NOW))


def test_a_replacement_is_described() -> None:
    """When it was recorded, what it is now, and whether the whole model is another one."""
    was = RememberedVersion(1, IDENTITY.text, NOW)
    now = PresentVersion(1, LATER, "b")
    assert describe_replacement(was, now, LATER) == (
        "v1 is another one (registered 2026-11-30 12:00:00 UTC) than the one that was recorded on 2026-11-30 12:00:00 UTC: "
        "the model was registered anew on 2026-11-30 12:00:00 UTC"
    )
    assert describe_replacement(was, now, NOW).endswith("the registry may have been restored")
    assert describe_replacement(was, None, NOW) == (
        "v1 that was recorded on 2026-11-30 12:00:00 UTC is gone: somebody deleted it, "
        "or the registry was restored from a backup"
    )


def test_a_review_from_before_the_registration_does_not_count() -> None:
    """It was given to another version of the number; where the model's creation is not known, as before."""
    rule = ReviewRule.model_validate({"review": {"at_least": 1}})
    origin = ChangeOrigin(1, "u", "carol", reviews=(PullRequestReview("alice", NOW),))
    version = VersionEvidence(1, created_at=LATER, model_created_at=LATER)
    late = rule.evaluate(Evidence(LATER, version, origin=origin), RuleContext())
    assert (late.verdict, late.children[0].value) == (
        Verdict.PENDING,
        "approved before this version was registered (2026-11-30 12:00:00 UTC)",
    )
    for candidate in (replace(version, created_at=NOW), replace(version, model_created_at=None)):
        assert rule.evaluate(Evidence(LATER, candidate, origin=origin), RuleContext()).verdict is Verdict.PASS


def test_replay_knows_whose_past_it_is() -> None:
    """The time that another version held the alias under the number is none of the present one's."""
    past = VersionIdentity(NOW, 1, NOW).text
    moved = NewAuditRecord(NOW, RecordKind.OBSERVED, "m", "champion", None, 1, to_identity=past)
    later = NOW + timedelta(hours=1)
    then = AliasTimeline([AuditRecord(1, moved)], 1, {1: ModelVersion(1, NOW)})
    now = AliasTimeline([AuditRecord(1, moved)], 1, {1: ModelVersion(1, later)})
    old = AliasTimeline([AuditRecord(1, replace(moved, to_identity=None))], 1, {1: ModelVersion(1, later)})
    assert [len(each.list_spans_of(1)) for each in (then, now, old)] == [1, 0, 0]
