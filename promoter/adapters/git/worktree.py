"""The folder that a person stands in: its files as they are on disk, and the revision that they are at."""

from __future__ import annotations

import os
import stat
from functools import cached_property
from pathlib import Path

from promoter.adapters.git.sources import BLOB_LIMIT, POLICIES, REGISTRY, TOP, is_source, regular_files, within_bounds
from promoter.application.ports import Sources
from promoter.domain.faults import OutsideError, Refused

_TIMEOUT_SECONDS = 30.0


class WorkTree:
    """A folder with `registry.yaml` in it, or one inside such a folder. Reading files needs no git."""

    def __init__(self, path: Path) -> None:
        """`path`: where to start looking; it need not exist yet."""
        self._path = path

    @cached_property
    def root(self) -> Path:
        """The nearest folder, from the path upwards and within its repository, that has `registry.yaml`; else the path."""
        start = Path(os.path.abspath(self._path))  # noqa: PTH100  # Path.resolve would follow symlinks
        for folder in (start, *start.parents):
            if (folder / REGISTRY).exists():
                return folder
            if (folder / ".git").exists():
                break
        return start

    def sources(self) -> Sources:
        """The files that Promoter reads, as bytes: regular files only; what is not there is not in the mapping."""
        sizes = self._sizes()
        within_bounds(sizes)
        return {path: self._content(path) for path in sorted(sizes)}

    def revision(self) -> str | None:
        """The commit that the files are at; None where one is changed or not committed, and outside a repository."""
        from promoter.adapters.git.command import GitCommand

        git = GitCommand(self.root, timeout=_TIMEOUT_SECONDS, config=None)
        try:
            head = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
            if head.status != 0:
                return None
            listing = git.run("ls-tree", "-z", "-l", "--end-of-options", head.text, *TOP, f"{POLICIES}/")
            status = git.run("status", "--porcelain", "--untracked-files=all", "--", *TOP, f":(glob){POLICIES}/*.yaml")
        except OutsideError:
            return None
        committed = {entry.path for entry in regular_files(listing.out) if is_source(entry.path)}
        clean = listing.status == 0 and status.status == 0 and not status.out
        return head.text if clean and committed == self._sizes().keys() else None

    def person(self) -> str | None:
        """The name that git signs commits with here (`user.name`); None where it has none, or where there is no git."""
        from promoter.adapters.git.command import GitCommand

        try:
            reply = GitCommand(self.root, timeout=_TIMEOUT_SECONDS, config=None).run("config", "--get", "user.name")
        except OutsideError:
            return None
        return reply.text.strip() or None if reply.status == 0 else None

    def _sizes(self) -> dict[str, int]:
        return {path: size for path in self._candidates() if (size := self._size(path)) is not None}

    def _candidates(self) -> list[str]:
        folder = self.root / POLICIES
        try:
            names = [] if folder.is_symlink() else [entry.name for entry in os.scandir(folder)]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise _unreadable(folder, error) from None
        return [path for path in (*TOP, *(f"{POLICIES}/{name}" for name in names)) if is_source(path)]

    def _size(self, path: str) -> int | None:
        """Bytes of a regular file; None for anything else."""
        try:
            found = (self.root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(self.root / path, error) from None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def _content(self, path: str) -> bytes:
        try:
            with (self.root / path).open("rb") as file:
                return file.read(BLOB_LIMIT + 1)
        except OSError as error:
            raise _unreadable(self.root / path, error) from None


def _unreadable(path: Path, error: OSError) -> Refused:
    return Refused("files", f"{path}: cannot be read: {error.strerror or 'no reason given'}", "see to its permissions")
