"""The way back after a wrong merge: which version returns by readiness alone, and which is a new decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.domain.errors import PermanentError
from promoter.domain.policy.guards import list_good_versions
from tests.support.app import App
from tests.support.rollbacks import back

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion, by: 0.01}, {tag: approved, present: true}]
"""
STATED = "m: {{aliases: {{champion: {{version: {}, policy: p{}}}}}}}"


def state(app: App, version: int, more: str = "") -> dict[str, int]:
    """Git says so; where the registry has the champion after that."""
    app.commit(STATED.format(version, more), p=POLICY)
    app.converge()
    return app.aliases()


@pytest.fixture
def merged_app(app: App) -> App:
    """v1 was there when the ledger began; v2 and then v3 passed the policy, and v3 is the champion."""
    for auc in (0.6, 0.7, 0.8, 0.1):
        app.mlflow.version("m", auc=auc, tags={"approved": "yes"})
    app.mlflow.place("m", "champion", 1)
    assert [state(app, each) for each in (1, 2, 3)] == [{"champion": each} for each in (1, 2, 3)]
    return app


def test_a_reverted_merge_brings_the_version_of_before_back(merged_app: App) -> None:
    """It no longer beats the champion, and passed when it was put there: readiness alone is asked, and recorded."""
    assert state(merged_app, 2) == {"champion": 2}
    fact = merged_app.records()[-1].fact
    assert (fact.from_version, fact.to_version, fact.policy, fact.verdict, fact.cause) == (3, 2, None, "pass", "commit")


def test_a_rollback_after_a_revert_goes_back_no_further_and_not_to_what_was_reverted(merged_app: App) -> None:
    """Somebody else reverted the merge for the same incident: told who, and when; a version by name goes on."""
    assert state(merged_app, 2) == {"champion": 2}
    with pytest.raises(
        PermanentError, match=r"rolled back already: Ada .* put v2 back, by a commit without a hold, on 2026-11-23"
    ):
        back(merged_app, now=True)
    assert back(merged_app, to=1, now=True).to_version == 1
    moves = merged_app.ledger.find_alias_moves({("m", "champion")})["m", "champion"]
    assert 3 not in list_good_versions(moves)


def test_a_version_of_before_that_is_not_ready_stays_away(merged_app: App) -> None:
    """Its artifact does not load."""
    merged_app.mlflow.unfit.add(("m", 2))
    assert state(merged_app, 2) == {"champion": 3}


def test_a_version_of_before_that_is_not_ready_may_pass_its_policy(merged_app: App) -> None:
    """As any other version without an MLmodel file may: the way back is never harder than the way on."""
    merged_app.mlflow.unfit.add(("m", 2))
    merged_app.commit(STATED.format(2, ""), p=b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n")
    merged_app.converge()
    assert merged_app.aliases() == {"champion": 2}
    assert merged_app.records()[-1].fact.policy == "p"


def test_what_is_not_in_good_standing_is_a_new_decision(merged_app: App) -> None:
    """In quarantine; further back than one; never held; never passed, though it was there when the ledger began."""
    assert state(merged_app, 2, ", quarantine: [2]") == {"champion": 3}
    assert state(merged_app, 4) == {"champion": 3}
    assert state(merged_app, 1) == {"champion": 3}
    assert state(merged_app, 3) == {"champion": 3}
    assert state(merged_app, 2) == {"champion": 2}
    assert state(merged_app, 1) == {"champion": 2}


def test_the_first_version_of_all_never_passed(app: App) -> None:
    """It was there when the ledger began: a hold brings it back, a bare revert does not."""
    for auc in (0.6, 0.7):
        app.mlflow.version("m", auc=auc, tags={"approved": "yes"})
    app.mlflow.place("m", "champion", 1)
    assert (state(app, 1), state(app, 2)) == ({"champion": 1}, {"champion": 2})
    assert state(app, 1) == {"champion": 2}
    assert state(app, 2) == {"champion": 2}
    back(app, now=True)
    assert app.aliases() == {"champion": 1}


def test_what_a_rollback_took_away_does_not_return_by_a_revert_of_it(merged_app: App) -> None:
    """The commit that is reverted took the version out of service: the policy is asked, and now says no."""
    back(merged_app, now=True)
    assert merged_app.aliases() == {"champion": 2}
    run = merged_app.mlflow.all_runs["m-3"]
    merged_app.mlflow.all_runs["m-3"] = replace(run, metrics={"auc": 0.1})
    assert state(merged_app, 3) == {"champion": 2}


def test_an_alias_that_git_stopped_speaking_of_begins_anew(merged_app: App) -> None:
    """What was agreed on counts no more."""
    merged_app.commit("other: {aliases: {}}", p=POLICY)
    merged_app.converge()
    assert state(merged_app, 2) == {"champion": 3}
