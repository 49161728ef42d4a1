"""What every forge has to do alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.application.comments import update_comment
from promoter.application.ports.forge import CommitStatus, CommitStatusName, PullRequestState
from promoter.container import Container
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import Conflict
from promoter.domain.folder import RepositoryFolder
from promoter.settings import Settings
from tests.support.forges.under_test import BRANCH, KINDS, TOKEN, ForgeUnderTest, hosted

APPLIED = CommitStatusName.APPLIED


@pytest.fixture(params=KINDS)
def forge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ForgeUnderTest]:
    """A scene of each kind."""
    with hosted(request.param, tmp_path) as made:
        yield made


def test_a_pull_request_from_end_to_end(forge: ForgeUnderTest) -> None:
    """It is opened, found again by branch and number, revised, closed, and then found as closed."""
    made = forge.port.open_pull_request(forge.draft("Rotate", "Why\n\n<!-- promoter: 7 -->", labels=("promoter", "models")))
    assert (made.branch, made.base, made.author, made.fork, made.state) == (
        BRANCH,
        "main",
        "promoter-bot",
        False,
        PullRequestState.OPEN,
    )
    assert made.head == forge.home.git.heads()[BRANCH] == forge.home.git.run("rev-parse", made.ref)
    assert made.body == "Why\n\n<!-- promoter: 7 -->"
    assert forge.home.pull(made.number).labels == ["promoter", "models"]
    assert forge.port.list_open_pull_requests() == [made]
    assert forge.port.find_latest_pull_request(BRANCH) == forge.port.read_pull_request(made.number) == made
    forge.port.update_pull_request(made.number, forge.draft("Rotate again", "Because", labels=("models", "urgent")))
    pull = forge.home.pull(made.number)
    assert (pull.title, pull.body, pull.labels) == ("Rotate again", "Because", ["promoter", "models", "urgent"])
    forge.port.close_pull_request(made.number)
    forge.port.close_pull_request(made.number)
    closed = forge.port.find_latest_pull_request(BRANCH)
    assert closed is not None
    assert (closed.state, closed.number, closed.closed_at is not None) == (PullRequestState.CLOSED, made.number, True)
    assert forge.port.list_open_pull_requests() == []
    assert forge.port.find_latest_pull_request("promoter/fraud/other") is None


def test_who_closed_it(forge: ForgeUnderTest) -> None:
    """The account that closed it last is known, also where it was opened again in between; of an open one nobody is."""
    made = forge.port.open_pull_request(forge.draft())
    assert forge.port.find_closing_account(made.number) is None
    forge.home.close(made.number, "bob")
    assert forge.port.find_closing_account(made.number) == "bob"
    forge.home.reopen(made.number, "ada")
    forge.home.close(made.number, "cy")
    assert forge.port.find_closing_account(made.number) == "cy"
    forge.home.reopen(made.number, "ada")
    assert forge.port.find_closing_account(made.number) is None


def test_each_folder_has_a_status_and_comments_of_its_own(forge: ForgeUnderTest) -> None:
    """Two Promoters with one account: what one says of a commit or a pull request is never taken for the other's."""
    top, below = forge.port, forge.connected(folder=RepositoryFolder("teams/ml"))
    made = top.open_pull_request(forge.draft())
    good, bad = CommitStatus(CommitStatusState.SUCCESS, "fine"), CommitStatus(CommitStatusState.FAILURE, "broken")
    below.set_commit_status(made.head, bad)
    assert top.read_commit_status(made.head) is None
    top.set_commit_status(made.head, good)
    assert (top.read_commit_status(made.head), below.read_commit_status(made.head)) == (good, bad)
    mark = "<!-- promoter:plan -->"
    for port in (top, below, top, below):
        update_comment(port, made.number, mark, f"{mark}\nOf {port.folder}")
    bodies = [each.body for each in top.list_own_comments(made.number)]
    assert bodies == [f"{mark}\nOf the top of the repository", "<!-- promoter:plan teams/ml -->\nOf teams/ml/"]
    update_comment(below, made.number, mark, None)
    assert [each.body for each in top.list_own_comments(made.number)] == bodies[:1]


