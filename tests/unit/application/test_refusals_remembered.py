"""What persons refuse: recorded once, believed by everything that proposes, and taken back by hostile and unlucky ways too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import copyfile

import pytest

from promoter.application.ports import PullRequestState
from promoter.application.refusals import RefusalReader
from promoter.application.snapshots import ModelSnapshot
from promoter.application.status import DRIFT, GUARD, REFUSED, build_alias_rows
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ObservedModel
from promoter.domain.refusals import REMEMBERED_BY_MARKERS, ProposalRefusal
from tests.support.app import App
from tests.support.proposals import BRANCH, RULES, aliases, only, propose, settle, told, writes


@pytest.fixture
def two(app: App) -> App:
    """v1 serves, v2 is the best candidate and proposed, v3 is the next best."""
    return propose(app, 0.90, 0.93, 0.92)


def events(app: App) -> list[LifecycleEvent]:
    """What the ledger has of answers, oldest first."""
    return list(app.ledger.find_refusal_events())


def refused(app: App) -> list[tuple[str, str | None]]:
    """What stands: keys, and by whom, by key."""
    return sorted((each.answer_key, each.by) for each in RefusalReader(app.ledger).find_standing("m", "champion"))


def snapshot(app: App) -> ModelSnapshot:
    """The model as the next plan sees it."""
    app.revisions.refresh_head()
    assert app.revisions.declaration_in_force is not None
    return app.planner(app.revisions.declaration_in_force, {"m"}).models["m"]


def reconsider(app: App, version: int, by: str = "alice") -> tuple[ProposalRefusal, ...]:
    """Take back what was refused of that version of the champion."""
    return app.reconsider_refusal("m", "champion", version, by, "measured again")


def test_the_next_best_candidate_follows(two: App) -> None:
    """Closed by a person, v2 is refused in the ledger, and v3 is proposed by a pull request of its own."""
    assert only(two).title == "Rotate m@champion from v1 to v2"
    two.hub.decline(1, by="carol")
    settle(two)
    assert (only(two).title, only(two).number) == ("Rotate m@champion from v1 to v3", 2)
    assert refused(two) == [("rotate:2", "carol")]
    (event,) = events(two)
    assert event.facts["pull_request"] == two.hub.pulls[1].url
    assert event.facts["identity"] == two.mlflow.observe_models({"m"})["m"].find_identity(2)
    before = writes(two), len(events(two))
    settle(two)
    assert (writes(two), len(events(two))) == before
    two.hub.decline(2, by="dan")
    settle(two)
    assert (two.hub.open, refused(two)) == ([], [("rotate:2", "carol"), ("rotate:3", "dan")])


def test_the_alias_is_refused_and_no_forge_is_called_for_it(two: App) -> None:
    """Once nothing is left to propose, the status says who refused what, and looks cost no call about it."""
    for number in (1, 2):
        two.hub.decline(number, by="carol")
        settle(two)
    (row,) = build_alias_rows(snapshot(two), {}, two.time.now())
    assert row.status == REFUSED
    assert "v2 was refused by carol" in row.detail
    assert [each.version for each in row.refusals] == [2, 3]
    calls = len(two.hub.calls)
    settle(two)
    assert not [call for call in two.hub.calls[calls:] if call[0] in ("latest_from", "closing account")]


def test_a_refusal_is_believed_by_rotation_by_commit(two: App) -> None:
    """Who sets `rotation: commit` later has not said yes to v2: v3 is committed."""
    two.hub.decline(1)
    settle(two)
    two.commit(aliases(rotation="commit"))
    settle(two)
    assert two.aliases() == {"champion": 3}


def test_taken_back_in_the_ledger(two: App) -> None:
    """What was reconsidered is proposed again, and the closed pull request's marker does not refuse it once more."""
    two.hub.decline(1, by="carol")
    settle(two)
    two.hub.decline(2, by="carol")
    settle(two)
    reconsider(two, 2)
    settle(two)
    assert (only(two).title, only(two).number) == ("Rotate m@champion from v1 to v2", 3)
    assert refused(two) == [("rotate:3", "carol")]
    assert told(only(two)).declined == ("rotate:3",)
    two.hub.decline(3, by="erin")
    settle(two)
    assert refused(two) == [("rotate:2", "erin"), ("rotate:3", "carol")]


