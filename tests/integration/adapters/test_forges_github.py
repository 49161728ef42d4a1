"""What is GitHub's alone: limits, tokens of apps, reviews, auto-merge over GraphQL, and its webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from promoter.adapters.forges import github
from promoter.adapters.forges.github import GitHub
from promoter.application.ports.forge import CommitStatus, PullRequestState
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.review import PullRequestReview
from tests.support.forges.faults import FaultyAnswer, writing
from tests.support.forges.model import Hook
from tests.support.forges.under_test import BRANCH, TOKEN, ForgeUnderTest, hosted

JSON = ("Content-Type", "application/json")


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[ForgeUnderTest]:
    """A scene on GitHub."""
    with hosted("github", tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("status", "words", "headers", "expected"),
    [
        (
            403,
            "API rate limit exceeded for user ID 1.",
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "RESET"},
            "seconds",
        ),
        (
            429,
            "API rate limit exceeded for user ID 1.",
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "RESET"},
            "seconds",
        ),
        (403, "You have exceeded a secondary rate limit.", {"Retry-After": "60"}, "again in 60 seconds"),
        (403, "You have exceeded a secondary rate limit.", {}, "again in some minutes"),
        (429, "Slow down", {"Retry-After": "soon"}, "again in some minutes"),
    ],
)
def test_limits_tell_when_to_come_again(
    forge: ForgeUnderTest, status: int, words: str, headers: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit is for later, never for a person; nothing waits for it, and nothing is sent twice."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("waits"))
    values = {name: value.replace("RESET", str(int(time.time()) + 900)) for name, value in headers.items()}
    forge.forge.faults.answer(
        lambda _call: True, FaultyAnswer(status, json.dumps({"message": words}).encode(), (JSON, *values.items())), times=9
    )
    for call in (lambda: forge.port.read_pull_request(1), lambda: forge.port.add_comment(1, "x")):
        with pytest.raises(TransientError, match=f"too many requests, again in .*{expected.rpartition(' ')[2]}") as caught:
            call()
        assert expected in str(caught.value)
    assert len(forge.forge.faults.hit) == 2


def test_an_answer_that_is_not_ready_is_not_waited_for(forge: ForgeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would wait and ask again without end."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("waits"))
    forge.forge.faults.answer(lambda _call: True, FaultyAnswer(202, b"{}"), times=9)
    with pytest.raises(TransientError):
        forge.port.read_pull_request(1)
    assert len(forge.forge.faults.hit) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "https://evil.example", "HERE"])
def test_redirects_are_not_followed(forge: ForgeUnderTest, status: int, host: str) -> None:
    """Not to another host with the token, and not on the same one, where a write would be sent again."""
    to = f"{forge.server.url if host == 'HERE' else host}/api/v3/repos/acme/other/pulls"
    forge.forge.faults.answer(lambda _call: True, FaultyAnswer(status, b"{}", (JSON, ("Location", to))), times=9)
    draft = forge.draft()
    for call in (lambda: forge.port.read_pull_request(1), lambda: forge.port.open_pull_request(draft)):
        with pytest.raises(PermanentError, match="redirects"):
            call()
    assert len(forge.forge.faults.hit) == 2


def test_the_token_of_an_app(forge: ForgeUnderTest) -> None:
    """It is not told its own account: the settings have to name it, and then comments are known."""
    forge.forge.account("release[bot]", installation=True, token="ghs-4f21")
    forge.home.levels["release[bot]"] = "write"
    made = forge.port.open_pull_request(forge.draft())
    url = forge.environment["PROMOTER_FORGE_URL"]
    unnamed = GitHub(url, forge.home.name, "main", SecretStr("ghs-4f21"))
    unnamed.add_comment(made.number, "Plan")
    with pytest.raises(PermanentError) as caught:
        unnamed.list_own_comments(made.number)
    assert "PROMOTER_FORGE_ACCOUNT" in str(caught.value.fix)
    named = GitHub(url, forge.home.name, "main", SecretStr("ghs-4f21"), "Release[bot]")
    assert [comment.body for comment in named.list_own_comments(made.number)] == ["Plan"]
    assert GitHub(url, forge.home.name, "main", SecretStr("ghs-4f21"), "release").list_own_comments(made.number) == []


def test_which_reviews_count() -> None:
    """Of each account the last that decides; not those after the merge, nor of who has no part in the repository."""

    def row(
        number: int, by: str | None, state: str, commit: str = "new", *, at: int = 1, part: str = "MEMBER"
    ) -> dict[str, Any]:
        user = {"login": by} if by else None
        when = f"2026-11-24T00:00:{at:02}Z"
        return {
            "id": number, "user": user, "state": state, "commit_id": commit, "submitted_at": when, "author_association": part
        }  # fmt: skip

    rows = [
        row(1, "ada", "CHANGES_REQUESTED"),
        row(2, "ada", "APPROVED"),
        row(3, "ada", "COMMENTED"),
        row(4, "bob", "APPROVED", "old"),
        row(5, "cy", "APPROVED"),
        row(6, "cy", "DISMISSED"),
        row(7, "eve", "APPROVED", part="NONE"),
        row(8, None, "APPROVED"),
        row(9, "dee", "APPROVED", at=30),
        row(10, "fay", "PENDING"),
    ]
    at = github.parse_timestamp("2026-11-24T00:00:01Z")
    assert github.parse_active_approvals(rows, "new", github.parse_timestamp("2026-11-24T00:00:10Z")) == (
        PullRequestReview("ada", at),
        PullRequestReview("bob", at, stale=True),
    )
    assert {review.by for review in github.parse_active_approvals(rows, "new", None)} == {"ada", "bob", "dee"}


def test_authors_and_committers(forge: ForgeUnderTest) -> None:
    """Who committed another's work counts as an author too; GitHub's own account for the web does not."""
    made = forge.port.open_pull_request(forge.draft())
    tip = forge.home.git.commit(made.head)
    bob, web = ("bob", "bob@example.org"), ("GitHub", "noreply@github.com")
    first = forge.home.git.make(tip.tree, (tip.sha,), "One", {"author": ("Ada", "ada@example.org"), "committer": bob})
    second = forge.home.git.make(tip.tree, (first,), "Two", {"author": ("x", "x@elsewhere.example"), "committer": web})
    forge.home.git.point(f"refs/heads/{BRANCH}", second)
    assert forge.port.read_pull_request_origin(made.number).authors == {"promoter-bot", "ada", "bob"}


def test_auto_merge_where_nothing_keeps_it_back(forge: ForgeUnderTest) -> None:
    """GitHub takes the wish only while something does; of a protected branch that may be merged into, it is merged at once."""
    forge.home.protected = frozenset({"main"})
    made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    merged = forge.port.read_pull_request(made.number)
    assert (merged.state, merged.merged_by) == (PullRequestState.MERGED, "promoter-bot")
    (call,) = [call for call in forge.writes() if call.path.endswith("/merge")]
    assert call.body == {"merge_method": "merge", "sha": made.head}


def test_auto_merge_is_for_protected_branches(forge: ForgeUnderTest) -> None:
    """Where nothing is required of a pull request it is never merged by itself: this is logged."""
    with capture_logs() as logs:
        made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    assert forge.port.read_pull_request(made.number).state is PullRequestState.OPEN
    assert "Protected branch rules" in str([each["answer"] for each in logs if each["log_level"] == "warning"])


def test_auto_merge_is_wished_once(forge: ForgeUnderTest) -> None:
    """What waits already is not asked again; the answer for it is read over GraphQL beside the REST API."""
    forge.home.protected, forge.home.approvals = frozenset({"main"}), 1
    made = forge.port.open_pull_request(forge.draft(auto_merge=True))
    assert [call.path for call in forge.writes() if "graphql" in call.path] == ["/api/graphql"]
    forge.port.update_pull_request(made.number, forge.draft("Again", auto_merge=True))
    assert not [call for call in forge.writes() if "graphql" in call.path]
    forge.home.review(made.number, "ada", "approved")
    assert forge.port.read_pull_request(made.number).state is PullRequestState.MERGED


def test_labels_are_made_once(forge: ForgeUnderTest) -> None:
    """A missing label is made with a colour; one that another makes meanwhile is used; case makes no other label."""
    forge.home.labels["Models"] = "123456"
    forge.forge.faults.answer(
        writing("/labels"), FaultyAnswer(422, b'{"message": "Validation Failed", "errors": [{"code": "already_exists"}]}')
    )
    made = forge.port.open_pull_request(forge.draft(labels=("promoter", "models")))
    forge.port.update_pull_request(made.number, forge.draft(labels=("promoter", "models", "urgent")))
    paths = [call.path for call in forge.writes() if call.path.endswith("/acme/registry/labels")]
    assert len(paths) == 1
    assert forge.home.labels["urgent"] == "1d76db"
    assert forge.home.pull(made.number).labels == ["promoter", "models", "urgent"]


def test_teams_to_review(forge: ForgeUnderTest) -> None:
    """A team of the owner is asked, once; the author, and teams of others or of nobody, are logged."""
    forge.forge.team("acme/risk", "ada")
    forge.forge.team("other/risk", "eve")
    with capture_logs() as logs:
        made = forge.port.open_pull_request(forge.draft(reviewers=("other/risk", "acme/none", "acme/risk", "promoter-bot")))
    forge.port.update_pull_request(made.number, forge.draft(reviewers=("acme/risk",)))
    assert forge.home.pull(made.number).review_teams == ["risk"]
    refused = [each["reviewer"] for each in logs if each["log_level"] == "warning"]
    assert refused == ["other/risk", "acme/none", "promoter-bot"]


def test_branches_of_others_with_the_same_name(forge: ForgeUnderTest) -> None:
    """GitHub leaves a branch that it does not know out of account: what comes then is not taken for ours."""
    made = forge.port.open_pull_request(forge.draft())
    row = json.dumps([forge.face._json.pull_request(forge.home, forge.home.pull(made.number))]).encode()
    forge.forge.faults.answer(lambda call: "head=" in call.path, FaultyAnswer(200, row))
    assert forge.port.find_latest_pull_request("promoter/other/champion") is None


def test_a_fork_that_is_gone(forge: ForgeUnderTest) -> None:
    """Its repository and its author are no more: it is still one of a fork."""
    made = forge.port.open_pull_request(forge.draft())
    row = forge.face._json.whole_pull_request(forge.home, forge.home.pull(made.number))
    row["head"]["repo"], row["user"] = None, None
    pull = github.parse_pull_request(row)
    assert (pull.fork, pull.author) == (True, "ghost")


def test_a_commit_of_two_pull_requests(forge: ForgeUnderTest) -> None:
    """The one whose merge made it counts, else the one that was merged first."""
    rows = []
    for number, merged, commit in ((1, "2026-11-24T00:00:03Z", "m1"), (2, "2026-11-24T00:00:01Z", "m2"), (3, None, None)):
        forge.push({"notes.md": f"{number}\n"}, branch=f"work-{number}")
        row = forge.face._json.pull_request(forge.home, forge.home.open("bob", f"work-{number}", "Work"))
        rows.append(row | {"merged_at": merged, "merge_commit_sha": commit})
    assert github.find_introducing_number(rows, "m1", "main") == 1
    assert github.find_introducing_number(rows, "c9", "main") == 2
    assert github.find_introducing_number(rows, "c9", "release") is None


def test_api_github_com_has_no_path(forge: ForgeUnderTest) -> None:
    """There, REST begins at the root, and GraphQL lies beside it."""
    port = GitHub("https://api.github.com", "acme/registry", "main", SecretStr(TOKEN))
    assert port._client.graphql_url == "https://api.github.com/graphql"
    enterprise = GitHub("https://ghe.example.com/api/v3/", "acme/registry", "main", SecretStr(TOKEN))
    assert enterprise._client.graphql_url == "https://ghe.example.com/api/graphql"
    assert forge.port.list_open_pull_requests() == []


def test_error_counts_as_failure(forge: ForgeUnderTest) -> None:
    """A status that another wrote under our name, in GitHub's fourth state."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.set_status(made.head, "bob", "promoter/plan", "error", "broken")
    assert forge.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.FAILURE, "broken")


