"""Who brought a change: the commit whose `registry.yaml` first says what the revision in force says."""

from __future__ import annotations

from promoter.application.ports import Commit, Documents, Repository
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Faults, OutsideError
from promoter.domain.plan import Cause, Difference
from promoter.domain.proposal import REGISTRY_FILE

WALK_LIMIT = 50
"""Commits that are read to find the one; beyond it, the last that touched the file is named."""


def attribute(
    difference: Difference, declaration: Declaration, before: str | None, repository: Repository, documents: Documents
) -> Commit | None:
    """The commit behind a change that git brought; None for drift, for an override, or where git cannot say."""
    if difference.cause in (Cause.DRIFT, Cause.OVERRIDE) or declaration.revision is None:
        return None
    try:
        commits = list(repository.commits(before, declaration.revision, REGISTRY_FILE))
        if not commits and before is not None:
            commits = list(repository.commits(None, declaration.revision, REGISTRY_FILE))
    except OutsideError:
        return None  # a record without its author is worth more than a change that waits for git
    if len(commits) <= 1 or len(commits) > WALK_LIMIT:
        return commits[-1] if commits else None
    blamed = commits[-1]
    for commit in reversed(commits[:-1]):
        if not _says(commit, difference, repository, documents):
            break
        blamed = commit
    return blamed


def _says(commit: Commit, difference: Difference, repository: Repository, documents: Documents) -> bool:
    try:
        intent = documents.parse(repository.read(commit.revision), commit.revision).desired.intent(difference.model)
    except (Faults, OutsideError):
        return False
    alias = intent.aliases.get(difference.alias) if intent else None
    return alias is not None and alias.stated and alias.version == difference.to_version
