"""Refusals: what a person turned down is passed over, is shown, and can be taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.application.explain import DecisionExplainer
from promoter.application.refusals import RefusalReader
from promoter.application.status import REFUSED, build_alias_rows
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.checkpoints import LifecycleEventType
from tests.support.app import App
from tests.support.proposals import aliases, only, propose, settle


@pytest.fixture
def proposed(app: App) -> App:
    """v1 is the champion; v2 is the best candidate and proposed, v3 is the next best."""
    propose(app, 0.8, 0.93, 0.92)
    settle(app)
    assert only(app).title == "Rotate m@champion from v1 to v2"
    return app


def explain(app: App) -> tuple[str, tuple[str, ...]]:
    """What `promoter explain` says of the champion."""
    declaration = app.revisions.refresh_head().declaration
    assert declaration is not None
    found = DecisionExplainer(app.registry, app.ledger, app.planner, app.clock).explain_alias(declaration, "m", "champion")
    return found.subject, found.notes


def test_the_next_best_comes_next(proposed: App) -> None:
    """After a person's no to v2, v3 is proposed, and everything shows who refused what."""
    proposed.hub.decline(1, by="carol")
    settle(proposed)
    assert only(proposed).title == "Rotate m@champion from v1 to v3"
    (refusal,) = RefusalReader(proposed.ledger).find_standing("m", "champion")
    assert (refusal.version, refusal.by, refusal.pull_request) == (2, "carol", proposed.hub.pulls[1].url)
    subject, notes = explain(proposed)
    assert subject == "m@champion would rotate to v3"
    assert any("v2 was refused by carol on" in each and "promoter reconsider m@champion 2" in each for each in notes)


def test_where_everything_is_refused(proposed: App) -> None:
    """The reason is the refusals, not that all is well; nothing is asked twice, and the ledger keeps each no once."""
    for number, by in ((1, "carol"), (2, "dan")):
        proposed.hub.decline(number, by=by)
        settle(proposed)
    assert proposed.hub.open == []
    for _ in range(3):
        settle(proposed)
    events = [each.event for each in proposed.ledger.find_refusal_events()]
    assert events == [LifecycleEventType.REFUSED] * 2
    snapshot = proposed.planner(proposed.revisions.refresh_head().declaration).models["m"]  # type: ignore[arg-type]
    (row,) = build_alias_rows(snapshot, {}, proposed.clock.now())
    assert row.status == REFUSED
    assert "v2 was refused by carol" in row.detail
    assert "v3 was refused by dan" in row.detail
    assert [each.version for each in row.refusals] == [2, 3]


def test_a_no_is_taken_back(proposed: App) -> None:
    """Then the version is proposed again; a new no counts again."""
    proposed.hub.decline(1, by="carol")
    settle(proposed)
    reconsider = proposed.reconsider_refusal
    with pytest.raises(PermanentError, match="nobody refused v3 for m@champion"):
        reconsider("m", "champion", 3, "ann", None)
    proposed.time.pass_time(minutes=1)
    assert [each.by for each in reconsider("m", "champion", 2, "ann", "the data was right")] == ["carol"]
    settle(proposed)
    assert only(proposed).title == "Rotate m@champion from v1 to v2"
    proposed.time.pass_time(minutes=1)
    proposed.hub.at = proposed.clock.now()
    proposed.hub.decline(only(proposed).number, by="dan")
    settle(proposed)
    (refusal,) = RefusalReader(proposed.ledger).find_standing("m", "champion")
    assert (refusal.version, refusal.by) == (2, "dan")
    assert only(proposed).title == "Rotate m@champion from v1 to v3"


def test_another_version_of_the_number_is_not_refused(proposed: App) -> None:
    """The no was to a version, not to a number that the model's successor counts again."""
    proposed.hub.decline(1, by="carol")
    settle(proposed)
    proposed.hub.decline(2, by="carol")
    settle(proposed)
    proposed.time.pass_time(minutes=1)
    model = proposed.mlflow.models["m"]
    other = replace(model.versions[2], created_at=proposed.clock.now())
    proposed.mlflow.models["m"] = replace(model, versions={**model.versions, 2: other})
    settle(proposed)
    assert only(proposed).title == "Rotate m@champion from v1 to v2"


def test_what_promoter_closes_is_no_refusal(proposed: App) -> None:
    """A proposal that was overtaken is nobody's no."""
    proposed.commit(aliases(rotation="off"))
    settle(proposed)
    assert proposed.hub.open == []
    assert RefusalReader(proposed.ledger).find_standing("m", "champion") == ()