def test_what_came_of_a_commit_has_a_status_of_its_own(forge: ForgeUnderTest) -> None:
    """`promoter/applied` on the merge commit is neither read nor changed as `promoter/plan`, in any folder."""
    top, below = forge.port, forge.connected(folder=RepositoryFolder("ml"))
    made = top.open_pull_request(forge.draft())
    merged = forge.home.merge(made.number, "bob")
    waits, plan = CommitStatus(CommitStatusState.PENDING, "waits"), CommitStatus(CommitStatusState.SUCCESS, "1 change")
    top.set_commit_status(merged, waits, APPLIED)
    below.set_commit_status(merged, CommitStatus(CommitStatusState.FAILURE, "refused"), APPLIED)
    assert top.read_commit_status(merged) is None
    top.set_commit_status(merged, plan)
    assert (top.read_commit_status(merged, APPLIED), top.read_commit_status(merged)) == (waits, plan)
    for step in (
        CommitStatus(CommitStatusState.PENDING, "still waits"),
        CommitStatus(CommitStatusState.FAILURE, "blocked"),
        CommitStatus(CommitStatusState.PENDING, "waits again"),
        CommitStatus(CommitStatusState.FAILURE, "blocked again"),
        CommitStatus(CommitStatusState.FAILURE, "blocked for another reason"),
        CommitStatus(CommitStatusState.SUCCESS, "moved"),
    ):
        top.set_commit_status(merged, step, APPLIED)
        assert top.read_commit_status(merged, APPLIED) == step
    assert top.read_commit_status(merged) == plan
    assert below.read_commit_status(merged, APPLIED) == CommitStatus(CommitStatusState.FAILURE, "refused")
    names = {each.context for each in forge.home.statuses[merged]}
    assert names == {"promoter/applied", "promoter/applied (ml)", "promoter/plan"}


def test_the_number_behind_a_commit(forge: ForgeUnderTest) -> None:
    """The pull request that brought a merge commit is found by one question; a commit that was pushed has none."""
    made = forge.port.open_pull_request(forge.draft())
    pushed = forge.push({"README.md": "Pushed."}, "ada", "main")
    merged = forge.home.merge(made.number, "bob")
    assert forge.port.find_introducing_number(merged) == made.number
    assert forge.port.find_introducing_number(pushed) is None


def test_a_second_one_is_overtaken(forge: ForgeUnderTest) -> None:
    """Two from one branch cannot be open: the second says that somebody was first."""
    forge.port.open_pull_request(forge.draft())
    with pytest.raises(Conflict, match="open already"):
        forge.port.open_pull_request(forge.draft("Other"))
    assert len(forge.home.pulls) == 1


def test_the_open_one_is_the_latest(forge: ForgeUnderTest) -> None:
    """An older one that was opened again goes before a newer one that is closed; forks' and other bases' never count."""
    first = forge.port.open_pull_request(forge.draft())
    forge.port.close_pull_request(first.number)
    second = forge.port.open_pull_request(forge.draft())
    forge.port.close_pull_request(second.number)
    sha = forge.home.git.heads()[BRANCH]
    forge.home.open_from_fork("eve", "eve/registry", BRANCH, sha, "Forked")
    latest = forge.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert latest.number == second.number
    forge.home.reopen(first.number, "bob")
    latest = forge.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert latest.number == first.number
    assert [pull.fork for pull in forge.port.list_open_pull_requests()] == [False, True]


