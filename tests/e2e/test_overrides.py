"""Overrides on each kind of forge: what pull requests, events and records say before, at and after their end."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest

from promoter.application.proposals.overrides import OVERRIDE_MARK
from promoter.domain.ledger.checkpoints import LifecycleEventType
from tests.e2e.test_rollbacks import later, overrides, rollback, watched_app
from tests.support.forges.model import Pull
from tests.support.forges.under_test import KINDS
from tests.support.http_receiver import serving
from tests.support.stage.hosted_stage import HostedStage
from tests.support.stage.stage import until

ONE_FORGE = pytest.mark.parametrize("hosted_stage", [KINDS[0]], indirect=True)
RETURNS = "v2 returns, the version that was rolled back"


def words(stage: HostedStage, pull: Pull) -> list[str]:
    """The comments on overrides."""
    return stage.comments(pull, OVERRIDE_MARK)


def keep(stage: HostedStage, pull: Pull, moment: str) -> None:
    """Write down what a reviewer reads, where `PROMOTER_TEXTS` names a file for it."""
    target = os.environ.get("PROMOTER_TEXTS")
    if not target:
        return
    status = stage.status(pull)
    shown = [f"##### {stage.scene.kind}: {moment}", f"status: {status.state}: {status.description}" if status else "no status"]
    shown += [f"title: {pull.title}", "body:", pull.body, *(f"comment:\n{each.body}" for each in pull.remarks), ""]
    with Path(target).open("a") as file:
        file.write("\n".join(shown) + "\n")


@pytest.mark.slow_except("github")
def test_a_reviewer_reads_what_will_happen(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Body and status in force; a comment an hour before the end, and one after it; then a body that is true again."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    told = rollback(stage, model, "--now", "--for", "3h")
    stage.settle()
    pull = stage.open_pull(model, "Roll back")
    assert pull is not None
    end = f"{told['until'][:10]} {told['until'][11:16]} UTC"
    keep(stage, pull, "in force")
    assert f"**v1 serves `{model}@champion` under an override until {end}.**" in pull.body
    assert f"- **Closed**: the override ends at once, and **{RETURNS}**." in pull.body
    assert f"- **Nobody decides by {end}**: the override ends, and **{RETURNS}**." in pull.body
    status = stage.status(pull)
    assert status is not None
    assert status.state == "success"
    assert status.description.startswith(
        f"v1 serves under an override until {end}; merged: git states it; closed, or not merged"
    )
    assert "v2 returns" in status.description
    body = pull.body

    for _ in range(2):
        later(stage, timedelta(hours=2, minutes=1))
    keep(stage, pull, "an hour before the end")
    (said,) = words(stage, pull)
    assert f"ends at {end}, and nobody has decided.**" in said
    assert pull.body == body

    for _ in range(3):
        later(stage, timedelta(hours=3, minutes=1))
    keep(stage, pull, "after the end")
    assert stage.aliases(model) == {"champion": 2}
    first, second = words(stage, pull)
    assert (first, "has ended: nobody decided.**" in second, RETURNS in second) == (said, True, True)
    assert "- **Closed**: v2 stays." in pull.body
    assert '"override"' not in pull.body
    last = stage.records(model, "champion")[-1].fact
    assert (last.cause, last.reason) == ("drift", "the override of alice ended (nobody decided), v2 returned")


@pytest.mark.slow_except("gitlab")
def test_what_was_said_of_a_closing_comes_true(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Closed: the other version returns, the pull request says so, and the record names whose override it was."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    rollback(stage, model, "--now", "--for", "3h")
    pull = stage.open_pull(model, "Roll back")
    assert pull is not None
    stage.decline(pull)
    stage.settle()
    stage.settle()
    keep(stage, pull, "closed")
    assert stage.aliases(model) == {"champion": 2}
    (said,) = words(stage, pull)
    assert RETURNS in said
    (_, ended) = overrides(stage, model)
    assert ended["reason"].startswith("declined: ")
    assert ended["reason"].endswith(f"was closed unmerged; {RETURNS}")
    reason = stage.records(model, "champion")[-1].fact.reason
    assert reason is not None
    assert reason.startswith("the override of alice ended (")
    assert reason.endswith("was closed unmerged), v2 returned")


@pytest.mark.slow
@ONE_FORGE
def test_a_later_end_is_everywhere(hosted_stage: HostedStage, fresh_name: str) -> None:
    """The same command with another `--for` renews it; with none, or the same again, it goes on with the one that is there."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    first = rollback(stage, model, "--now", "--for", "2h")
    for more in ((), ("--for", "2h")):
        assert rollback(stage, model, "--now", *more)["until"] == first["until"]
    second = rollback(stage, model, "--now", "--for", "5h")
    assert second["until"] > first["until"]
    stage.settle()
    pull = stage.open_pull(model, "Roll back")
    assert pull is not None
    keep(stage, pull, "renewed")
    end = f"{second['until'][:10]} {second['until'][11:16]} UTC"
    assert f"until {end}.**" in pull.body
    assert [f"under an override until {end}**" in each for each in words(stage, pull)] == [True]
    begun = [each for each in overrides(stage, model) if each["intent"] is None]
    assert [(each["from"], each["to"]) for each in begun] == [(2, 1), (2, 1)]
    for _ in range(2):
        later(stage, timedelta(hours=3))
    assert stage.aliases(model) == {"champion": 1}, "the first end counted"


