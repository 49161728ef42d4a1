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
from tests.support.forges.scene import BRANCH, TOKEN, Scene, hosted
from tests.support.forges.things import Hook


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Scene]:
    """A scene on Gitea."""
    with hosted("gitea", tmp_path) as made:
        yield made


@pytest.mark.parametrize("version", ["confused", "old"])
def test_versions_that_cannot_be_asked_for_a_commit(here: Scene, version: str) -> None:
    """Where the answer names the wrong one, or there is none, the merged ones are looked through."""
    setattr(here.face, version, True)
    wrong = here.home.open("bob", *_work(here, "unmerged"), "Not merged")
    made = here.port.open_pull_request(here.draft())
    landed = here.home.merge(made.number, "cy")
    pushed = here.push({"other.md": "z\n"}, branch="main")
    assert wrong.number < made.number
    for revision in (landed, made.head):
        origin = here.port.find_commit_origin(revision)
        assert origin is not None
        assert origin.number == made.number
    assert here.port.find_commit_origin(pushed) is None


def test_commits_of_merged_ones_are_read_once(here: Scene) -> None:
    """They never change: a second look for a pushed commit asks only for what was merged since."""
    for number in range(3):
        branch = _work(here, f"work-{number}")[0]
        here.home.merge(here.home.open("bob", branch, f"Work {number}").number, "cy")
    pushed = here.push({"other.md": "z\n"}, branch="main")
    assert here.port.find_commit_origin(pushed) is None
    here.forge.faults.calls.clear()
    assert here.port.find_commit_origin(pushed) is None
    assert len(here.forge.faults.calls) == 2


def test_old_pull_requests_are_read_once(here: Scene) -> None:
    """Whose branch an old one is from never changes: a second look reads one page, and the state of the one found anew."""
    made = here.port.open_pull_request(here.draft())
    here.home.close(made.number, "bob")
    for number in range(55):
        here.home.open_from_fork("eve", "eve/registry", f"b{number}", made.head, f"Fork {number}")
        here.home.close(number + 2, "eve")
    first = here.port.find_latest_pull_request(BRANCH)
    here.home.pull(made.number).title = "Renamed"
    here.forge.faults.calls.clear()
    again = here.port.find_latest_pull_request(BRANCH)
    assert first is not None
    assert again is not None
    assert (first.number, again.number, again.title) == (made.number, made.number, "Renamed")
    assert len(here.forge.faults.calls) == 3
    newer = here.port.open_pull_request(here.draft())
    here.port.close_pull_request(newer.number)
    latest = here.port.find_latest_pull_request(BRANCH)
    assert latest is not None
    assert latest.number == newer.number


def test_the_branch_of_one_whose_branch_is_gone(here: Scene) -> None:
    """Once merged and its branch deleted, a pull request still says which branch it was from."""
    made = here.port.open_pull_request(here.draft())
    here.home.merge(made.number, "cy")
    here.home.git.delete(f"refs/heads/{BRANCH}")
    here.forge.refresh()
    latest = here.port.find_latest_pull_request(BRANCH)
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


def test_labels_are_made_once(here: Scene) -> None:
    """A label that is missing is made with a colour; one that is there is used."""
    here.home.labels["models"] = "#123456"
    made = here.port.open_pull_request(here.draft(labels=("promoter", "models")))
    here.port.update_pull_request(made.number, here.draft(labels=("promoter", "models")))
    assert set(here.home.labels) == {"promoter", "models"}
    assert [call.path for call in here.writes() if "labels" in call.path] == ["/api/v1/repos/acme/registry/labels"]


def test_teams_to_review(here: Scene) -> None:
    """A team of the repository's owner is asked, once; one of another organisation, or that is none, is logged."""
    here.forge.team("acme/risk", "ada")
    here.forge.team("other/risk", "eve")
    made = here.port.open_pull_request(here.draft(reviewers=("other/risk", "acme/none", "acme/risk")))
    here.port.update_pull_request(made.number, here.draft(reviewers=("acme/risk",)))
    assert here.home.pull(made.number).review_teams == ["risk"]


def test_a_team_by_its_whole_name(here: Scene) -> None:
    """A search finds parts of names: only the team of that name counts."""
    here.forge.team("acme/risk-readers", "eve")
    here.forge.team("acme/risk", "ada")
    made = here.port.open_pull_request(here.draft())
    asked = frozenset({"acme/risk", "acme/ris", "nobody/risk", "plain"})
    assert here.port.read_pull_request_origin(made.number, asked).teams == {"acme/risk": frozenset({"ada"})}


def test_asking_for_nothing_new(here: Scene) -> None:
    """Without labels and reviewers, a revision is one read and one write."""
    made = here.port.open_pull_request(here.draft())
    here.forge.faults.calls.clear()
    here.port.update_pull_request(made.number, here.draft("Again"))
    assert [call.method for call in here.forge.faults.calls] == ["GET", "PATCH"]


def test_an_instance_with_its_api_in_the_address(here: Scene) -> None:
    """The address may be given with `/api/v1` at its end."""
    made = here.port.open_pull_request(here.draft())
    other = connect_forge(
        "", "main", kind="gitea", url=f"{here.server.url}/api/v1/", project="acme/registry", token=SecretStr(TOKEN)
    )
    assert other is not None
    assert other.read_pull_request(made.number) == made


def test_names_that_are_paths(here: Scene) -> None:
    """What comes from outside stays one part of a path."""
    with pytest.raises(PermanentError):
        here.port.read_commit_status("../../user")
    assert here.forge.faults.calls[-1].path.startswith("/api/v1/repos/acme/registry/commits/")


def test_webhooks_are_signed(here: Scene) -> None:
    """Pushes, deletions and pull requests are announced in Gitea's words, signed over the body."""
    made = here.port.open_pull_request(here.draft())
    here.push({"registry.yaml": "version: 9\n"})
    here.home.merge(made.number, "cy")
    here.home.git.delete(f"refs/heads/{BRANCH}")
    here.forge.refresh()
    hook = Hook("http://127.0.0.1:1/webhooks/gitea", "s3cret")
    sent = [each for each in (here.forge.render(each, hook) for each in here.forge.happened) if each]
    for each in sent:
        assert each.headers["X-Gitea-Signature"] == hmac.new(b"s3cret", each.body, hashlib.sha256).hexdigest()
    told = [(each.headers["X-Gitea-Event"], json.loads(each.body)) for each in sent]
    assert [(event, body.get("action")) for event, body in told if event == "pull_request"] == [
        ("pull_request", "opened"),
        ("pull_request", "synchronized"),
        ("pull_request", "closed"),
    ]
    assert told[-1][0] == "delete"
    assert told[-1][1]["ref"] == BRANCH


def _work(here: Scene, branch: str) -> tuple[str]:
    here.push({f"{branch}.md": "x\n"}, branch=branch)
    return (branch,)
