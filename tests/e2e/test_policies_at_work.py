"""Policies at work on a real registry and a real git remote: a freeze that a commit overrides, a guard that breaks, copies."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.driven import DrivenContainer
from tests.support.stage.reruns import made_again
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import Stage, converge

ALWAYS_FROZEN = b"""version: 1
rules: [{metric: auc, at_least: 0.5}]
freeze: [{cron: "* * * * *", duration: 1h, reason: nobody is in}]
"""
GUARDED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion}]
guards: [{metric: live, at_least: 0.85, for: 2, every: 1s}]
"""
TAGGED = b"version: 1\nrules: [{tag: approved_by, present: true}]\n"


def world(stage: Stage) -> DrivenContainer:
    """A Promoter that loads no models: those of the tests have a description only."""
    return DrivenContainer(stage.settings(load_models=False))


def test_a_commit_goes_past_a_freeze(stage: Stage, fresh_name: str) -> None:
    """Without the trailer it waits; with it the alias moves, also under later commits, and the record says why."""
    for auc in (0.8, 0.9):
        stage.version(fresh_name, auc)
    stage.by_hand(fresh_name, "champion", 1)
    at = f"{fresh_name}: {{aliases: {{champion: {{version: %d, policy: champion}}}}}}"
    stage.commit(at % 1, champion=ALWAYS_FROZEN)
    converge(world(stage))
    stage.commit(at % 2, message="Promote v2")
    converge(world(stage))
    assert stage.aliases(fresh_name) == {"champion": 1}
    stage.commit(at % 1, message="Take it back")
    converge(world(stage))
    stage.commit(at % 2, message="Promote v2\n\nCards are lost.\n\nPromoter-Override-Freeze: losses of 40,000\n  a day\n")
    stage.commit(f"{at % 2}\n  # a comment", message="A comment")
    converge(world(stage))
    assert stage.aliases(fresh_name) == {"champion": 2}
    fact = stage.records(fresh_name, "champion")[-1].fact
    assert (fact.verdict, fact.reason) == ("pass", "Promote v2; freeze overridden: losses of 40,000 a day")
    assert made_again(stage.database).keys() == {"gate"}


@pytest.mark.slow
def test_a_broken_guard_rolls_back_by_a_commit(stage: Stage, fresh_name: str) -> None:
    """Version, hold and quarantine in registry.yaml; the registry follows; the bad version does not come back."""

    def version(auc: float) -> str:
        number = make_version(stage.client, fresh_name, {"auc": auc, "live": 0.9}, {})
        run_id: Any = stage.client.get_model_version(fresh_name, str(number)).run_id
        return str(run_id)

    version(0.8)
    stage.by_hand(fresh_name, "champion", 1)
    stage.commit(
        f"{fresh_name}: {{aliases: {{champion: {{version: 1, policy: champion, rotation: commit}}}}}}", champion=GUARDED
    )
    converge(world(stage))
    bad = version(0.9)
    converge(world(stage))
    assert stage.aliases(fresh_name) == {"champion": 2}
    stage.client.log_metric(bad, "live", 0.7)
    converge(world(stage))
    assert stage.aliases(fresh_name) == {"champion": 2}
    time.sleep(1.1)  # the guard's `every`: two checks within a second count once
    converge(world(stage))
    assert stage.aliases(fresh_name) == {"champion": 1}
    reason = "guard metric live at_least 0.85 failed 2 times in a row"
    assert stage.git("log", "--format=%s", "-1") == f"Roll back {fresh_name}@champion from v2 to v1"
    assert "version: 1" in stage.stated()
    assert "quarantine: [2]" in stage.stated()
    assert reason in stage.stated()
    head = stage.head()
    converge(world(stage))
    assert (stage.aliases(fresh_name), stage.head()) == ({"champion": 1}, head)
    assert made_again(stage.database).keys() == {"gate", "candidate", "guard", "readiness"}


@pytest.mark.slow
def test_a_copy_brings_no_approval(stage: Stage, fresh_name: str) -> None:
    """Until somebody sets the tag on the copy itself, and Promoter sees it."""
    stage.version(fresh_name, 0.8, approved_by="risk")
    target = f"{fresh_name}-production"
    stage.client.copy_model_version(f"models:/{fresh_name}/1", target)
    assert stage.client.get_model_version(target, "1").tags == {"approved_by": "risk"}
    stage.commit(f"{target}: {{aliases: {{champion: {{version: 1, policy: champion}}}}}}", champion=TAGGED)
    converge(world(stage))
    assert stage.aliases(target) == {}
    stage.client.delete_model_version_tag(target, "1", "approved_by")
    converge(world(stage))
    stage.client.set_model_version_tag(target, "1", "approved_by", "risk")
    converge(world(stage))
    assert stage.aliases(target) == {"champion": 1}
    assert made_again(stage.database).keys() == {"gate"}
