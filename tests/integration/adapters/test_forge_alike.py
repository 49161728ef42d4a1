"""What every forge has to do alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.application.ports.forge import CommitStatus, CommitStatusState, PullRequestState
from promoter.container import Container
from promoter.domain.errors import Conflict
from promoter.settings import Settings
from tests.support.forges.scene import BRANCH, KINDS, TOKEN, Scene, hosted


@pytest.fixture(params=KINDS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A scene of each kind."""
    with hosted(request.param, tmp_path) as made:
        yield made


def test_a_pull_request_from_end_to_end(here: Scene) -> None:
    """It is opened, found again by branch and number, revised, closed, and then found as closed."""
    made = here.port.open_pull_request(here.draft("Rotate", "Why\n\n<!-- promoter: 7 -->", labels=("promoter", "models")))
    assert (made.branch, made.base, made.author, made.fork, made.state) == (
        BRANCH,
        "main",
        "promoter-bot",
        False,
        PullRequestState.OPEN,
    )
    assert made.head == here.home.git.heads()[BRANCH] == here.home.git.run("rev-parse", made.ref)
    assert made.body == "Why\n\n<!-- promoter: 7 -->"
    assert here.home.pull(made.number).labels == ["promoter", "models"]
    assert here.port.list_open_pull_requests() == [made]
    assert here.port.find_latest_pull_request(BRANCH) == here.port.read_pull_request(made.number) == made
    here.port.update_pull_request(made.number, here.draft("Rotate again", "Because", labels=("models", "urgent")))
    pull = here.home.pull(made.number)
    assert (pull.title, pull.body, pull.labels) == ("Rotate again", "Because", ["promoter", "models", "urgent"])
    here.port.close_pull_request(made.number)
    here.port.close_pull_request(made.number)
    closed = here.port.find_latest_pull_request(BRANCH)
    assert closed is not None
    assert (closed.state, closed.number, closed.closed_at is not None) == (PullRequestState.CLOSED, made.number, True)
    assert here.port.list_open_pull_requests() == []
    assert here.port.find_latest_pull_request("promoter/fraud/other") is None


def test_a_second_one_is_overtaken(here: Scene) -> None:
    """Two from one branch cannot be open: the second says that somebody was first."""
    here.port.open_pull_request(here.draft())
    with pytest.raises(Conflict, match="open already"):
        here.port.open_pull_request(here.draft("Other"))
    assert len(here.home.pulls) == 1


def test_the_open_one_is_the_latest(here: Scene) -> None:
    """An older one that was opened again goes before a newer one that is closed; forks' and other bases' never count."""
    first = here.port.open_pull_request(here.draft())
    here.port.close_pull_request(first.number)
    second = here.port.open_pull_request(here.draft())
    here.port.close_pull_request(second.number)
    sha = here.home.git.heads()[BRANCH]
    here.home.open_from_fork("eve", "eve/registry", BRANCH, sha, "Forked")
    latest = here.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert latest.number == second.number
    here.home.reopen(first.number, "bob")
    latest = here.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert latest.number == first.number
    assert [pull.fork for pull in here.port.list_open_pull_requests()] == [False, True]


def test_comments_of_others_are_not_ours(here: Scene) -> None:
    """Only those of Promoter's account are listed and edited; one that is gone may be deleted again."""
    made = here.port.open_pull_request(here.draft())
    here.home.remark(made.number, "bob", "<!-- promoter:plan --> mine, honestly")
    here.port.add_comment(made.number, "Plan 1")
    (ours,) = here.port.list_own_comments(made.number)
    here.port.edit_comment(made.number, ours.id, "Plan 2")
    assert [comment.body for comment in here.port.list_own_comments(made.number)] == ["Plan 2"]
    here.port.delete_comment(made.number, ours.id)
    here.port.delete_comment(made.number, ours.id)
    assert here.port.list_own_comments(made.number) == []
    assert len(here.home.pull(made.number).remarks) == 1


