"""The files of a repository that Promoter reads, and their bounds: `registry.yaml`, `approvers.yaml`, `policies/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from promoter.domain.errors import PermanentError

REGISTRY_PATH = "registry.yaml"
TOP_LEVEL_FILES = (REGISTRY_PATH, "approvers.yaml")
"""The files at the top level."""
POLICIES_FOLDER = "policies"
SIGNERS_FOLDER = "signers"
"""The folder of the keys that sign commits. They say whom to believe, and are no part of what is declared."""
WATCHED_PATHS = (*TOP_LEVEL_FILES, POLICIES_FOLDER, SIGNERS_FOLDER)
"""The files and folders that a change of what Promoter does has to go through."""
BLOB_LIMIT = 5 * 2**20
"""Bytes of a file that are read, and one more, so that the parser sees that there is more."""
TOTAL_LIMIT = 64 * 2**20
POLICY_LIMIT = 1_000

_POLICY_PATH = re.compile(rf"{POLICIES_FOLDER}/[^/]+\.yaml", re.DOTALL)
_REGULAR_MODES = ("100644", "100755", "100664")


@dataclass(frozen=True)
class TreeEntry:
    """A regular file of a revision."""

    path: str
    blob: str
    """Its object id."""
    size: int
    """Its bytes."""


def is_source_file(path: str) -> bool:
    """Whether Promoter reads a regular file of that name."""
    return path in TOP_LEVEL_FILES or _POLICY_PATH.fullmatch(path) is not None


def require_within_bounds(sizes: Mapping[str, int]) -> None:
    """Raises `PermanentError` where there are more policies, or bytes in all, than a registry can mean; `sizes` by path."""
    if len(sizes.keys() - set(TOP_LEVEL_FILES)) > POLICY_LIMIT:
        raise PermanentError("git", f"more than {POLICY_LIMIT:,} files in {POLICIES_FOLDER}/", "merge or remove policies")
    if sum(min(size, BLOB_LIMIT + 1) for size in sizes.values()) > TOTAL_LIMIT:
        read = f"{', '.join(TOP_LEVEL_FILES)} and {POLICIES_FOLDER}/"
        raise PermanentError("git", f"{read} are together larger than {TOTAL_LIMIT >> 20} MiB", "split the repository")


def parse_regular_files(listing: bytes) -> list[TreeEntry]:
    """Parse the regular files in the output of `git ls-tree -z -l`; symlinks, folders and submodules are left out."""
    entries = []
    for line in listing.split(b"\0"):
        head, tab, path = line.partition(b"\t")
        fields = head.decode("ascii", "replace").split()
        if tab and fields[0] in _REGULAR_MODES and fields[1] == "blob":
            size = int(fields[3]) if fields[3].isdigit() else 0  # "BAD": the object is lost, which reading it will show
            entries.append(TreeEntry(path.decode("utf-8", "replace"), fields[2], size))
    return entries


def parse_batch_output(output: bytes, entries: Collection[TreeEntry], kind: str = "blob") -> dict[str, bytes] | None:
    """Parse the output of `git cat-file --batch`, in the order of the entries; None where an object is missing."""
    contents, at = {}, 0
    for entry in entries:
        end = output.find(b"\n", at)
        header = f"{entry.blob} {kind} {entry.size}".encode()
        if output[at:end] != header or len(output) < end + entry.size + 2:
            return None
        contents[entry.path] = output[end + 1 : end + 1 + entry.size]
        at = end + entry.size + 2
    return contents