def test_webhooks_are_signed(forge: ForgeUnderTest) -> None:
    """Pushes, pull requests and reviews are announced in GitHub's words, each with its number and a signature."""
    made = forge.port.open_pull_request(forge.draft())
    review = forge.home.review(made.number, "ada", "approved")
    forge.home.dismiss(made.number, review.id)
    forge.push({"notes.md": "x\n"})
    forge.home.merge(made.number, "cy")
    sent = [forge.forge.render(each, Hook("http://127.0.0.1:1/", "s3cret")) for each in forge.forge.happened]
    events = []
    for delivery in sent:
        assert delivery is not None
        digest = hmac.new(b"s3cret", delivery.body, hashlib.sha256).hexdigest()
        assert delivery.headers["X-Hub-Signature-256"] == f"sha256={digest}"
        events.append((delivery.headers["X-GitHub-Event"], json.loads(delivery.body).get("action")))
    assert events == [
        ("push", None),
        ("pull_request", "opened"),
        ("pull_request_review", "submitted"),
        ("pull_request_review", "dismissed"),
        ("push", None),
        ("pull_request", "synchronize"),
        ("pull_request", "closed"),
        ("push", None),
    ]
    assert len({delivery.headers["X-GitHub-Delivery"] for delivery in sent if delivery}) == len(sent)
