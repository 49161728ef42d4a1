"""What forges' webhooks name: a push to the watched branch, or a pull request into it from the same repository.

Nothing else of a payload is taken: whatever it says is read again from git and from the forge.
"""

from __future__ import annotations

from typing import Any

from promoter.application.watch import GIT, PULL, PULLS
from promoter.delivery.web.hints import Hint, Malformed, mapping, text

LOOK_AT_IT = frozenset(
    {
        *("opened", "synchronize", "synchronized", "reopened", "edited", "submitted", "dismissed", "ready_for_review"),
        *("open", "reopen", "update", "approved", "unapproved", "approval", "unapproval"),
        *("reviewed", "rejected"),
    }
)
"""What forges call it when a pull request, or what people say of it, has changed."""
DECIDED = frozenset({"closed", "close", "merge", "merged"})
_LARGEST = 2**31


def github(told: Any, event: str, branch: str) -> Hint:
    """`push`, `pull_request`, `pull_request_review` as GitHub sends them."""
    mapping({"body": told}, "body")
    if event == "push":
        return _push(told, branch, event, deleted=told.get("deleted") is True)
    if event not in ("pull_request", "pull_request_review"):
        return Hint((), event)
    return _pull_request(told, branch, event)


def gitea(told: Any, event: str, branch: str) -> Hint:
    """The same from Gitea and Forgejo; a review's event has its verdict in its name."""
    mapping({"body": told}, "body")
    if event == "push":
        return _push(told, branch, event, deleted=_nothing(told.get("after")))
    if event != "pull_request" and not event.startswith("pull_request_"):
        return Hint((), event)
    return _pull_request(told, branch, event)


def gitlab(told: Any, event: str, branch: str) -> Hint:
    """`Push Hook` and `Merge Request Hook`."""
    mapping({"body": told}, "body")
    if event == "Push Hook":
        return _push(told, branch, event, deleted=_nothing(told.get("after")))
    if event != "Merge Request Hook":
        return Hint((), event)
    about = mapping(told, "object_attributes")
    action = about.get("action")
    name = f"{event}.{action}"[:100] if isinstance(action, str) else event
    ours = text(about, "target_branch") == branch and about.get("source_project_id") == about.get("target_project_id")
    return Hint(_keys(action, _number(about, "iid")) if ours else (), name)


def _push(told: dict[str, Any], branch: str, event: str, *, deleted: bool) -> Hint:
    ours = text(told, "ref") == f"refs/heads/{branch}" and not deleted
    return Hint((GIT,) if ours else (), event)


def _pull_request(told: dict[str, Any], branch: str, event: str) -> Hint:
    about = mapping(told, "pull_request")
    action = told.get("action")
    head, base = mapping(about, "head"), mapping(about, "base")
    name = f"{event}.{action}"[:100] if isinstance(action, str) else event
    ours = text(base, "ref") == branch and _same_repository(head, base)
    return Hint(_keys(action, _number(about, "number")) if ours else (), name)


def _same_repository(head: dict[str, Any], base: dict[str, Any]) -> bool:
    """A fork that was deleted has no repository at all any more."""
    theirs, ours = head.get("repo"), base.get("repo")
    return isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("id") == ours.get("id")


def _keys(action: object, number: int) -> tuple[str, ...]:
    if action in DECIDED:
        return (GIT, PULLS)
    return (f"{PULL}{number}",) if action in LOOK_AT_IT else ()


def _number(about: dict[str, Any], key: str) -> int:
    number = about.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < _LARGEST:
        raise Malformed(f"`{key}` is not a number of a pull request")
    return number


def _nothing(revision: object) -> bool:
    """A push of all zeros deletes the branch."""
    return isinstance(revision, str) and bool(revision) and not revision.strip("0")
