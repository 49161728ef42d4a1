"""Overrides: what stands in for git's word, how it compares, and what it does not touch."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promoter.domain.desired import AliasIntent, Hold, ModelIntent, Override, Safety
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import ModelVersion, ObservedModel
from promoter.domain.plan import MASS_CHANGE_FLOOR, Change, ChangeCause, ChangeGate, ModelComparison, build_plan, compare_model
from promoter.domain.proposal import ProposalReason
from promoter.domain.rollback import HoldRequest, propose_hold_request, propose_rollback

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OVERRIDE = Override(7, NOW, "m", "champion", 1, 2, "bad recall", "alice", NOW + timedelta(hours=24))
SAID = AliasIntent("m", "champion", 2, policy="p", rotation="commit", quarantine=frozenset({9}))
MODEL = ModelIntent("m", aliases={"champion": SAID, "shadow": AliasIntent("m", "shadow", 2)})
SEEN = ObservedModel("m", {"champion": 2, "shadow": 2}, {number: ModelVersion(number, NOW) for number in (1, 2, 3)})


def test_it_is_in_force_until_its_end() -> None:
    """The moment of its end is no part of it."""
    assert OVERRIDE.is_in_force(OVERRIDE.until - timedelta(microseconds=1))
    assert not OVERRIDE.is_in_force(OVERRIDE.until)
    assert OVERRIDE.description == "v1 until 2026-11-24 12:00 UTC, by alice: bad recall"


def test_it_stands_in_for_what_git_says_of_its_alias() -> None:
    """Version and hold are its own, what it took away is in quarantine; policy, rotation and other aliases stay."""
    model = MODEL.apply_overrides([OVERRIDE])
    alias = model.aliases["champion"]
    assert (alias.version, alias.override, alias.declared) == (1, OVERRIDE, SAID)
    assert alias.hold == Hold(reason="bad recall", by="alice", until=OVERRIDE.until)
    assert (alias.policy, alias.rotation, alias.quarantine) == ("p", "commit", frozenset({2, 9}))
    assert model.aliases["shadow"] is MODEL.aliases["shadow"]


def test_it_changes_nothing_where_git_says_the_same_or_nothing() -> None:
    """Then it is over."""
    assert MODEL.apply_overrides([replace(OVERRIDE, version=2)]) == MODEL
    assert MODEL.apply_overrides([replace(OVERRIDE, alias="gone")]) == MODEL


def test_of_several_the_last_counts() -> None:
    """Whatever the order, and also where the last one says what git says: an older one does not come back."""
    last = replace(OVERRIDE, id=8, version=3)
    for both in ([OVERRIDE, last], [last, OVERRIDE]):
        assert MODEL.apply_overrides(both).aliases["champion"].override == last
    assert MODEL.apply_overrides([OVERRIDE, replace(last, version=2)]) == MODEL


def test_an_alias_that_must_not_exist_can_be_overridden() -> None:
    """It exists as long as the override stands."""
    absent = ModelIntent("m", aliases={"champion": AliasIntent("m", "champion", absent=True)})
    alias = absent.apply_overrides([OVERRIDE]).aliases["champion"]
    assert (alias.version, alias.absent) == (1, False)


@pytest.mark.parametrize("on_drift", ["revert", "report", "adopt"])
@pytest.mark.parametrize("held", [2, 3, None])
def test_the_registry_is_brought_to_it_whoever_moved_the_alias(on_drift: str, held: int | None) -> None:
    """Gated by readiness alone, whatever git and the registry agreed on, and whatever is done about drift."""
    model = replace(MODEL, on_drift=on_drift).apply_overrides([OVERRIDE])  # type: ignore[arg-type]
    seen = replace(SEEN, aliases={"shadow": 2} | ({"champion": held} if held else {}))
    for settled in ({}, {"champion": RememberedVersion(2)}, {"champion": RememberedVersion(1)}):
        (difference,) = compare_model(model, seen, settled).differences
        assert (difference.cause, difference.from_version, difference.to_version) == (ChangeCause.OVERRIDE, held, 1)
        assert difference.select_gate(NOW, held_before=False) is ChangeGate.READINESS
    assert compare_model(model, replace(SEEN, aliases={"champion": 1, "shadow": 2}), {}) == ModelComparison()


def test_the_mass_change_limit_does_not_count_it() -> None:
    """A person asked for each of them by name; what a commit brings counts as before."""
    (difference,) = compare_model(MODEL.apply_overrides([OVERRIDE]), SEEN, {}).differences
    many = [Change(difference)] * (MASS_CHANGE_FLOOR + 1)
    assert build_plan("r", many, [], Safety(), 20).refused is None
    assert build_plan("r", many, [], Safety(max_changes=0), 20).refused is None
    commits = [Change(replace(difference, cause=ChangeCause.COMMIT))] * (MASS_CHANGE_FLOOR + 1)
    assert build_plan("r", commits, [], Safety(), 20).refused is not None


def test_the_proposals_of_persons() -> None:
    """What git says and what serves are in quarantine, never what returns; a release touches the hold alone."""
    back = propose_rollback(SAID, 3, 1, "bad recall", "alice")
    assert (back.edit.version, back.edit.quarantine, back.replaces, back.aim) == (1, (2, 3), 2, ProposalReason.ROLL_BACK)
    assert back.edit.hold == Hold(reason="bad recall", by="alice")
    assert propose_rollback(SAID, 3, 2, "r", "alice").edit.quarantine == (3,)
    assert propose_rollback(replace(SAID, version=None), 3, 1, "r", "alice").replaces == 3
    asked = HoldRequest(ProposalReason.RELEASE, "m", "champion", "bob", "fixed by v10")
    free = propose_hold_request(asked, SAID, datetime(2026, 11, 24, tzinfo=UTC))
    assert (free.edit.version, free.edit.release, free.aim) == (None, True, ProposalReason.RELEASE)
    assert free.commit_message.splitlines()[:3] == ["Release m@champion", "", "fixed by v10"]
    assert "Promoter-By: bob" in free.commit_message