def test_comments_of_others_are_not_ours(forge: ForgeUnderTest) -> None:
    """Only those of Promoter's account are listed and edited; one that is gone may be deleted again."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.remark(made.number, "bob", "<!-- promoter:plan --> mine, honestly")
    forge.port.add_comment(made.number, "Plan 1")
    (ours,) = forge.port.list_own_comments(made.number)
    forge.port.edit_comment(made.number, ours.id, "Plan 2")
    assert [comment.body for comment in forge.port.list_own_comments(made.number)] == ["Plan 2"]
    forge.port.delete_comment(made.number, ours.id)
    forge.port.delete_comment(made.number, ours.id)
    assert forge.port.list_own_comments(made.number) == []
    assert len(forge.home.pull(made.number).remarks) == 1


def test_a_status_moves(forge: ForgeUnderTest) -> None:
    """Every state and every new description arrives, by one call where it moves on; a long line is cut, and reads as given."""
    made = forge.port.open_pull_request(forge.draft())
    assert forge.port.read_commit_status(made.head) is None
    steps = [
        CommitStatus(CommitStatusState.PENDING, "2 rules wait", "https://promoter.example.org/pulls/1"),
        CommitStatus(CommitStatusState.PENDING, "1 rule waits"),
        CommitStatus(CommitStatusState.FAILURE, "val_auc is too low"),
        CommitStatus(CommitStatusState.SUCCESS, "1 change"),
        CommitStatus(CommitStatusState.SUCCESS, "2 changes"),
        CommitStatus(CommitStatusState.PENDING, "x" * 140),
    ]
    for step in steps:
        forge.port.set_commit_status(made.head, step)
        assert forge.port.read_commit_status(made.head) == step
    long = CommitStatus(CommitStatusState.SUCCESS, "x" * 200)
    forge.port.set_commit_status(made.head, long)
    assert forge.port.read_commit_status(made.head) == long == CommitStatus(CommitStatusState.SUCCESS, "x" * 140)


def test_a_status_is_set_without_another_look(forge: ForgeUnderTest) -> None:
    """The caller has just read it; only GitLab, which refuses the state that a status has, is asked again."""
    made = forge.port.open_pull_request(forge.draft())
    calls = forge.forge.faults.calls
    calls.clear()
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    assert [call.method for call in calls] == (["GET", "POST"] if forge.kind == "gitlab" else ["POST"])
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    assert forge.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.SUCCESS, "fine")


def test_a_status_of_others_is_left_alone(forge: ForgeUnderTest) -> None:
    """CI's statuses under other names are neither read nor changed, however many there are."""
    made = forge.port.open_pull_request(forge.draft())
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    for number in range(120):
        forge.home.set_status(made.head, "bob", f"ci/{number}", "pending")
    assert forge.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.SUCCESS, "fine")


def test_authors_reviews_and_teams(forge: ForgeUnderTest) -> None:
    """The origin tells who opened it, who wrote commits, who approves now, and who is in the teams that are asked about."""
    forge.forge.team("acme/risk", "ada", "cy")
    made = forge.port.open_pull_request(forge.draft())
    forge.push({"notes.md": "x\n"}, by="bob")
    forge.home.review(made.number, "ada", "approved")
    forge.home.review(made.number, "cy", "changes_requested")
    origin = forge.port.read_pull_request_origin(made.number, frozenset({"acme/risk", "acme/nobody"}))
    assert origin.authors == {"promoter-bot", "bob"}
    assert [(review.by, review.stale) for review in origin.reviews] == [("ada", False)]
    assert origin.teams == {"acme/risk": frozenset({"ada", "cy"})}
    assert not origin.merged
    forge.push({"notes.md": "y\n"}, by="bob")
    assert [(review.by, review.stale) for review in forge.port.read_pull_request_origin(made.number).reviews] == [("ada", True)]
    forge.home.review(made.number, "ada", "approved")
    assert [(review.by, review.stale) for review in forge.port.read_pull_request_origin(made.number).reviews] == [
        ("ada", False)
    ]


