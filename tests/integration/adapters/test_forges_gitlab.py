"""What is GitLab's alone: quick actions, notes, approvals without times, groups, mails, and its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from promoter.adapters.forges import gitlab
from promoter.application.ports.forge import CommitStatus, PullRequestState
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import PermanentError, TransientError
from tests.support.forges.faults import FaultyAnswer, writing
from tests.support.forges.model import Hook
from tests.support.forges.under_test import BRANCH, ForgeUnderTest, hosted


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[ForgeUnderTest]:
    """A scene on GitLab."""
    with hosted("gitlab", tmp_path) as made:
        yield made


def test_quick_actions_do_nothing(forge: ForgeUnderTest) -> None:
    """A line that GitLab would obey, such as `/close`, stays a line; what is read back is what was written."""
    body = "A tag says\n/close\n/approve now\n\n    /close\n\\/close\n/ 2\n"
    made = forge.port.open_pull_request(forge.draft(body=body))
    assert (made.state, made.body) == (PullRequestState.OPEN, body)
    assert "\n/close" not in forge.home.pull(made.number).body
    forge.port.add_comment(made.number, body)
    forge.port.edit_comment(made.number, forge.port.list_own_comments(made.number)[0].id, body)
    forge.port.update_pull_request(made.number, forge.draft(body=body))
    again = forge.port.read_pull_request(made.number)
    assert (again.state, again.body, forge.port.list_own_comments(made.number)[0].body) == (PullRequestState.OPEN, body, body)


@pytest.mark.parametrize("text", ["", "/x", "\\/x", "\\\\/x", "a /x", "/x\n/y\r\n/z", "\\", "/ x", "//x", "\\\n/x"])
def test_shielding_can_be_undone(text: str) -> None:
    """Whatever the text: nothing in it is an action, and it comes back as it was."""
    assert not any(line.startswith("/x") for line in gitlab.escape_quick_actions(text).split("\n"))
    assert gitlab.unescape_quick_actions(gitlab.escape_quick_actions(text)) == text


@pytest.mark.parametrize("old", [False, True])
def test_words_of_gitlab_itself_are_no_comments(forge: ForgeUnderTest, *, old: bool) -> None:
    """System notes, of Promoter's own account too, are not comments, also where an instance gives them along."""
    forge.face.old = old
    pull = forge.home.open("bob", *_branch(forge), "By hand")
    forge.home.review(pull.number, "promoter-bot", "approved")
    assert forge.port.list_own_comments(pull.number) == []


def test_old_instances_tell_the_time_of_an_approval_in_a_note(forge: ForgeUnderTest) -> None:
    """Before `approved_at` there was, the system note tells when, so that a push after it makes it stale all the same."""
    forge.face.old = True
    made = forge.port.open_pull_request(forge.draft())
    forge.home.review(made.number, "ada", "approved")
    (review,) = forge.port.read_pull_request_origin(made.number).reviews
    assert (review.by, review.stale, review.at is not None) == ("ada", False, True)
    forge.push({"notes.md": "x\n"})
    assert [review.stale for review in forge.port.read_pull_request_origin(made.number).reviews] == [True]


def test_an_approval_of_unknown_time() -> None:
    """With one version there is nothing that it could be stale against; with more, which one it was for is not known."""
    approved = [{"user": {"username": "ada"}}]
    one = [{"created_at": "2026-11-24T01:00:00.000Z"}]
    two = [*one, {"created_at": "2026-11-24T02:00:00.000Z"}]
    taken_back = [
        {"system": True, "author": {"username": "ada"}, "body": body, "created_at": f"2026-11-24T0{hour}:00:00Z"}
        for hour, body in ((3, "approved this merge request"), (4, "unapproved this merge request"))
    ]
    assert [review.stale for review in gitlab.parse_active_approvals(approved, one, [], None)] == [False]
    assert [review.stale for review in gitlab.parse_active_approvals(approved, two, [], None)] == [True]
    assert [review.stale for review in gitlab.parse_active_approvals(approved, two, taken_back, None)] == [True]
    assert [review.stale for review in gitlab.parse_active_approvals(approved, two, taken_back[:1], None)] == [False]


def test_groups(forge: ForgeUnderTest) -> None:
    """A group at the top level is written with a slash at its end; blocked accounts are no members."""
    forge.forge.team("acme/", "ada", "bob", "cy")
    forge.forge.team("acme/models/risk", "ada", "eve")
    forge.face.inactive = {"cy", "eve"}
    made = forge.port.open_pull_request(forge.draft())
    teams = forge.port.read_pull_request_origin(made.number, frozenset({"acme/", "acme/models/risk"})).teams
    assert teams == {"acme/": frozenset({"ada", "bob"}), "acme/models/risk": frozenset({"ada"})}


def test_who_is_behind_a_mail(forge: ForgeUnderTest) -> None:
    """A private address of this instance names the account; one of another instance, or a mail of nobody, does not."""
    made = forge.port.open_pull_request(forge.draft())
    for mail in (
        "7-cy@users.noreply.127.0.0.1",
        "7-eve@users.noreply.gitlab.com",
        "who@example.org",
        "broken",
        "ada@example.org",
    ):
        forge.push({"notes.md": mail + "\n"}, by="someone", mail=mail)
    assert forge.port.read_pull_request_origin(made.number).authors == {"promoter-bot", "cy", "ada"}


