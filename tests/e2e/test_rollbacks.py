"""Rollbacks by the real command: branch open, protected, forge down, git down; each ends as documented, with its records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from promoter.application.controller import Controller
from promoter.domain.audit import RecordKind
from tests.support.driven import DrivenContainer
from tests.support.forges.under_test import KINDS
from tests.support.stage.hosted_stage import BOT, HostedStage
from tests.support.stage.stage import converge, until

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
"""
CHAMPION = "{model}: {{aliases: {{champion: {{version: {version}, policy: champion, rotation: {rotation}}}}}}}"
REASON = "bad recall"
GITHUB, GITLAB, GITEA = (
    pytest.mark.parametrize("hosted_stage", [kind if kind in KINDS else KINDS[0]], indirect=True)
    for kind in ("github", "gitlab", "gitea")
)


def watched_app(stage: HostedStage, model: str, rotation: str = "pull-request", *, protected: bool = True) -> None:
    """v1 was the champion, v2 is, both by git's word."""
    for version, auc in ((1, 0.8), (2, 0.9)):
        stage.version(model, auc)
        stage.commit(CHAMPION.format(model=model, version=version, rotation=rotation), champion=POLICY)
        converge(stage.world())
    assert stage.moves(model, "champion") == [(None, 1), (1, 2)]
    if protected:
        stage.protect()


def rollback(stage: HostedStage, model: str, *more: str, code: int = 0, reason: str = REASON) -> dict[str, Any]:
    """Alice runs it; what it told."""
    given = ("--reason", reason, "--by", "alice", "--format", "json")
    ran = stage.run("rollback", f"{model}@champion", *given, *more)
    assert ran.code == code, ran.out + ran.err
    return ran.told


def overrides(stage: HostedStage, model: str) -> list[dict[str, Any]]:
    """The records of overrides, begun and ended, as the API has them."""
    return [each.to_event_data() for each in stage.records(model) if each.fact.kind is RecordKind.OVERRIDE]


def assert_overridden(stage: HostedStage, model: str, told: dict[str, Any]) -> None:
    """The alias moved under a record that says who, why and until when; the move names it, and no revision."""
    assert (told["path"], told["from"], told["to"]) == ("override", 2, 1)
    assert stage.aliases(model) == {"champion": 1}
    (begun,) = overrides(stage, model)
    assert (begun["id"], begun["until"]) == (told["override"], told["until"])
    assert (begun["from"], begun["to"], begun["actor"], begun["reason"]) == (2, 1, "alice", REASON)
    last = stage.records(model, "champion")[-1].to_event_data()
    assert (last["kind"], last["from"], last["to"], last["outcome"]) == ("change", 2, 1, "applied")
    assert (last["cause"], last["actor"], last["revision"], last["trigger"]) == ("override", "alice", None, "rollback")


def assert_ended(stage: HostedStage, model: str, how: str) -> None:
    """Two records: the override, and its end."""
    begun, ended = overrides(stage, model)
    assert ended["intent"] == begun["id"]
    assert ended["reason"].startswith(how)