@pytest.mark.slow
@ONE_FORGE
def test_nothing_of_it_is_silent(hosted_stage: HostedStage, fresh_name: str) -> None:
    """A channel for rollbacks hears of begin, coming end and end, once each, through restarts and from two daemons at once."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    with serving() as server:
        secret = {"secret": "hunter2", "networks": ["127.0.0.1/32"]}
        channel = json.dumps([{"name": "people", "url": server.url, "events": ["rolled-back"], **secret}])
        first = stage.daemon(PROMOTER_NOTIFICATIONS=channel)
        second = stage.daemon(PROMOTER_NOTIFICATIONS=channel)
        first.until_ready()
        second.until_ready()
        rollback(stage, model, "--now", "--for", "12s")
        with urlopen(f"{first.url}/metrics", timeout=10) as answer:
            seconds = [each for each in answer.read().decode().splitlines() if each.startswith("promoter_override_seconds")]
        assert all(f'alias="champion",model="{model}"' in each for each in seconds)
        stage.until_at(model, {"champion": 2}, told=stage.told)

        def came() -> list[str]:
            events = {each.headers["webhook-id"]: json.loads(each.body) for each in server.came}
            mine = [each for each in events.values() if each["subject"] == f"{model}@champion"]
            return [each["type"] for each in sorted(mine, key=lambda one: str(one["sequence"]))]

        wanted = [f"dev.promoter.{each}" for each in ("override.started", "alias.rolled-back")]
        wanted += [f"dev.promoter.override.{each}" for each in ("expiring", "ended")]
        until(lambda: sorted(came()) == sorted(wanted), f"all four came: {wanted}", told=lambda: f"{came()}\n{stage.told()}")
        events = [each.event for each in stage.world().ledger.find_lifecycle_events()]
        assert events.count(LifecycleEventType.OVERRIDE_EXPIRING) == 1


@pytest.mark.slow
@ONE_FORGE
def test_the_daemon_carries_on_what_a_laptop_began(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Git was away, and the laptop is gone: the daemon opens the pull request, and all of it says what serves until when."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    stage.remote.stop()
    told = rollback(stage, model, "--now", code=1)
    assert told["revision"] is None
    stage.remote.start()
    daemon = stage.daemon()
    pull = stage.until_open(model, "Roll back")
    end = f"{told['until'][:10]} {told['until'][11:16]} UTC"
    assert f"**v1 serves `{model}@champion` under an override until {end}.**" in pull.body
    stage.until_status(pull, "success", f"v1 serves under an override until {end}")
    with urlopen(f"{daemon.url}/metrics", timeout=10) as answer:
        (line,) = [each for each in answer.read().decode().splitlines() if each.startswith("promoter_override_seconds_left{")]
    assert line.startswith(f'promoter_override_seconds_left{{alias="champion",model="{model}"}} ')
    assert 0 < float(line.rpartition(" ")[2]) <= timedelta(hours=24).total_seconds()
