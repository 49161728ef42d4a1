"""Webhooks of the three forges: what each proves, what of it is for us, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from promoter.application.controller import PullRequestWork
from promoter.application.work_items import GIT
from tests.support.fixtures.web import MakeWebSite
from tests.support.web_site import NOW, WebAnswer, WebSite
from tests.support.webhook_signing import PUSH, github_headers

SECRETS = {"gitlab_webhook_secret": "lab-token", "gitea_webhook_secret": "tea-secret"}
SIGNING_TOKEN = "whsec_" + base64.b64encode(b"k" * 32).decode()
FORGES = ("github", "gitlab", "gitea")
ALL_ZERO = "0" * 40


def pushed(ref: str = "refs/heads/main", *, deleted: bool = False) -> dict[str, Any]:
    """A push, as far as all three agree."""
    return {"ref": ref, "before": "1" * 40, "after": ALL_ZERO if deleted else "2" * 40, "deleted": deleted}


def pull(forge: str, action: str, *, fork: bool = False, base: str = "main", number: Any = 7) -> dict[str, Any]:
    """Something that happened to a pull request."""
    if forge == "gitlab":
        about = {"iid": number, "action": action, "target_branch": base, "source_project_id": 9 if fork else 1}
        return {"object_kind": "merge_request", "object_attributes": {**about, "target_project_id": 1}}
    head = {"ref": "change", "repo": {"id": 9 if fork else 1}}
    payload = {"number": number, "head": head, "base": {"ref": base, "repo": {"id": 1}}}
    return {"action": action, "number": number, "pull_request": payload}


EVENTS = {
    "github": {"push": "push", "pull": "pull_request"},
    "gitlab": {"push": "Push Hook", "pull": "Merge Request Hook"},
    "gitea": {"push": "push", "pull": "pull_request"},
}
ACTIONS = {
    "github": ("opened", "synchronize", "reopened"),
    "gitlab": ("open", "update", "reopen", "approved", "unapproved"),
    "gitea": ("opened", "synchronized", "reopened"),
}
CLOSING = {"github": ("closed",), "gitlab": ("close", "merge"), "gitea": ("closed",)}


def headers(forge: str, body: bytes, kind: str, delivery: str = "d-1") -> dict[str, str]:
    """What the forge sends with it."""
    event = EVENTS[forge].get(kind, kind)
    if forge == "github":
        return github_headers(body, event, delivery)
    if forge == "gitlab":
        return {"X-Gitlab-Event": event, "X-Gitlab-Token": SECRETS["gitlab_webhook_secret"], "Idempotency-Key": delivery}
    signature = hmac.new(SECRETS["gitea_webhook_secret"].encode(), body, hashlib.sha256).hexdigest()
    return {"X-Gitea-Event": event, "X-Gitea-Delivery": delivery, "X-Gitea-Signature": signature}


def send(web_site: WebSite, forge: str, payload: Any, kind: str, delivery: str = "d-1", **other: str) -> WebAnswer:
    """One delivery."""
    body = json.dumps(payload).encode()
    return web_site.post(f"/webhooks/{forge}", body, {**headers(forge, body, kind, delivery), **other})


@pytest.fixture
def web_site(make_web_site: MakeWebSite) -> WebSite:
    """With every secret, and a forge."""
    made = make_web_site(**SECRETS)
    made.watch.pull_request_work = cast("PullRequestWork", object())
    return made


@pytest.mark.parametrize("forge", FORGES)
def test_a_push_to_the_watched_branch_is_a_hint(web_site: WebSite, forge: str) -> None:
    """Tags, other branches and the branch's deletion are not for us; the same delivery twice is one hint."""
    others = [pushed("refs/heads/feature/main"), pushed("refs/tags/main"), pushed(deleted=True)]
    assert [send(web_site, forge, payload, "push", f"o-{n}").status for n, payload in enumerate(others)] == [200] * 3
    assert [send(web_site, forge, pushed(), "push", "same").status for _ in range(2)] == [202, 200]
    assert web_site.puts == [("git", f"webhook:{forge}:same")]


