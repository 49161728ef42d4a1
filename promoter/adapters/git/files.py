"""The files of a repository that Promoter reads, and their bounds: `registry.yaml`, `approvers.yaml`, `policies/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from promoter.application.ports import UnusableFile
from promoter.domain.errors import PermanentError
from promoter.domain.folder import APPROVERS_FILE, POLICIES_FOLDER, REGISTRY_FILE

TOP_LEVEL_FILES = (REGISTRY_FILE, APPROVERS_FILE)
"""The files at the top level."""
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
_YAML_ENDINGS = (".yaml", ".yml")


class EntryKind(Enum):
    """What lies at a path."""

    FILE = "a file"
    LINK = "a symbolic link"
    SUBMODULE = "a submodule"
    FOLDER = "a folder"
    DEVICE = "a device, a pipe or a socket"


_KINDS_BY_MODE = {"120000": EntryKind.LINK, "160000": EntryKind.SUBMODULE, "040000": EntryKind.FOLDER}


@dataclass(frozen=True)
class TreeEntry:
    """A file of a revision, or what else lies at its path."""

    path: str
    blob: str
    """Its object id."""
    size: int
    """Its bytes."""
    mode: str = "100644"
    """Its mode, as git writes it."""

    @property
    def kind(self) -> EntryKind:
        """What lies there."""
        return _KINDS_BY_MODE.get(self.mode, EntryKind.FILE)


def is_source_file(path: str) -> bool:
    """Whether Promoter reads a regular file of that name."""
    return path in TOP_LEVEL_FILES or _POLICY_PATH.fullmatch(path) is not None


def describe_unusable(path: str, kind: EntryKind) -> UnusableFile | None:
    """Describe what lies where a file of Promoter's should be, or looks like one; None for anything else, and for a good file.

    Names count as they are written: where they differ by case or ending only, some file systems and people take one for the
    other.
    """
    if is_source_file(path):
        return None if kind is EntryKind.FILE else _describe_wrong_kind(kind, "the file itself")
    if path == POLICIES_FOLDER:
        return None if kind is EntryKind.FOLDER else _describe_wrong_kind(kind, "a folder with the policies")
    folder, _, name = path.rpartition("/")
    if folder == POLICIES_FOLDER and name.lower().endswith(_YAML_ENDINGS) and kind is not EntryKind.FOLDER:
        return UnusableFile("is not read because of its ending", f"rename it to {path.rpartition('.')[0]}.yaml, or remove it")
    meant = _LOOKALIKES.get(path.casefold())
    if meant is None:
        return None
    return UnusableFile(f"is not read: the name is `{meant}`, as it is written here", f"rename it to {meant}, or remove it")


_LOOKALIKES = {
    POLICIES_FOLDER: POLICIES_FOLDER,
    **{f"{name.removesuffix('.yaml')}{ending}": name for name in TOP_LEVEL_FILES for ending in _YAML_ENDINGS},
}
"""The names at the top level that are taken for one of Promoter's, in small letters, and the name that is meant."""


def is_lookalike(path: str) -> bool:
    """Whether a name at the top level is taken for one of Promoter's, and is none."""
    return path not in (*TOP_LEVEL_FILES, POLICIES_FOLDER) and path.casefold() in _LOOKALIKES


def _describe_wrong_kind(kind: EntryKind, wanted: str) -> UnusableFile:
    return UnusableFile(f"is {kind.value}, and Promoter does not follow or read that", f"put {wanted} in its place")


def require_within_bounds(sizes: Mapping[str, int]) -> None:
    """Raises `PermanentError` where there are more policies, or bytes in all, than a registry can mean; `sizes` by path."""
    if len(sizes.keys() - set(TOP_LEVEL_FILES)) > POLICY_LIMIT:
        raise PermanentError("git", f"more than {POLICY_LIMIT:,} files in {POLICIES_FOLDER}/", "merge or remove policies")
    if sum(min(size, BLOB_LIMIT + 1) for size in sizes.values()) > TOTAL_LIMIT:
        read = f"{', '.join(TOP_LEVEL_FILES)} and {POLICIES_FOLDER}/"
        raise PermanentError("git", f"{read} are together larger than {TOTAL_LIMIT >> 20} MiB", "split the repository")


def parse_tree_listing(listing: bytes) -> list[TreeEntry]:
    """Parse the output of `git ls-tree -z -l`."""
    entries = []
    for line in listing.split(b"\0"):
        head, tab, path = line.partition(b"\t")
        fields = head.decode("ascii", "replace").split()
        if tab:
            size = int(fields[3]) if fields[3].isdigit() else 0  # "BAD": the object is lost, which reading it will show
            entries.append(TreeEntry(path.decode("utf-8", "replace"), fields[2], size, fields[0]))
    return entries


def select_regular_files(entries: Iterable[TreeEntry]) -> list[TreeEntry]:
    """Select the regular files; symbolic links, folders and submodules are left out."""
    return [entry for entry in entries if entry.mode in _REGULAR_MODES]


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