def test_an_approval_that_was_taken_back(forge: ForgeUnderTest) -> None:
    """It is no approval, and what its account said before it does not count instead."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.review(made.number, "ada", "approved")
    last = forge.home.review(made.number, "ada", "approved")
    forge.home.dismiss(made.number, last.id)
    assert forge.port.read_pull_request_origin(made.number).reviews == ()


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_what_brought_a_commit(forge: ForgeUnderTest, method: str) -> None:
    """The merge commit, and with a merge its own commits too, lead back to the merged one; a pushed commit to none."""
    made = forge.port.open_pull_request(forge.draft())
    tip = forge.push({"notes.md": "x\n"}, by="bob")
    forge.home.review(made.number, "ada", "approved")
    forge.forge.pass_time(seconds=5)
    landed = forge.home.merge(made.number, "cy", method)
    forge.forge.pass_time(seconds=5)
    forge.home.review(made.number, "bob", "approved")
    pushed = forge.push({"other.md": "z\n"}, by="bob", branch="main")
    for revision in (landed, tip) if method == "merge" else (landed,):
        origin = forge.port.find_commit_origin(revision)
        assert origin is not None
        assert (origin.number, origin.merged, origin.merge_commit, origin.merged_by) == (made.number, True, landed, "cy")
        assert [(review.by, review.stale) for review in origin.reviews] == [("ada", False)]
    assert forge.port.find_commit_origin(pushed) is None


def test_merged_into_another_branch(forge: ForgeUnderTest) -> None:
    """What was merged elsewhere brought nothing to the watched branch."""
    forge.home.git.point("refs/heads/release", forge.home.git.heads()["main"])
    revision = forge.push({"notes.md": "x\n"}, branch="work")
    pull = forge.home.open("bob", "work", "Elsewhere", base="release")
    forge.home.merge(pull.number, "cy")
    forge.home.git.point("refs/heads/main", revision)
    assert forge.port.find_commit_origin(revision) is None
    assert forge.port.list_open_pull_requests() == []
    assert forge.port.find_latest_pull_request("work") is None


def test_reviewers_are_asked_once(forge: ForgeUnderTest) -> None:
    """Accounts are asked; unknown ones are no failure; who was asked, or has approved, is not asked again."""
    made = forge.port.open_pull_request(forge.draft(reviewers=("ada", "nobody")))
    assert forge.home.pull(made.number).reviewers == ["ada"]
    forge.home.review(made.number, "cy", "approved")
    forge.port.update_pull_request(made.number, forge.draft("Again", reviewers=("ada", "bob", "nobody")))
    assert forge.home.pull(made.number).reviewers == ["ada", "bob"]
    forge.writes()
    forge.port.update_pull_request(made.number, forge.draft("Again", reviewers=("ada", "bob")))
    assert not [call for call in forge.writes() if "reviewer" in f"{call.path} {call.body}"]


def test_reviewers_are_asked_again(forge: ForgeUnderTest) -> None:
    """Also who has approved already; an account that the forge does not know is no failure."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.review(made.number, "cy", "approved")
    forge.port.request_reviews_again(made.number, ["cy", "nobody"])
    assert forge.home.pull(made.number).reviewers == ["cy"]


def test_auto_merge_waits_for_what_is_required(forge: ForgeUnderTest) -> None:
    """It is merged once its required status is green, and not before; where it may at once, at once."""
    forge.home.protected, forge.home.required = frozenset({"main"}), frozenset({"promoter/plan"})
    made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    assert forge.port.read_pull_request(made.number).state is PullRequestState.OPEN
    forge.port.update_pull_request(made.number, forge.draft("Again", auto_merge=True))
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))
    merged = forge.port.read_pull_request(made.number)
    assert (merged.state, merged.merged_by) == (PullRequestState.MERGED, "promoter-bot")


def test_auto_merge_that_is_not_taken_is_no_failure(forge: ForgeUnderTest) -> None:
    """A project that does not allow it leaves the pull request open."""
    forge.home.auto_merge_allowed = False
    made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    assert forge.port.read_pull_request(made.number).state is PullRequestState.OPEN


def test_auto_merge_waits_until_it_can_be_told(forge: ForgeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after it was opened, the forge still works out whether it can be merged: asked again, a few times."""
    if forge.kind == "github":
        return  # there it is never asked whether it can be merged
    monkeypatch.setattr("promoter.adapters.forges.base.SETTLE_SECONDS", 0)
    forge.face.settling = 2
    made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    assert forge.port.read_pull_request(made.number).state is PullRequestState.MERGED
    forge.face.settling = 100
    forge.push({"registry.yaml": "version: 8\n"}, by="promoter-bot")
    made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    forge.face.settling = 0
    assert forge.port.read_pull_request(made.number).state is PullRequestState.OPEN


def test_connected_by_the_settings(forge: ForgeUnderTest) -> None:
    """The settings make the forge of a world; without one of a known kind there is none."""
    url = f"{forge.server.url}/{forge.home.name}.git"
    secret = SecretStr(TOKEN)
    world = Container(Settings(repo=url, forge=forge.kind, git_token=secret, forge_account="promoter-bot"))
    assert world.forge is not None
    assert world.forge.open_pull_request(forge.draft()).author == "promoter-bot"
    world.forge.add_comment(1, "Plan")
    assert [comment.body for comment in world.forge.list_own_comments(1)] == ["Plan"]
    assert not [call for call in forge.forge.faults.calls if call.path.endswith("/user")]
    assert Container(Settings(repo=url)).forge is None