@pytest.mark.parametrize("forge", FORGES)
def test_a_pull_request_is_looked_at_by_its_number(web_site: WebSite, forge: str) -> None:
    """When it is opened, changed or opened again."""
    results = [send(web_site, forge, pull(forge, action), "pull", action) for action in ACTIONS[forge]]
    assert [each.status for each in results] == [202] * len(ACTIONS[forge])
    assert web_site.puts == [("pull:7", f"webhook:{forge}:{action}") for action in ACTIONS[forge]]


@pytest.mark.parametrize("forge", FORGES)
def test_a_decided_pull_request_has_git_and_the_others_looked_at(web_site: WebSite, forge: str) -> None:
    """It may have been merged, and what waited for it may go on."""
    for action in CLOSING[forge]:
        assert send(web_site, forge, pull(forge, action), "pull", action).status == 202
    assert set(web_site.puts) == {(key, f"webhook:{forge}:{action}") for action in CLOSING[forge] for key in ("git", "pulls")}


@pytest.mark.parametrize("forge", FORGES)
def test_forks_other_branches_and_idle_talk_are_nothing_of_ours(web_site: WebSite, forge: str) -> None:
    """200, and no look."""
    action = ACTIONS[forge][0]
    quiet = [
        (pull(forge, action, fork=True), "pull"),
        (pull(forge, action, base="release"), "pull"),
        (pull(forge, "labeled"), "pull"),
        (pull(forge, CLOSING[forge][0], fork=True), "pull"),
        ({"zen": "calm"}, "ping"),
        ({"object_kind": "note"}, "Note Hook"),
    ]
    if forge != "gitlab":
        orphan = pull(forge, action)
        orphan["pull_request"]["head"]["repo"] = None
        quiet.append((orphan, "pull"))
    statuses = [send(web_site, forge, payload, kind, f"q-{n}").status for n, (payload, kind) in enumerate(quiet)]
    assert statuses == [200] * len(quiet)
    assert not web_site.puts


@pytest.mark.parametrize("forge", FORGES)
def test_without_a_forge_only_pushes_matter(web_site: WebSite, forge: str) -> None:
    """The daemon that talks to no forge still hears of the merge."""
    web_site.watch.pull_request_work = None
    assert send(web_site, forge, pull(forge, ACTIONS[forge][0]), "pull", "a").status == 200
    assert send(web_site, forge, pull(forge, CLOSING[forge][0]), "pull", "b").status == 202
    assert web_site.puts == [("git", f"webhook:{forge}:b")]


@pytest.mark.parametrize("forge", FORGES)
def test_a_review_is_a_reason_to_plan_again(web_site: WebSite, forge: str) -> None:
    """Since a rule may ask for it."""
    payload, kind = {
        "github": (pull("github", "submitted"), "pull_request_review"),
        "gitlab": (pull("gitlab", "approved"), "pull"),
        "gitea": (pull("gitea", "reviewed"), "pull_request_approved"),
    }[forge]
    assert send(web_site, forge, payload, kind).status == 202
    assert web_site.puts == [("pull:7", f"webhook:{forge}:d-1")]


WRONG = [[], "push", 7, None, {}, {"ref": None}, {"ref": ["refs/heads/main"]}, {"ref": {"a": 1}}, {"ref": ""}]


@pytest.mark.parametrize("forge", FORGES)
def test_pushes_of_the_wrong_shape_are_malformed(web_site: WebSite, forge: str) -> None:
    """400 each, and the next one is taken as ever."""
    assert [send(web_site, forge, payload, "push", f"w-{n}").status for n, payload in enumerate(WRONG)] == [400] * len(WRONG)
    assert send(web_site, forge, pushed(), "push", "after").status == 202


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("number", [None, "7", 7.5, True, 0, -1, 2**40, [7]], ids=str)
def test_a_number_that_is_none_is_malformed(web_site: WebSite, forge: str, number: Any) -> None:
    """It names no pull request, and reaches no address."""
    assert send(web_site, forge, pull(forge, ACTIONS[forge][0], number=number), "pull").status == 400
    assert not web_site.puts


