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
from promoter.application.ports.forge import CommitStatus, CommitStatusState, PullRequestState
from promoter.domain.errors import PermanentError, TransientError
from tests.support.forges.faults import Answer, writing
from tests.support.forges.scene import BRANCH, Scene, hosted
from tests.support.forges.things import Hook


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Scene]:
    """A scene on GitLab."""
    with hosted("gitlab", tmp_path) as made:
        yield made


def test_quick_actions_do_nothing(here: Scene) -> None:
    """A line that GitLab would obey, such as `/close`, stays a line; what is read back is what was written."""
    body = "A tag says\n/close\n/approve now\n\n    /close\n\\/close\n/ 2\n"
    made = here.port.open_pull_request(here.draft(body=body))
    assert (made.state, made.body) == (PullRequestState.OPEN, body)
    assert "\n/close" not in here.home.pull(made.number).body
    here.port.add_comment(made.number, body)
    here.port.edit_comment(made.number, here.port.list_own_comments(made.number)[0].id, body)
    here.port.update_pull_request(made.number, here.draft(body=body))
    again = here.port.read_pull_request(made.number)
    assert (again.state, again.body, here.port.list_own_comments(made.number)[0].body) == (PullRequestState.OPEN, body, body)


@pytest.mark.parametrize("text", ["", "/x", "\\/x", "\\\\/x", "a /x", "/x\n/y\r\n/z", "\\", "/ x", "//x", "\\\n/x"])
def test_shielding_can_be_undone(text: str) -> None:
    """Whatever the text: nothing in it is an action, and it comes back as it was."""
    assert not any(line.startswith("/x") for line in gitlab.escape_quick_actions(text).split("\n"))
    assert gitlab.unescape_quick_actions(gitlab.escape_quick_actions(text)) == text


@pytest.mark.parametrize("old", [False, True])
def test_words_of_gitlab_itself_are_no_comments(here: Scene, *, old: bool) -> None:
    """System notes, of Promoter's own account too, are not comments, also where an instance gives them along."""
    here.face.old = old
    pull = here.home.open("bob", *_branch(here), "By hand")
    here.home.review(pull.number, "promoter-bot", "approved")
    assert here.port.list_own_comments(pull.number) == []


def test_old_instances_tell_the_time_of_an_approval_in_a_note(here: Scene) -> None:
    """Before `approved_at` there was, the system note tells when, so that a push after it makes it stale all the same."""
    here.face.old = True
    made = here.port.open_pull_request(here.draft())
    here.home.review(made.number, "ada", "approved")
    (review,) = here.port.read_pull_request_origin(made.number).reviews
    assert (review.by, review.stale, review.at is not None) == ("ada", False, True)
    here.push({"notes.md": "x\n"})
    assert [review.stale for review in here.port.read_pull_request_origin(made.number).reviews] == [True]


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


def test_groups(here: Scene) -> None:
    """A group at the top level is written with a slash at its end; blocked accounts are no members."""
    here.forge.team("acme/", "ada", "bob", "cy")
    here.forge.team("acme/models/risk", "ada", "eve")
    here.face.inactive = {"cy", "eve"}
    made = here.port.open_pull_request(here.draft())
    teams = here.port.read_pull_request_origin(made.number, frozenset({"acme/", "acme/models/risk"})).teams
    assert teams == {"acme/": frozenset({"ada", "bob"}), "acme/models/risk": frozenset({"ada"})}


def test_who_is_behind_a_mail(here: Scene) -> None:
    """A private address of this instance names the account; one of another instance, or a mail of nobody, does not."""
    made = here.port.open_pull_request(here.draft())
    for mail in (
        "7-cy@users.noreply.127.0.0.1",
        "7-eve@users.noreply.gitlab.com",
        "who@example.org",
        "broken",
        "ada@example.org",
    ):
        here.push({"notes.md": mail + "\n"}, by="someone", mail=mail)
    assert here.port.read_pull_request_origin(made.number).authors == {"promoter-bot", "cy", "ada"}


def test_mails_that_are_not_shown(here: Scene) -> None:
    """An instance that lets nobody look accounts up gives fewer authors, and no failure."""
    made = here.port.open_pull_request(here.draft())
    here.push({"notes.md": "x\n"}, by="bob")
    here.forge.faults.answer(lambda call: call.path.startswith("/api/v4/users"), Answer(403), times=9)
    assert here.port.read_pull_request_origin(made.number).authors == {"promoter-bot"}


