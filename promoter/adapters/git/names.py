"""What may stand where git expects a commit, a branch, a ref or a path. Checked before git sees it."""

from __future__ import annotations

import re

from promoter.domain.faults import PermanentError

HEADS = "refs/heads/"
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)|\.$|/$))[^-./\x00-\x20\x7f~^:?*\[\\][^\x00-\x20\x7f~^:?*\[\\]*")
_BRANCH_LENGTH = 200  # git's file names end at 255
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[^/\"\x00-\x1f\x7f][^\"\x00-\x1f\x7f]*")
_PULL_REQUEST_REF = re.compile(r"refs/(?:pull|merge-requests)/[0-9]{1,18}/head")
_NOT_IN_A_NAME = re.compile(r"[<>\x00-\x1f\x7f]")
_NOT_AT_AN_END = "".join(map(chr, range(33))) + ".,:;\"\\'"
_SHOWN_LENGTH = 80


def is_revision(text: str) -> bool:
    """Whether it is a full object id."""
    return _REVISION.fullmatch(text) is not None


def require_full_revision(revision: str) -> str:
    """The revision itself. Raises `PermanentError` for anything but a full object id."""
    if not is_revision(revision):
        raise PermanentError("git", f"{revision[:_SHOWN_LENGTH]!r} is not a full commit id")
    return revision


def build_branch_ref(branch: str) -> str:
    """The ref of a branch. Raises `PermanentError` for what git would not take as a branch, or would take as something else."""
    if len(branch) > _BRANCH_LENGTH or not _BRANCH.fullmatch(branch):
        raise PermanentError("git", f"{branch[:_SHOWN_LENGTH]!r} is not a branch name", "name a branch, such as main")
    return HEADS + branch


def require_fetchable_ref(ref: str) -> str:
    """The ref itself: a branch, or the head of a pull request. Raises `PermanentError` for any other."""
    if _PULL_REQUEST_REF.fullmatch(ref):
        return ref
    if not ref.startswith(HEADS):
        raise PermanentError("git", f"{ref[:_SHOWN_LENGTH]!r} is neither a branch nor the head of a pull request")
    return build_branch_ref(ref.removeprefix(HEADS))


def require_tracked_path(path: str) -> str:
    """The path itself. Raises `PermanentError` for one that could not be a file of the repository."""
    if not _PATH.fullmatch(path):
        raise PermanentError("git", f"{path[:_SHOWN_LENGTH]!r} is not the path of a file in the repository")
    return path


def normalize_identity(author: tuple[str, str]) -> tuple[str, str]:
    """Name and mail as git writes them: it takes some marks from the ends, and what is compared later has to be the same."""
    name, mail = (_NOT_IN_A_NAME.sub("", part).strip(_NOT_AT_AN_END) for part in author)
    return name or "Promoter", mail or "promoter@localhost"