@pytest.mark.parametrize("forge", ["github", "gitea"])
@pytest.mark.parametrize("spoiled", ["pull_request", "head", "base"])
def test_pull_requests_of_the_wrong_shape_are_malformed(web_site: WebSite, forge: str, spoiled: str) -> None:
    """A field of the wrong type is told, and hurts nobody."""
    for value in (None, [], "x", 7):
        payload = pull(forge, "opened")
        if spoiled == "pull_request":
            payload[spoiled] = value
        else:
            payload["pull_request"][spoiled] = value
        assert send(web_site, forge, payload, "pull", f"{spoiled}-{value}").status == 400
    assert not web_site.puts


@pytest.mark.parametrize("forge", ["gitlab", "gitea"])
def test_without_a_secret_everything_is_refused(make_web_site: MakeWebSite, forge: str) -> None:
    """Also what bears an empty one."""
    web_site = make_web_site()
    name = {"gitlab": "X-Gitlab-Token", "gitea": "X-Gitea-Signature"}[forge]
    body = json.dumps(PUSH).encode()
    empty = hmac.new(b"", body, hashlib.sha256).hexdigest() if forge == "gitea" else ""
    assert web_site.post(f"/webhooks/{forge}", body, {name: empty}).status == 401
    assert send(web_site, forge, pushed(), "push").status == 401
    assert not web_site.puts


@pytest.mark.parametrize("forge", ["gitlab", "gitea"])
def test_a_wrong_proof_is_refused(web_site: WebSite, forge: str) -> None:
    """Missing, wrong, not ASCII, of another body."""
    name = {"gitlab": "X-Gitlab-Token", "gitea": "X-Gitea-Signature"}[forge]
    wrong = ["", "lab-token ", "LAB-TOKEN", "f" * 64, "\xe9\xff"]
    wrong = [each for each in wrong if each.strip() != SECRETS["gitlab_webhook_secret"]] + ["lab-toke"]
    assert [send(web_site, forge, pushed(), "push", f"n-{n}", **{name: payload}).status for n, payload in enumerate(wrong)] == [
        401
    ] * len(wrong)
    assert not web_site.puts


def test_forgejo_is_heard_under_its_own_name(web_site: WebSite) -> None:
    """It sends both sets of headers; its own alone are enough."""
    body = json.dumps(pushed()).encode()
    sent = {name.replace("Gitea", "Forgejo"): value for name, value in headers("gitea", body, "push").items()}
    assert web_site.post("/webhooks/gitea", body, sent).status == 202


