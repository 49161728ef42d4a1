"""Which files of a repository Promoter reads, bounded: `registry.yaml`, `approvers.yaml` and `policies/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from promoter.domain.faults import Refused

REGISTRY = "registry.yaml"
TOP = (REGISTRY, "approvers.yaml")
"""The files at the top level."""
POLICIES = "policies"
SIGNERS = "signers"
"""The folder of the keys that sign commits. They say whom to believe, and are no part of what is declared."""
WATCHED = (*TOP, POLICIES, SIGNERS)
"""The files and folders that a change of what Promoter does has to go through."""
BLOB_LIMIT = 5 * 2**20
"""Bytes of a file that are read; one more is, so that the parser sees that there is more, and says so."""
TOTAL_LIMIT = 64 * 2**20
POLICY_LIMIT = 1_000

_POLICY = re.compile(rf"{POLICIES}/[^/]+\.yaml", re.DOTALL)
_REGULAR = ("100644", "100755", "100664")


@dataclass(frozen=True)
class Entry:
    """A regular file of a revision: its object id and its size in bytes."""

    path: str
    blob: str
    size: int


def is_source(path: str) -> bool:
    """Whether Promoter reads a regular file of that name."""
    return path in TOP or _POLICY.fullmatch(path) is not None


def within_bounds(sizes: Mapping[str, int]) -> None:
    """Raises `Refused` where there are more policies, or bytes in all, than a registry can mean; `sizes` by path."""
    if len(sizes.keys() - set(TOP)) > POLICY_LIMIT:
        raise Refused("git", f"more than {POLICY_LIMIT:,} files in {POLICIES}/", "merge or remove policies")
    if sum(min(size, BLOB_LIMIT + 1) for size in sizes.values()) > TOTAL_LIMIT:
        read = f"{', '.join(TOP)} and {POLICIES}/"
        raise Refused("git", f"{read} are together larger than {TOTAL_LIMIT >> 20} MiB", "split the repository")


def regular_files(listing: bytes) -> list[Entry]:
    """The regular files in the output of `git ls-tree -z -l`; symlinks, folders and submodules are left out."""
    entries = []
    for line in listing.split(b"\0"):
        head, tab, path = line.partition(b"\t")
        fields = head.decode("ascii", "replace").split()
        if tab and fields[0] in _REGULAR and fields[1] == "blob":
            size = int(fields[3]) if fields[3].isdigit() else 0  # "BAD": the object is lost, which reading it will show
            entries.append(Entry(path.decode("utf-8", "replace"), fields[2], size))
    return entries


def batched(output: bytes, entries: Collection[Entry], kind: str = "blob") -> dict[str, bytes] | None:
    """The contents in the output of `git cat-file --batch`, in the order of the entries; None where an object is missing."""
    contents, at = {}, 0
    for entry in entries:
        end = output.find(b"\n", at)
        header = f"{entry.blob} {kind} {entry.size}".encode()
        if output[at:end] != header or len(output) < end + entry.size + 2:
            return None
        contents[entry.path] = output[end + 1 : end + 1 + entry.size]
        at = end + entry.size + 2
    return contents
