"""What a merge would give, computed in the mirror: without a checkout, without hooks, and without programs that merge files."""

from __future__ import annotations

import os
import re

from promoter.adapters.git.errors import failure
from promoter.adapters.git.mirror import Mirror
from promoter.adapters.git.names import full_revision
from promoter.adapters.git.remote import Remote
from promoter.adapters.git.sources import REGISTRY, WATCHED
from promoter.application.ports import Merge

_CONFLICTS = 1
_BASES = 100
_SETTINGS = (
    *("-c", f"core.attributesFile={os.devnull}"),
    *("-c", "merge.directoryRenames=false"),  # else what conflicts is told under a name that it has nowhere
    *("-c", "merge.renameLimit=1000"),
)
_AMONG_WATCHED = re.compile(rf"(?:{'|'.join(map(re.escape, WATCHED))})(?:~[^/]*)?(?:/|$)")
"""A file that gets into the way of a folder is told with `~` and a revision behind its name."""


def merge(mirror: Mirror, remote: Remote, base: str, head: str) -> Merge:
    """What the watched files say once `head` is merged into `base`. Objects of the merge stay in the mirror for a while.

    Two histories that have nothing in common conflict in `registry.yaml`.
    """
    for revision in (base, head):
        mirror.require(full_revision(revision))
    forks = mirror.talk("merge-base", "--all", base, head).text.split()[:_BASES]
    if not forks:
        changed = _differing(mirror, remote, base, head)
        return Merge(mirror.sources(head), changed, (REGISTRY,))
    changed = frozenset[str]().union(*(_differing(mirror, remote, fork, head) for fork in forks))
    options = ("--write-tree", "-z", "--name-only", "--no-messages")
    reply = mirror.talk(*_SETTINGS, "merge-tree", *options, base, head)
    tree, *paths = reply.out.decode("utf-8", "replace").split("\0")
    if reply.status not in (0, _CONFLICTS):
        raise failure("merge-tree", reply, remote)
    conflicts = tuple(sorted({path for path in paths if _AMONG_WATCHED.match(path)}))
    return Merge(mirror.sources(head if conflicts else full_revision(tree)), changed, conflicts)


def _differing(mirror: Mirror, remote: Remote, one: str, two: str) -> frozenset[str]:
    """The watched files that are not the same in both revisions."""
    reply = mirror.talk("diff-tree", "-r", "-z", "--name-only", "--no-renames", one, two, "--", *WATCHED)
    if reply.status != 0:
        raise failure("diff-tree", reply, remote)
    return frozenset(path for path in reply.out.decode("utf-8", "replace").split("\0") if path)