def standard(body: bytes, *, at: int, key: bytes = b"k" * 32, delivery: str = "msg-1") -> Mapping[str, str]:
    """As GitLab signs, in the form of Standard Webhooks."""
    made = base64.b64encode(hmac.new(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
    signed = {"webhook-id": delivery, "webhook-timestamp": str(at), "webhook-signature": f"v1,AAAA v1,{made}"}
    return {"X-Gitlab-Event": "Push Hook", **signed}


def test_gitlabs_signing_token(make_web_site: MakeWebSite) -> None:
    """Its signature counts within five minutes; the token in a header is worth nothing then."""
    web_site = make_web_site(gitlab_webhook_secret=SIGNING_TOKEN)
    body, now = json.dumps(pushed()).encode(), int(NOW.timestamp())
    assert web_site.post("/webhooks/gitlab", body, dict(standard(body, at=now))).status == 202
    refused = [
        standard(body, at=now - 301, delivery="old"),
        standard(body, at=now + 301, delivery="new"),
        standard(body, at=now, key=b"x" * 32, delivery="key"),
        standard(body + b" ", at=now, delivery="body"),
        {**standard(body, at=now), "webhook-id": "other"},
        {**standard(body, at=now), "webhook-signature": ""},
        {**standard(body, at=now), "webhook-timestamp": "now"},
        {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SIGNING_TOKEN},
    ]
    assert [web_site.post("/webhooks/gitlab", body, dict(each)).status for each in refused] == [401] * len(refused)
    assert web_site.puts == [("git", "webhook:gitlab:msg-1")]


def test_a_signing_token_that_is_none(make_web_site: MakeWebSite) -> None:
    """Nothing is taken by it."""
    web_site = make_web_site(gitlab_webhook_secret="whsec_not base64!")
    body = json.dumps(pushed()).encode()
    assert web_site.post("/webhooks/gitlab", body, dict(standard(body, at=int(NOW.timestamp()), key=b""))).status == 401


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("charset", ["", "; charset=utf-8"])
@pytest.mark.parametrize("forge", FORGES)
def test_a_form_is_heard(web_site: WebSite, forge: str, charset: str) -> None:
    """GitHub's default: the payload is a field. GitHub signs the form, Gitea the payload in it."""
    body = json.dumps(pushed() | {"note": "ü & = + %"}).encode()
    form = urlencode({"payload": body.decode()}).encode()
    proof = headers(forge, body if forge == "gitea" else form, "push")
    answer = web_site.post(f"/webhooks/{forge}", form, {**proof, "Content-Type": FORM + charset})
    assert (answer.status, answer.json["result"]) == (202, "accepted")
    assert [item for item, _ in web_site.puts] == [str(GIT)]


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (FORM, b"data=%7B%7D"),
        (FORM, b"payload=%7B%7D&payload=%7B%7D"),
        (FORM, b"payload"),
        (FORM, b"&".join([b"a=1"] * 20)),
        (FORM, b"payload=words"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n{}\r\n--x--"),
        ("text/plain", b"words"),
    ],
)
def test_what_is_neither_is_told_which_content_type_to_set(
    web_site: WebSite, forge: str, content_type: str, form: bytes
) -> None:
    """Where its signature is right: the sender is the right one, and only a setting of it is not."""
    answer = web_site.post(f"/webhooks/{forge}", form, {**headers(forge, form, "push"), "Content-Type": content_type})
    assert answer.status == 400
    assert answer.json["result"].endswith("set the content type of the webhook to application/json")


@pytest.mark.parametrize("forge", FORGES)
def test_a_form_with_a_wrong_signature_is_refused(web_site: WebSite, forge: str) -> None:
    """A form proves nothing by being one."""
    body = json.dumps(pushed()).encode()
    form = urlencode({"payload": body.decode()}).encode()
    proof = headers(forge, form + b"x", "push") | ({"X-Gitlab-Token": "wrong"} if forge == "gitlab" else {})
    assert web_site.post(f"/webhooks/{forge}", form, {**proof, "Content-Type": FORM}).status == 401
    assert web_site.puts == []


def test_json_that_is_called_a_form_is_json(web_site: WebSite) -> None:
    """A proxy may change the header; the bytes are what counts."""
    body = json.dumps(pushed()).encode()
    assert web_site.post("/webhooks/github", body, {**headers("github", body, "push"), "Content-Type": FORM}).status == 202


@pytest.mark.parametrize(
    "kinds", [{"object_kind": "push"}, {"event_name": "push"}, {"object_kind": "push", "event_name": "push"}]
)
def test_a_system_hook_of_gitlab_is_heard(web_site: WebSite, kinds: dict[str, str]) -> None:
    """An administrator's hook has one event header for all, and its kind in the body; other branches are still not for us."""
    assert send(web_site, "gitlab", pushed() | kinds, "System Hook").status == 202
    assert send(web_site, "gitlab", pushed("refs/heads/other") | kinds, "System Hook", "d-2").status == 200
    assert [item for item, _ in web_site.puts] == [str(GIT)]


def test_other_system_hooks_of_gitlab_are_told_apart(web_site: WebSite) -> None:
    """A merge request is one; the creation of a project is nothing to us; odd kinds break nothing."""
    assert send(web_site, "gitlab", pull("gitlab", "open"), "System Hook").status == 202
    for number, kind in enumerate(("project_create", "repository_update", None, {}, 7)):
        assert send(web_site, "gitlab", {"event_name": kind}, "System Hook", f"e-{number}").status == 200
    assert [item for item, _ in web_site.puts] == ["pull:7"]