def test_a_status_moves(here: Scene) -> None:
    """Every state and every new description arrives, by one call where it moves on; a long line is cut, and reads as given."""
    made = here.port.open_pull_request(here.draft())
    assert here.port.read_commit_status(made.head) is None
    steps = [
        CommitStatus(CommitStatusState.PENDING, "2 rules wait", "https://promoter.example.org/pulls/1"),
        CommitStatus(CommitStatusState.PENDING, "1 rule waits"),
        CommitStatus(CommitStatusState.FAILURE, "val_auc is too low"),
        CommitStatus(CommitStatusState.SUCCESS, "1 change"),
        CommitStatus(CommitStatusState.SUCCESS, "2 changes"),
        CommitStatus(CommitStatusState.PENDING, "x" * 140),
    ]
    for step in steps:
        here.port.set_commit_status(made.head, step)
        assert here.port.read_commit_status(made.head) == step
    long = CommitStatus(CommitStatusState.SUCCESS, "x" * 200)
    here.port.set_commit_status(made.head, long)
    assert here.port.read_commit_status(made.head) == long == CommitStatus(CommitStatusState.SUCCESS, "x" * 140)


def test_a_status_is_set_without_another_look(here: Scene) -> None:
    """The caller has just read it; only GitLab, which refuses the state that a status has, is asked again."""
    made = here.port.open_pull_request(here.draft())
    calls = here.forge.faults.calls
    calls.clear()
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    assert [call.method for call in calls] == (["GET", "POST"] if here.kind == "gitlab" else ["POST"])
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    assert here.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.SUCCESS, "fine")


def test_a_status_of_others_is_left_alone(here: Scene) -> None:
    """CI's statuses under other names are neither read nor changed, however many there are."""
    made = here.port.open_pull_request(here.draft())
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    for number in range(120):
        here.home.set_status(made.head, "bob", f"ci/{number}", "pending")
    assert here.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.SUCCESS, "fine")


def test_authors_reviews_and_teams(here: Scene) -> None:
    """The origin tells who opened it, who wrote commits, who approves now, and who is in the teams that are asked about."""
    here.forge.team("acme/risk", "ada", "cy")
    made = here.port.open_pull_request(here.draft())
    here.push({"notes.md": "x\n"}, by="bob")
    here.home.review(made.number, "ada", "approved")
    here.home.review(made.number, "cy", "changes_requested")
    origin = here.port.read_pull_request_origin(made.number, frozenset({"acme/risk", "acme/nobody"}))
    assert origin.authors == {"promoter-bot", "bob"}
    assert [(review.by, review.stale) for review in origin.reviews] == [("ada", False)]
    assert origin.teams == {"acme/risk": frozenset({"ada", "cy"})}
    assert not origin.merged
    here.push({"notes.md": "y\n"}, by="bob")
    assert [(review.by, review.stale) for review in here.port.read_pull_request_origin(made.number).reviews] == [("ada", True)]
    here.home.review(made.number, "ada", "approved")
    assert [(review.by, review.stale) for review in here.port.read_pull_request_origin(made.number).reviews] == [("ada", False)]


def test_an_approval_that_was_taken_back(here: Scene) -> None:
    """It is no approval, and what its account said before it does not count instead."""
    made = here.port.open_pull_request(here.draft())
    here.home.review(made.number, "ada", "approved")
    last = here.home.review(made.number, "ada", "approved")
    here.home.dismiss(made.number, last.id)
    assert here.port.read_pull_request_origin(made.number).reviews == ()


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_what_brought_a_commit(here: Scene, method: str) -> None:
    """The merge commit, and with a merge its own commits too, lead back to the merged one; a pushed commit to none."""
    made = here.port.open_pull_request(here.draft())
    tip = here.push({"notes.md": "x\n"}, by="bob")
    here.home.review(made.number, "ada", "approved")
    here.forge.pass_time(seconds=5)
    landed = here.home.merge(made.number, "cy", method)
    here.forge.pass_time(seconds=5)
    here.home.review(made.number, "bob", "approved")
    pushed = here.push({"other.md": "z\n"}, by="bob", branch="main")
    for revision in (landed, tip) if method == "merge" else (landed,):
        origin = here.port.find_commit_origin(revision)
        assert origin is not None
        assert (origin.number, origin.merged, origin.merge_commit, origin.merged_by) == (made.number, True, landed, "cy")
        assert [(review.by, review.stale) for review in origin.reviews] == [("ada", False)]
    assert here.port.find_commit_origin(pushed) is None