@GITLAB
def test_an_open_branch(hosted_stage: HostedStage, fresh_name: str) -> None:
    """One commit with hold and quarantine; the daemon moves the alias; rotation waits for the release, and then goes on."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model, "commit", protected=False)
    stage.daemon()
    told = rollback(stage, model)
    assert (told["path"], told["revision"], told["pull_request"]) == ("commit", stage.head(), None)
    stage.until_at(model, {"champion": 1}, told=stage.told)
    assert f'hold: {{reason: "{REASON}", by: alice}}, quarantine: [2]' in stage.stated()
    last = stage.records(model, "champion")[-1].to_event_data()
    assert (last["cause"], last["revision"], last["outcome"]) == ("commit", told["revision"], "applied")

    stage.version(model, 0.95)
    stage.settle()
    assert stage.head() == told["revision"], "rotation fought the hold"
    released = stage.run("release", f"{model}@champion", "--by", "bob", "--format", "json")
    assert (released.code, released.told["path"]) == (0, "commit")
    stage.until_at(model, {"champion": 3}, told=stage.told)
    assert "hold" not in stage.stated()
    assert "quarantine: [2]" in stage.stated()
    assert stage.pulls() == []
    assert overrides(stage, model) == []


@pytest.mark.slow
@GITEA
def test_a_protected_branch(hosted_stage: HostedStage, fresh_name: str) -> None:
    """A pull request, and the daemon waits: closed, all stays; asked for again and merged, the alias moves, with its review."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    stage.daemon()
    told = rollback(stage, model)
    first = stage.until_open(model, f"Roll back {model}@champion from v2 to v1")
    assert (told["path"], told["override"], told["revision"]) == ("pull-request", None, first.head)
    assert told["pull_request"].endswith(f"/{first.number}")
    stage.decline(first)
    until(lambda: stage.branch(model) not in stage.home.git.heads(), "the branch is gone", told=stage.told)
    stage.settle()
    assert stage.aliases(model) == {"champion": 2}
    assert stage.pulls(state="open") == []

    rollback(stage, model, reason="worse than thought")
    second = stage.until_open(model, "Roll back")
    assert second.number != first.number
    assert stage.aliases(model) == {"champion": 2}
    stage.approve(second, "ada")
    commit = stage.merge(second, "cy")
    stage.until_at(model, {"champion": 1}, told=stage.told)
    last = stage.records(model, "champion")[-1].to_event_data()
    assert (last["cause"], last["revision"], last["outcome"]) == ("commit", commit, "applied")
    assert (last["actor"], last["reason"]) == ("alice", "worse than thought")
    review = last["review"]
    assert (review["author"], review["reviewers"], review["merged_by"]) == (BOT, ["ada"], "cy")
    assert overrides(stage, model) == []


@pytest.mark.slow
@GITHUB
def test_a_protected_branch_and_now(hosted_stage: HostedStage, fresh_name: str) -> None:
    """The alias moves at once, and stays, also against a hand; merged, git holds it; the release is a pull request too."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    stage.daemon()
    told = rollback(stage, model, "--now")
    assert_overridden(stage, model, told)
    pull = stage.until_open(model, "Roll back")
    assert told["pull_request"].endswith(f"/{pull.number}")
    stage.settle()
    assert stage.aliases(model) == {"champion": 1}, "the daemon put it back"
    stage.by_hand(model, "champion", 2)
    until(lambda: stage.aliases(model) == {"champion": 1}, "the override counts", told=stage.told)

    stage.merge(pull)
    until(lambda: len(overrides(stage, model)) == 2, "it is over", told=stage.told)
    assert_ended(stage, model, "decided")
    stage.settle()
    assert stage.aliases(model) == {"champion": 1}
    stage.version(model, 0.95)
    stage.settle()
    assert stage.pulls(state="open") == [], "rotation fought the hold"
    released = stage.run("release", f"{model}@champion", "--by", "bob", "--format", "json").told
    assert (released["path"], released["done"]) == ("pull-request", True)
    release = stage.until_open(model, f"Release {model}@champion")
    stage.merge(release)
    stage.until_open(model, f"Rotate {model}@champion from v1 to v3")
    assert "hold" not in stage.stated()


@pytest.mark.slow
@GITLAB
def test_an_override_that_is_declined(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Git's word counts again, at once and as drift."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    assert_overridden(stage, model, rollback(stage, model, "--now"))
    pull = stage.open_pull(model, "Roll back")
    assert pull is not None
    stage.decline(pull)
    stage.settle()
    assert_ended(stage, model, "declined")
    assert_returned(stage, model)
    assert stage.pulls(state="open") == []


@pytest.mark.slow
@GITEA
def test_an_override_that_expires(hosted_stage: HostedStage, fresh_name: str) -> None:
    """The version that was rolled back returns; the pull request is still there to be decided, and counts once it is merged."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    assert_overridden(stage, model, rollback(stage, model, "--now", "--for", "2h"))
    for _ in range(2):
        later(stage, timedelta(hours=3))
    assert_ended(stage, model, "expired")
    assert_returned(stage, model)
    pull = stage.open_pull(model, "Roll back")
    assert pull is not None
    stage.merge(pull)
    later(stage, timedelta(hours=3))
    assert stage.aliases(model) == {"champion": 1}


class Ahead:
    """A clock that is ahead of the system's."""

    def __init__(self, by: timedelta) -> None:
        """By so much."""
        self._by = by

    def now(self) -> datetime:
        """Then."""
        return datetime.now(UTC) + self._by


def later(stage: HostedStage, by: timedelta) -> Controller:
    """What a Promoter that starts then does."""
    return converge(DrivenContainer(stage.settings(), clock=Ahead(by)))


