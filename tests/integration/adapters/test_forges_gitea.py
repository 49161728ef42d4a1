"""What is Gitea's alone: finding by branch and by commit, labels by number, teams, and its webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.forges import connect_forge, gitea
from promoter.application.ports.forge import PullRequestState
from promoter.domain.errors import PermanentError
from promoter.domain.review import PullRequestReview
from tests.support.forges.model import Hook
from tests.support.forges.under_test import BRANCH, TOKEN, ForgeUnderTest, hosted


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[ForgeUnderTest]:
    """A scene on Gitea."""
    with hosted("gitea", tmp_path) as made:
        yield made


@pytest.mark.parametrize("version", ["confused", "old"])
def test_versions_that_cannot_be_asked_for_a_commit(forge: ForgeUnderTest, version: str) -> None:
    """Where the answer names the wrong one, or there is none, the merged ones are looked through."""
    setattr(forge.face, version, True)
    wrong = forge.home.open("bob", *_work(forge, "unmerged"), "Not merged")
    made = forge.port.open_pull_request(forge.draft())
    landed = forge.home.merge(made.number, "cy")
    pushed = forge.push({"other.md": "z\n"}, branch="main")
    assert wrong.number < made.number
    for revision in (landed, made.head):
        origin = forge.port.find_commit_origin(revision)
        assert origin is not None
        assert origin.number == made.number
    assert forge.port.find_commit_origin(pushed) is None


def test_commits_of_merged_ones_are_read_once(forge: ForgeUnderTest) -> None:
    """They never change: a second look for a pushed commit asks only for what was merged since."""
    for number in range(3):
        branch = _work(forge, f"work-{number}")[0]
        forge.home.merge(forge.home.open("bob", branch, f"Work {number}").number, "cy")
    pushed = forge.push({"other.md": "z\n"}, branch="main")
    assert forge.port.find_commit_origin(pushed) is None
    forge.forge.faults.calls.clear()
    assert forge.port.find_commit_origin(pushed) is None
    assert len(forge.forge.faults.calls) == 2


def test_old_pull_requests_are_read_once(forge: ForgeUnderTest) -> None:
    """Whose branch an old one is from never changes: a second look reads one page, and the state of the one found anew."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.close(made.number, "bob")
    for number in range(55):
        forge.home.open_from_fork("eve", "eve/registry", f"b{number}", made.head, f"Fork {number}")
        forge.home.close(number + 2, "eve")
    first = forge.port.find_latest_pull_request(BRANCH)
    forge.home.pull(made.number).title = "Renamed"
    forge.forge.faults.calls.clear()
    again = forge.port.find_latest_pull_request(BRANCH)
    assert first is not None
    assert again is not None
    assert (first.number, again.number, again.title) == (made.number, made.number, "Renamed")
    assert len(forge.forge.faults.calls) == 3
    newer = forge.port.open_pull_request(forge.draft())
    forge.port.close_pull_request(newer.number)
    latest = forge.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert latest.number == newer.number


def test_the_branch_of_one_whose_branch_is_gone(forge: ForgeUnderTest) -> None:
    """Once merged and its branch deleted, a pull request still says which branch it was from."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.merge(made.number, "cy")
    forge.home.git.delete(f"refs/heads/{BRANCH}")
    forge.forge.refresh()
    latest = forge.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert (latest.number, latest.branch, latest.state) == (made.number, BRANCH, PullRequestState.MERGED)


def test_an_approval_of_another_commit() -> None:
    """It is stale, also where Gitea has not marked it yet; a review that asks for changes or comments is no approval."""
    rows = [
        {"id": number, "user": {"login": by}, "state": state, "commit_id": commit, "stale": stale, "submitted_at": None}
        for number, by, state, commit, stale in (
            (4, "ada", "APPROVED", "new", False),
            (3, "ada", "REQUEST_CHANGES", "new", False),
            (5, "ada", "COMMENT", "new", False),
            (6, "bob", "APPROVED", "old", False),
            (7, "cy", "APPROVED", "new", True),
            (8, "eve", "REQUEST_REVIEW", "new", False),
        )
    ]
    assert gitea.parse_active_approvals(rows, "new", None) == (
        PullRequestReview("ada"),
        PullRequestReview("bob", stale=True),
        PullRequestReview("cy", stale=True),
    )


def test_labels_are_made_once(forge: ForgeUnderTest) -> None:
    """A label that is missing is made with a colour; one that is there is used."""
    forge.home.labels["models"] = "#123456"
    made = forge.port.open_pull_request(forge.draft(labels=("promoter", "models")))
    forge.port.update_pull_request(made.number, forge.draft(labels=("promoter", "models")))
    assert set(forge.home.labels) == {"promoter", "models"}
    assert [call.path for call in forge.writes() if "labels" in call.path] == ["/api/v1/repos/acme/registry/labels"]


def test_teams_to_review(forge: ForgeUnderTest) -> None:
    """A team of the repository's owner is asked, once; one of another organisation, or that is none, is logged."""
    forge.forge.team("acme/risk", "ada")
    forge.forge.team("other/risk", "eve")
    made = forge.port.open_pull_request(forge.draft(reviewers=("other/risk", "acme/none", "acme/risk")))
    forge.port.update_pull_request(made.number, forge.draft(reviewers=("acme/risk",)))
    assert forge.home.pull(made.number).review_teams == ["risk"]