def test_a_fast_forward(here: Scene) -> None:
    """What lands is the head itself, and it leads back to its merge request."""
    made = here.port.open_pull_request(here.draft())
    here.home.git.point("refs/heads/main", made.head)
    here.forge.refresh()
    merged = here.port.read_pull_request(made.number)
    assert (merged.state, merged.merge_commit) == (PullRequestState.MERGED, made.head)
    origin = here.port.find_commit_origin(made.head)
    assert origin is not None
    assert (origin.number, origin.merge_commit) == (made.number, made.head)


def test_words_of_a_pending_status_change_over_a_cut(here: Scene) -> None:
    """New words for a pending one take two writes: a cut between them leaves no status, and the next look writes it."""
    made = here.port.open_pull_request(here.draft())
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "2 rules wait"))
    here.forge.faults.fail_after(writing("/statuses/"))
    with pytest.raises(TransientError):
        here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "1 rule waits"))
    assert here.port.read_commit_status(made.head) is None
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "1 rule waits"))
    assert here.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.PENDING, "1 rule waits")


def test_two_set_the_same_status_at_once(here: Scene) -> None:
    """Where another was first with the same, it is done; with something else, it is for later."""
    made = here.port.open_pull_request(here.draft())
    said = b'{"message": "Cannot transition status via :enqueue from :pending"}'
    here.forge.faults.answer(writing("/statuses/"), Answer(400, said))
    with pytest.raises(TransientError, match="at the same time"):
        here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "waits"))
    here.home.set_status(made.head, "promoter-bot", "promoter/plan", "pending", "waits")
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.PENDING, "waits"))
    here.forge.faults.answer(writing("/statuses/"), Answer(400, b'{"message": "target_url is blocked"}'))
    with pytest.raises(PermanentError, match="target_url"):
        here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine"))


def test_an_address_too_long_for_a_status_is_left_out(here: Scene) -> None:
    """GitLab takes 255 letters."""
    made = here.port.open_pull_request(here.draft())
    here.port.set_commit_status(made.head, CommitStatus(CommitStatusState.SUCCESS, "fine", "https://example.org/" + "x" * 300))
    assert here.port.read_commit_status(made.head) == CommitStatus(CommitStatusState.SUCCESS, "fine")


def test_a_secret_token_is_sent_along(here: Scene) -> None:
    """Pushes and merge requests are announced in GitLab's words."""
    sent = _deliveries(here, "s3cret-words")
    assert {headers["X-Gitlab-Token"] for headers, _ in sent} == {"s3cret-words"}
    assert [headers["X-Gitlab-Event"] for headers, _ in sent] == ["Push Hook", "Merge Request Hook", "Push Hook"]
    push, opened, gone = (json.loads(body) for _, body in sent)
    assert (push["object_kind"], push["ref"]) == ("push", f"refs/heads/{BRANCH}")
    assert opened["object_attributes"]["action"] == "open"
    assert (gone["after"], gone["checkout_sha"]) == ("0" * 40, None)


def test_a_signing_token_signs(here: Scene) -> None:
    """What is signed is id, time and body, with the key that the token holds in base64."""
    key = bytes(range(32))
    for headers, body in _deliveries(here, "whsec_" + base64.b64encode(key).decode()):
        assert "X-Gitlab-Token" not in headers
        words = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.new(key, words, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"


def _branch(here: Scene) -> tuple[str]:
    here.push({"registry.yaml": "version: 2\n"}, branch="work")
    return ("work",)


def _deliveries(here: Scene, secret: str) -> list[tuple[dict[str, str], bytes]]:
    """What a hook with that secret gets of a branch that comes, a merge request from it, and a tag that goes."""
    here.port.open_pull_request(here.draft())
    here.home.git.point("refs/heads/short", here.home.git.heads()["main"])
    here.forge.refresh()
    here.home.git.delete("refs/heads/short")
    here.forge.refresh()
    hook = Hook("http://127.0.0.1:1/webhooks/gitlab", secret)
    told = [each for each in here.forge.happened if each.ref != "refs/heads/short" or each.after == "0" * 40]
    rendered = [here.forge.render(each, hook) for each in told]
    return [(each.headers, each.body) for each in rendered if each]