def test_merged_into_another_branch(here: Scene) -> None:
    """What was merged elsewhere brought nothing to the watched branch."""
    here.home.git.point("refs/heads/release", here.home.git.heads()["main"])
    revision = here.push({"notes.md": "x\n"}, branch="work")
    pull = here.home.open("bob", "work", "Elsewhere", base="release")
    here.home.merge(pull.number, "cy")
    here.home.git.point("refs/heads/main", revision)
    assert here.port.find_commit_origin(revision) is None
    assert here.port.list_open_pull_requests() == []
    assert here.port.find_latest_pull_request("work") is None


def test_reviewers_are_asked_once(here: Scene) -> None:
    """Accounts are asked; unknown ones are no failure; who was asked, or has approved, is not asked again."""
    made = here.port.open_pull_request(here.draft(reviewers=("ada", "nobody")))
    assert here.home.pull(made.number).reviewers == ["ada"]
    here.home.review(made.number, "cy", "approved")
    here.port.update_pull_request(made.number, here.draft("Again", reviewers=("ada", "bob", "nobody")))
    assert here.home.pull(made.number).reviewers == ["ada", "bob"]
    here.writes()
    here.port.update_pull_request(made.number, here.draft("Again", reviewers=("ada", "bob")))
    assert not [call for call in here.writes() if "reviewer" in f"{call.path} {call.body}"]


def test_auto_merge_waits_for_what_is_required(here: Scene) -> None:
    """It is merged once its required status is green, and not before; where it may at once, at once."""
    here.home.protected, here.home.required = frozenset({"main"}), frozenset({"promoter/plan"})
    made = here.port.open_pull_request(here.draft(auto_merge=True))
    assert here.port.read_pull_request(made.number).state is PullRequestState.OPEN
    here.port.update_pull_request(made.number, here.draft("Again", auto_merge=True))
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    merged = here.port.read_pull_request(made.number)
    assert (merged.state, merged.merged_by) == (PullRequestState.MERGED, "promoter-bot")


def test_auto_merge_that_is_not_taken_is_no_failure(here: Scene) -> None:
    """A project that does not allow it leaves the pull request open."""
    here.home.auto_merge_allowed = False
    made = here.port.open_pull_request(here.draft(auto_merge=True))
    assert here.port.read_pull_request(made.number).state is PullRequestState.OPEN


def test_auto_merge_waits_until_it_can_be_told(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after it was opened, the forge still works out whether it can be merged: asked again, a few times."""
    if here.kind == "github":
        return  # there it is never asked whether it can be merged
    module = {"gitlab": "promoter.adapters.forges.gitlab", "gitea": "promoter.adapters.forges.gitea"}[here.kind]
    monkeypatch.setattr(f"{module}._SETTLE_SECONDS", 0)
    here.face.settling = 2
    made = here.port.open_pull_request(here.draft(auto_merge=True))
    assert here.port.read_pull_request(made.number).state is PullRequestState.MERGED
    here.face.settling = 100
    here.push({"registry.yaml": "version: 8\n"}, by="promoter-bot")
    made = here.port.open_pull_request(here.draft(auto_merge=True))
    here.face.settling = 0
    assert here.port.read_pull_request(made.number).state is PullRequestState.OPEN


def test_connected_by_the_settings(here: Scene) -> None:
    """The settings make the forge of a world; without one of a known kind there is none."""
    url = f"{here.server.url}/{here.home.name}.git"
    secret = SecretStr(TOKEN)
    world = Container(Settings(repo=url, forge=here.kind, git_token=secret, forge_account="promoter-bot"))
    assert world.forge is not None
    assert world.forge.open_pull_request(here.draft()).author == "promoter-bot"
    world.forge.add_comment(1, "Plan")
    assert [comment.body for comment in world.forge.list_own_comments(1)] == ["Plan"]
    assert not [call for call in here.forge.faults.calls if call.path.endswith("/user")]
    assert Container(Settings(repo=url)).forge is None
