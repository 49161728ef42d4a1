"""What a merge would give, computed in the mirror: without a checkout, without hooks, and without programs that merge files."""

from __future__ import annotations

import os
import re

from promoter.adapters.git.errors import convert_command_failure
from promoter.adapters.git.mirror import BareMirror
from promoter.adapters.git.names import require_full_revision
from promoter.adapters.git.remote import RemoteAddress
from promoter.adapters.git.sources import REGISTRY_PATH, WATCHED_PATHS
from promoter.application.ports import MergePreview

_CONFLICT_STATUS = 1
_MERGE_BASE_LIMIT = 100
_MERGE_SETTINGS = (
    *("-c", f"core.attributesFile={os.devnull}"),
    *("-c", "merge.directoryRenames=false"),  # else what conflicts is told under a name that it has nowhere
    *("-c", "merge.renameLimit=1000"),
)
_AMONG_WATCHED = re.compile(rf"(?:{'|'.join(map(re.escape, WATCHED_PATHS))})(?:~[^/]*)?(?:/|$)")
"""A file that gets into the way of a folder is told with `~` and a revision behind its name."""


def compute_merge(mirror: BareMirror, remote: RemoteAddress, base: str, head: str) -> MergePreview:
    """What the watched files say once `head` is merged into `base`. Objects of the merge stay in the mirror for a while.

    Two histories that have nothing in common conflict in `registry.yaml`.
    """
    for revision in (base, head):
        mirror.require_commit(require_full_revision(revision))
    forks = mirror.run_git("merge-base", "--all", base, head).output_text.split()[:_MERGE_BASE_LIMIT]
    if not forks:
        changed = _list_differing_files(mirror, remote, base, head)
        return MergePreview(mirror.read_sources(head), changed, (REGISTRY_PATH,))
    changed = frozenset[str]().union(*(_list_differing_files(mirror, remote, fork, head) for fork in forks))
    options = ("--write-tree", "-z", "--name-only", "--no-messages")
    reply = mirror.run_git(*_MERGE_SETTINGS, "merge-tree", *options, base, head)
    tree, *paths = reply.out.decode("utf-8", "replace").split("\0")
    if reply.status not in (0, _CONFLICT_STATUS):
        raise convert_command_failure("merge-tree", reply, remote)
    conflicts = tuple(sorted({path for path in paths if _AMONG_WATCHED.match(path)}))
    return MergePreview(mirror.read_sources(head if conflicts else require_full_revision(tree)), changed, conflicts)


def _list_differing_files(mirror: BareMirror, remote: RemoteAddress, one: str, two: str) -> frozenset[str]:
    """The watched files that are not the same in both revisions."""
    reply = mirror.run_git("diff-tree", "-r", "-z", "--name-only", "--no-renames", one, two, "--", *WATCHED_PATHS)
    if reply.status != 0:
        raise convert_command_failure("diff-tree", reply, remote)
    return frozenset(path for path in reply.out.decode("utf-8", "replace").split("\0") if path)