def test_mails_that_are_not_shown(forge: ForgeUnderTest) -> None:
    """An instance that lets nobody look accounts up gives fewer authors, and no failure."""
    made = forge.port.open_pull_request(forge.draft())
    forge.push({"notes.md": "x\n"}, by="bob")
    forge.forge.faults.answer(lambda call: call.path.startswith("/api/v4/users"), FaultyAnswer(403), times=9)
    assert forge.port.read_pull_request_origin(made.number).authors == {"promoter-bot"}


def test_a_fast_forward(forge: ForgeUnderTest) -> None:
    """What lands is the head itself, and it leads back to its merge request."""
    made = forge.port.open_pull_request(forge.draft())
    forge.home.git.point("refs/heads/main", made.head)
    forge.forge.refresh()
    merged = forge.port.read_pull_request(made.number)
    assert (merged.state, merged.merge_commit) == (PullRequestState.MERGED, made.head)
    origin = forge.port.find_commit_origin(made.head)
    assert origin is not None
    assert (origin.number, origin.merge_commit) == (made.number, made.head)


def test_words_of_a_pending_status_change_over_a_cut(forge: ForgeUnderTest) -> None:
    """New words for a pending one take two writes: a cut between them leaves no status, and the next look writes it."""
    made = forge.port.open_pull_request(forge.draft())
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "2 rules wait"))
    forge.forge.faults.fail_after(writing("/statuses/"))
    with pytest.raises(TransientError):
        forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "1 rule waits"))
    assert forge.port.read_commit_status(made.head) is None
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "1 rule waits"))
    assert forge.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.PENDING, "1 rule waits")


def test_two_set_the_same_status_at_once(forge: ForgeUnderTest) -> None:
    """Where another was first with the same, it is done; with something else, it is for later."""
    made = forge.port.open_pull_request(forge.draft())
    answer = b'{"message": "Cannot transition status via :enqueue from :pending"}'
    forge.forge.faults.answer(writing("/statuses/"), FaultyAnswer(400, answer))
    with pytest.raises(TransientError, match="at the same time"):
        forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "waits"))
    forge.home.set_status(made.head, "promoter-bot", "promoter/plan", "pending", "waits")
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "waits"))
    forge.forge.faults.answer(writing("/statuses/"), FaultyAnswer(400, b'{"message": "target_url is blocked"}'))
    with pytest.raises(PermanentError, match="target_url"):
        forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))


def test_an_address_too_long_for_a_status_is_left_out(forge: ForgeUnderTest) -> None:
    """GitLab takes 255 letters."""
    made = forge.port.open_pull_request(forge.draft())
    forge.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine", "https://example.org/" + "x" * 300))
    assert forge.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.SUCCESS, "fine")


def test_a_secret_token_is_sent_along(forge: ForgeUnderTest) -> None:
    """Pushes and merge requests are announced in GitLab's words."""
    sent = _deliveries(forge, "s3cret-words")
    assert {headers["X-Gitlab-Token"] for headers, _ in sent} == {"s3cret-words"}
    assert [headers["X-Gitlab-Event"] for headers, _ in sent] == ["Push Hook", "Merge Request Hook", "Push Hook"]
    push, opened, gone = (json.loads(body) for _, body in sent)
    assert (push["object_kind"], push["ref"]) == ("push", f"refs/heads/{BRANCH}")
    assert opened["object_attributes"]["action"] == "open"
    assert (gone["after"], gone["checkout_sha"]) == ("0" * 40, None)


def test_a_signing_token_signs(forge: ForgeUnderTest) -> None:
    """What is signed is id, time and body, with the key that the token holds in base64."""
    key = bytes(range(32))
    for headers, body in _deliveries(forge, "whsec_" + base64.b64encode(key).decode()):
        assert "X-Gitlab-Token" not in headers
        words = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.new(key, words, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"


def _branch(forge: ForgeUnderTest) -> tuple[str]:
    forge.push({"registry.yaml": "version: 2\n"}, branch="work")
    return ("work",)


def _deliveries(forge: ForgeUnderTest, secret: str) -> list[tuple[dict[str, str], bytes]]:
    """What a hook with that secret gets of a branch that comes, a merge request from it, and a tag that goes."""
    forge.port.open_pull_request(forge.draft())
    forge.home.git.point("refs/heads/short", forge.home.git.heads()["main"])
    forge.forge.refresh()
    forge.home.git.delete("refs/heads/short")
    forge.forge.refresh()
    hook = Hook("http://127.0.0.1:1/webhooks/gitlab", secret)
    events = [each for each in forge.forge.happened if each.ref != "refs/heads/short" or each.after == "0" * 40]
    rendered = [forge.forge.render(each, hook) for each in events]
    return [(each.headers, each.body) for each in rendered if each]
