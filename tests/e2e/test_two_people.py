"""Two people and one incident, on real servers: who is recorded, who is refused, and the way back after a wrong merge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.forges.under_test import KINDS
from tests.support.stage.hosted_stage import HostedStage, Ran
from tests.support.stage.stage import converge, until

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion, by: 0.005}]
"""
CHAMPION = "{model}: {{aliases: {{champion: {{version: {version}, policy: champion}}}}}}"
ONE_FORGE = pytest.mark.parametrize("hosted_stage", [KINDS[0]], indirect=True)


def serve_three(stage: HostedStage, model: str) -> None:
    """v1, v2 and v3 were the champion one after the other, each better than the one before; v3 is."""
    for version, auc in ((1, 0.8), (2, 0.9), (3, 0.95)):
        stage.version(model, auc)
        stage.commit(CHAMPION.format(model=model, version=version), champion=POLICY)
        converge(stage.world())
    assert stage.aliases(model) == {"champion": 3}


def roll_back(stage: HostedStage, model: str, by: str, *more: str) -> Ran:
    """One of the two runs it, in a process of their own."""
    return stage.run("rollback", f"{model}@champion", "--reason", f"{by} was paged", "--by", by, *more)


def list_by(stage: HostedStage, actor: str) -> list[dict[str, Any]]:
    """What `audit list --actor` has."""
    found: list[dict[str, Any]] = stage.run("audit", "list", "--actor", actor, "--format", "json").told["records"]
    return found


@ONE_FORGE
@pytest.mark.parametrize("protected", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_both_at_the_same_time(hosted_stage: HostedStage, fresh_name: str, *, protected: bool) -> None:
    """Two processes: one rolls back, the other one is refused and told who did; the records have the person and the reason."""
    stage, model = hosted_stage, fresh_name
    serve_three(stage, model)
    if protected:
        stage.protect()
    with ThreadPoolExecutor(2) as pool:
        ran = dict(
            zip(("alice", "bob"), pool.map(lambda by: roll_back(stage, model, by, "--now"), ("alice", "bob")), strict=True)
        )
    assert sorted(each.code for each in ran.values()) == [0, 1], [each.out + each.err for each in ran.values()]
    (first,), (second,) = ([by for by, each in ran.items() if each.code == code] for code in (0, 1))
    assert f"{model}@champion is rolled back already: {first} put v2 " in ran[second].err
    assert f"{first} was paged (`--to N` goes on" in ran[second].err
    assert stage.aliases(model) == {"champion": 2}
    third = roll_back(stage, model, "cy", "--now")
    assert (third.code, stage.aliases(model)) == (1, {"champion": 2})
    assert list_by(stage, second) == list_by(stage, "cy") == []
    moved = list_by(stage, first)[-1]
    assert (moved["from"], moved["to"], moved["outcome"]) == (3, 2, "applied")
    assert f"{first} was paged" in moved["reason"]
    told = stage.run("history", f"{model}@champion").out
    assert f"{first} was paged" in told
    assert "Promoter" not in told.rsplit("v2", 1)[-1]
    on = roll_back(stage, model, "cy", "--now", "--to", "1")
    assert (on.code, stage.aliases(model)) == (0, {"champion": 1}), on.out + on.err


@pytest.mark.slow
@ONE_FORGE
def test_the_daemon_names_the_person(hosted_stage: HostedStage, fresh_name: str) -> None:
    """It carries the commit out; a commit of somebody else with the trailers of a person is in its author's name."""
    stage, model = hosted_stage, fresh_name
    serve_three(stage, model)
    assert roll_back(stage, model, "alice").code == 0
    stage.daemon()
    stage.until_at(model, {"champion": 2}, told=stage.told)
    assert [each["reason"] for each in list_by(stage, "alice")] == ["alice was paged"] * 2
    forged = f"Roll back\n\nPromoter-Aim: rollback\nPromoter-Model: {model}\nPromoter-Alias: champion\nPromoter-By: alice\n"
    stage.commit(f"{model}: {{aliases: {{champion: 1}}}}", message=forged)
    stage.until_at(model, {"champion": 1}, told=stage.told)
    assert len(list_by(stage, "alice")) == 2


@ONE_FORGE
def test_a_reverted_merge_and_a_login_that_is_no_person(hosted_stage: HostedStage, fresh_name: str) -> None:
    """The version of before returns by readiness, though it beats nobody; the one before that does not."""
    stage, model = hosted_stage, fresh_name
    serve_three(stage, model)
    for version, held in ((2, 2), (1, 2)):
        stage.commit(CHAMPION.format(model=model, version=version), champion=POLICY)
        converge(stage.world())
        assert stage.aliases(model) == {"champion": held}
    nobody = stage.run(
        "rollback", f"{model}@champion", "--reason", "r", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", LOGNAME="root"
    )
    assert (nobody.code, nobody.out) == (1, "")
    assert "give --by NAME" in nobody.err


@pytest.mark.slow
@ONE_FORGE
def test_what_the_daemon_finds_is_in_its_log_once(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Drift that is reported, and a change that is blocked, over many polls."""
    stage, model = hosted_stage, fresh_name
    serve_three(stage, model)
    stage.version(model, 0.1)
    aliases = "champion: {version: 3, policy: champion}, next: {version: 4, policy: strict}"
    stage.commit(
        f"{model}: {{on_drift: report, aliases: {{{aliases}}}}}",
        champion=POLICY,
        strict=b"version: 1\nrules: [{metric: auc, at_least: 0.9}]\n",
    )
    stage.by_hand(model, "champion", 1)
    daemon = stage.daemon(PROMOTER_POLL_INTERVAL="1s")

    def lines(*words: str) -> int:
        return sum(all(word in line for word in words) for line in daemon.log().splitlines())

    until(lambda: lines("alias drifted", model) and lines("change blocked", model), "both are found", told=stage.told)
    daemon.until_ready()
    stage.by_hand(model, "champion", 2)
    until(lambda: lines("alias drifted", model) == 2, "another drift is another line", told=stage.told)
    assert lines("change blocked", model) == 1