def test_taken_back_while_another_is_open(two: App) -> None:
    """The open pull request follows: it proposes the better version again."""
    two.hub.decline(1)
    settle(two)
    reconsider(two, 2)
    settle(two)
    assert (only(two).title, only(two).number) == ("Rotate m@champion from v1 to v2", 2)


def test_opened_again(two: App) -> None:
    """Opening it again takes the refusal back; closed once more, it is refused once more, by whoever did."""
    head = only(two).head
    two.hub.decline(1, by="carol")
    two.commit(aliases(more=", quarantine: [3]"))
    settle(two)
    two.git.heads[BRANCH] = head
    two.hub.reopen(1)
    settle(two)
    assert (only(two).number, refused(two)) == (1, [])
    assert events(two)[-1].event is LifecycleEventType.RECONSIDERED
    two.hub.at += timedelta(minutes=5)
    two.hub.decline(1, by="dan")
    settle(two)
    assert (two.hub.open, refused(two)) == ([], [("rotate:2", "dan")])


def test_the_marker_remembers_where_the_ledger_is_lost(two: App, tmp_path: Path, migrated_sqlite: Path) -> None:
    """A new ledger learns the last refusal from the forge, with who closed it, and earlier ones from the marker."""
    two.hub.decline(1, by="carol")
    settle(two)
    two.hub.decline(2, by="dan")
    (tmp_path / "new").mkdir()
    copyfile(migrated_sqlite, tmp_path / "new" / "promoter.db")
    new = App(tmp_path / "new", two.mlflow, two.git, two.hub)
    settle(new)
    assert new.hub.open == []
    assert refused(new) == [("rotate:2", None), ("rotate:3", "dan")]
    assert len(new.hub.threads) == 2
    reconsider(new, 2)
    settle(new)
    assert only(new).title == "Rotate m@champion from v1 to v2"


def test_what_only_the_forge_knows_is_taken_back(two: App) -> None:
    """Closed a moment ago, and no look has seen it: the command records who refused it, and who took it back."""
    two.hub.decline(1, by="carol")
    done = reconsider(two, 2)
    assert [each.by for each in done] == ["carol"]
    settle(two)
    assert (only(two).title, refused(two)) == ("Rotate m@champion from v1 to v2", [])


@pytest.mark.parametrize(
    ("alias", "version", "said"),
    [
        ("champion", 3, "what was refused: v2"),
        ("shadow", 2, "did you mean m@champion?"),
        ("shadow", 9, "nobody refused v9 for m@shadow"),
    ],
)
def test_what_was_not_refused(two: App, alias: str, version: int, said: str) -> None:
    """It is an error that names what was refused instead, and nothing is recorded."""
    two.hub.decline(1, by="carol")
    settle(two)
    before = len(events(two))
    with pytest.raises(PermanentError) as error:
        two.reconsider_refusal("m", alias, version, "alice", None)
    assert said in str(error.value)
    assert len(events(two)) == before


def test_nobody_but_a_person_takes_it_back(two: App) -> None:
    """Promoter's own name is no person's, and a reason has an end."""
    for by, reason in (("Promoter", None), ("x" * 201, None), ("alice", "x" * 1_001)):
        with pytest.raises(PermanentError):
            two.reconsider_refusal("m", "champion", 2, by, reason)


