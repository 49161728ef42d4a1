"""What may stand where git expects a commit, a branch, a ref or a path. Checked before git sees it."""

from __future__ import annotations

import re

from promoter.domain.faults import Refused

HEADS = "refs/heads/"
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)|\.$|/$))[^-./\x00-\x20\x7f~^:?*\[\\][^\x00-\x20\x7f~^:?*\[\\]*")
_BRANCH_LENGTH = 200  # git's file names end at 255
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[^/\"\x00-\x1f\x7f][^\"\x00-\x1f\x7f]*")
_PULL = re.compile(r"refs/(?:pull|merge-requests)/[0-9]{1,18}/head")
_NOT_IN_A_NAME = re.compile(r"[<>\x00-\x1f\x7f]")
_NOT_AT_AN_END = "".join(map(chr, range(33))) + ".,:;\"\\'"
_SHOWN = 80


def is_revision(text: str) -> bool:
    """Whether it is a full object id."""
    return _REVISION.fullmatch(text) is not None


def full_revision(revision: str) -> str:
    """The revision itself. Raises `Refused` for anything but a full object id."""
    if not is_revision(revision):
        raise Refused("git", f"{revision[:_SHOWN]!r} is not a full commit id")
    return revision


def branch_ref(branch: str) -> str:
    """The ref of a branch. Raises `Refused` for what git would not take as a branch, or would take as something else."""
    if len(branch) > _BRANCH_LENGTH or not _BRANCH.fullmatch(branch):
        raise Refused("git", f"{branch[:_SHOWN]!r} is not a branch name", "name a branch, such as main")
    return HEADS + branch


def fetchable_ref(ref: str) -> str:
    """The ref itself: a branch, or the head of a pull request. Raises `Refused` for any other."""
    if _PULL.fullmatch(ref):
        return ref
    if not ref.startswith(HEADS):
        raise Refused("git", f"{ref[:_SHOWN]!r} is neither a branch nor the head of a pull request")
    return branch_ref(ref.removeprefix(HEADS))


def tracked_path(path: str) -> str:
    """The path itself. Raises `Refused` for one that could not be a file of the repository."""
    if not _PATH.fullmatch(path):
        raise Refused("git", f"{path[:_SHOWN]!r} is not the path of a file in the repository")
    return path


def identity(author: tuple[str, str]) -> tuple[str, str]:
    """Name and mail as git writes them: it takes some marks from the ends, and what is compared later has to be the same."""
    name, mail = (_NOT_IN_A_NAME.sub("", part).strip(_NOT_AT_AN_END) for part in author)
    return name or "Promoter", mail or "promoter@localhost"