def assert_returned(stage: HostedStage, model: str) -> None:
    """What git says is there again, and the record calls it drift."""
    assert stage.aliases(model) == {"champion": 2}
    last = stage.records(model, "champion")[-1].to_event_data()
    assert (last["from"], last["to"], last["cause"], last["outcome"]) == (1, 2, "drift", "applied")


@pytest.mark.slow
@pytest.mark.parametrize(("hosted_stage", "now"), [(KINDS[0], False), (KINDS[-1], True)], indirect=["hosted_stage"])
def test_the_forge_is_down(hosted_stage: HostedStage, fresh_name: str, *, now: bool) -> None:
    """The branch is pushed, and what is left is told; the daemon opens the pull request as soon as the forge is back."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    daemon = stage.daemon()
    daemon.until_ready()
    stage.forge.faults.down = True
    told = rollback(stage, model, *(["--now"] if now else []), code=1)
    assert (told["done"], told["pull_request"]) == (False, None)
    assert any("the daemon opens its pull request later" in each for each in told["told"])
    assert told["revision"] == stage.home.git.heads()[stage.branch(model)]
    if now:
        assert_overridden(stage, model, told)
    daemon.until_trouble(stage.scene.port.name)
    assert stage.aliases(model) == {"champion": 1 if now else 2}
    stage.forge.faults.down = False

    pull = stage.until_open(model, f"Roll back {model}@champion from v2 to v1")
    daemon.until_ready()
    assert stage.aliases(model) == {"champion": 1 if now else 2}
    stage.merge(pull)
    stage.until_at(model, {"champion": 1}, told=stage.told)
    if now:
        until(lambda: len(overrides(stage, model)) == 2, "it is over", told=stage.told)
        assert_ended(stage, model, "decided")
    assert len(stage.pulls()) == 1


@pytest.mark.slow
@GITEA
def test_git_is_down(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Without --now nothing is done; with it an override moves the alias, and once git is back a pull request is opened."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    stage.remote.stop()
    refused = stage.run("rollback", f"{model}@champion", "--reason", REASON, "--by", "alice")
    assert (refused.code, refused.out) == (1, "")
    assert stage.aliases(model) == {"champion": 2}
    told = rollback(stage, model, "--now", code=1)
    assert_overridden(stage, model, told)
    assert (told["revision"], told["pull_request"]) == (None, None)
    stage.remote.start()
    stage.settle()
    pull = stage.open_pull(model, "Roll back")
    assert pull is not None
    assert stage.aliases(model) == {"champion": 1}
    stage.merge(pull)
    stage.settle()
    assert_ended(stage, model, "decided")
    assert stage.aliases(model) == {"champion": 1}
    assert f'hold: {{reason: "{REASON}", by: alice}}, quarantine: [2]' in stage.stated()


@pytest.mark.slow
@GITHUB
def test_a_hold_and_a_quarantine_on_a_protected_branch(hosted_stage: HostedStage, fresh_name: str) -> None:
    """Each is a pull request; once it is merged, rotation leaves the alias alone, then the version, and goes on when lifted."""
    stage, model = hosted_stage, fresh_name
    watched_app(stage, model)
    stage.daemon()
    name, who = f"{model}@champion", ("--by", "alice", "--format", "json")
    for words, title in (
        (("hold", name, "--reason", "audit"), f"Hold {name} at v2"),
        (("quarantine", name, "3", "--reason", "leaked"), f"Quarantine v3 for {name}"),
    ):
        if words[0] == "quarantine":
            stage.version(model, 0.95)
        ran = stage.run(*words, *who)
        assert ran.code == 0, ran.out + ran.err
        pull = stage.until_open(model, title)
        assert (ran.told["path"], ran.told["pull_request"].endswith(f"/{pull.number}")) == ("pull-request", True)
        stage.merge(pull, "cy")
        until(lambda: stage.pulls(state="open") == [], "nothing is open", told=stage.told)
    assert stage.aliases(model) == {"champion": 2}
    assert "hold: {reason: audit, by: alice}, quarantine: [3]" in stage.stated()
    assert stage.run("hold", name, "--lift", *who).told["path"] == "pull-request"
    stage.merge(stage.until_open(model, f"Release {name}"), "cy")
    stage.version(model, 0.9)
    stage.until_open(model, f"Rotate {name} from v2 to v4")
    assert "hold" not in stage.stated()