def test_a_team_by_its_whole_name(forge: ForgeUnderTest) -> None:
    """A search finds parts of names: only the team of that name counts."""
    forge.forge.team("acme/risk-readers", "eve")
    forge.forge.team("acme/risk", "ada")
    made = forge.port.open_pull_request(forge.draft())
    asked = frozenset({"acme/risk", "acme/ris", "nobody/risk", "plain"})
    assert forge.port.read_pull_request_origin(made.number, asked).teams == {"acme/risk": frozenset({"ada"})}


def test_asking_for_nothing_new(forge: ForgeUnderTest) -> None:
    """Without labels and reviewers, a revision is one read and one write."""
    made = forge.port.open_pull_request(forge.draft())
    forge.forge.faults.calls.clear()
    forge.port.update_pull_request(made.number, forge.draft("Again"))
    assert [call.method for call in forge.forge.faults.calls] == ["GET", "PATCH"]


def test_an_instance_with_its_api_in_the_address(forge: ForgeUnderTest) -> None:
    """The address may be given with `/api/v1` at its end."""
    made = forge.port.open_pull_request(forge.draft())
    other = connect_forge(
        "", "main", kind="gitea", url=f"{forge.server.url}/api/v1/", project="acme/registry", token=SecretStr(TOKEN)
    )
    assert other is not None
    assert other.read_pull_request(made.number) == made


def test_names_that_are_paths(forge: ForgeUnderTest) -> None:
    """What comes from outside stays one part of a path."""
    with pytest.raises(PermanentError):
        forge.port.read_commit_status("../../user")
    assert forge.forge.faults.calls[-1].path.startswith("/api/v1/repos/acme/registry/commits/")


def test_webhooks_are_signed(forge: ForgeUnderTest) -> None:
    """Pushes, deletions and pull requests are announced in Gitea's words, signed over the body."""
    made = forge.port.open_pull_request(forge.draft())
    forge.push({"registry.yaml": "version: 9\n"})
    forge.home.merge(made.number, "cy")
    forge.home.git.delete(f"refs/heads/{BRANCH}")
    forge.forge.refresh()
    hook = Hook("http://127.0.0.1:1/webhooks/gitea", "s3cret")
    sent = [each for each in (forge.forge.render(each, hook) for each in forge.forge.happened) if each]
    for each in sent:
        assert each.headers["X-Gitea-Signature"] == hmac.new(b"s3cret", each.body, hashlib.sha256).hexdigest()
    events = [(each.headers["X-Gitea-Event"], json.loads(each.body)) for each in sent]
    assert [(event, body.get("action")) for event, body in events if event == "pull_request"] == [
        ("pull_request", "opened"),
        ("pull_request", "synchronized"),
        ("pull_request", "closed"),
    ]
    assert events[-1][0] == "delete"
    assert events[-1][1]["ref"] == BRANCH


def _work(forge: ForgeUnderTest, branch: str) -> tuple[str]:
    forge.push({f"{branch}.md": "x\n"}, branch=branch)
    return (branch,)