def test_another_version_of_that_number_is_not_refused(two: App) -> None:
    """The model is registered anew: nobody has refused the version that is v2 now, and it is proposed."""
    for number in (1, 2):
        two.hub.decline(number)
        settle(two)
    assert [each.version for each in snapshot(two).refusals["champion"]] == [2, 3]
    two.time.pass_time(hours=1)
    two.mlflow.models["m"] = ObservedModel("m", created_at=two.time.now())
    for auc in (0.9, 0.93, 0.92):
        number = two.mlflow.version("m", auc=auc, p99=30.0, live=0.9)
        seen = two.mlflow.models["m"]
        made = replace(seen.versions[number], created_at=two.time.now())
        two.mlflow.models["m"] = replace(seen, versions={**seen.versions, number: made})
    two.mlflow.place("m", "champion", 1)
    assert snapshot(two).refusals == {}
    settle(two)
    assert only(two).title == "Rotate m@champion from v1 to v2"


def test_a_guards_return_that_was_refused(two: App) -> None:
    """The guard stays broken, nothing else is put back in its place, and rotation may go on to a better version."""
    two.hub.decline(1)
    settle(two)
    two.hub.merge(only(two).number)
    settle(two)
    assert two.aliases() == {"champion": 3}
    run = two.mlflow.all_runs["m-3"]
    two.mlflow.all_runs["m-3"] = replace(run, metrics={**run.metrics, "live": 0.1})
    settle(two)
    assert only(two).title == "Roll back m@champion from v3 to v1"
    two.hub.decline(only(two).number, by="carol")
    settle(two)
    assert two.hub.open == []
    (row,) = build_alias_rows(snapshot(two), {}, two.time.now())
    assert (row.status, [each.answer_key for each in row.refusals]) == (GUARD, ["guard:1:3"])
    assert "the return from v3 to v1 was refused by carol" in row.detail
    two.mlflow.version("m", auc=0.99, p99=30.0, live=0.9)
    settle(two)
    assert only(two).title == "Rotate m@champion from v3 to v4"


def test_an_adoption_that_was_refused(app: App) -> None:
    """The drift stays reported, the status says who refused its adoption, and a reconsidered one is asked about again."""
    for auc in (0.9, 0.91):
        app.mlflow.version("m", auc=auc, p99=30.0, live=0.9)
    app.commit("m: {on_drift: adopt, aliases: {champion: 1}}", champion=RULES)
    settle(app)
    app.mlflow.place("m", "champion", 2)
    settle(app)
    app.hub.decline(only(app).number, by="carol")
    settle(app)
    assert (app.hub.open, refused(app)) == ([], [("adopt:2", "carol")])
    (row,) = build_alias_rows(snapshot(app), {}, app.time.now())
    assert (row.status, [each.answer_key for each in row.refusals]) == (DRIFT, ["adopt:2"])
    assert "the adoption of v2 was refused by carol" in row.detail
    reconsider(app, 2)
    settle(app)
    assert only(app).title == "Adopt v2 as m@champion, from v1"


def test_what_promoter_closes_is_nobodys_refusal(two: App) -> None:
    """Overtaken by a quarantine, it is closed by Promoter: nothing is recorded."""
    two.commit(aliases(more=", quarantine: [2, 3]"))
    settle(two)
    assert two.hub.pulls[1].state is PullRequestState.CLOSED
    assert events(two) == []


def test_a_forge_that_does_not_tell_who(two: App) -> None:
    """The refusal counts all the same; only the name is missing."""
    two.hub.decline(1)

    def forbidden(call: str) -> None:
        if call == "closing account":
            raise PermanentError("Fake", "the token may not read it")

    two.hub.on = forbidden
    settle(two)
    assert (only(two).number, refused(two)) == (2, [("rotate:2", None)])


def test_a_marker_keeps_the_newest_and_is_written_once(two: App) -> None:
    """Of 150 refusals it remembers a hundred, and a look that finds the same writes nothing."""
    for number in range(10, 160):
        refusal = ProposalRefusal("m", "champion", f"rotate:{number}", number, two.time.now() + timedelta(seconds=number))
        event = LifecycleEvent(two.time.now(), LifecycleEventType.REFUSED, refusal.event_facts)
        two.ledger.record_lifecycle_event(event)
    settle(two)
    declined = told(only(two)).declined
    assert (len(declined), declined[-1]) == (REMEMBERED_BY_MARKERS, "rotate:159")
    before = writes(two)
    settle(two)
    assert writes(two) == before
