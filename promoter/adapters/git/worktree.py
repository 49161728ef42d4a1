"""The folder that a person stands in: its files as they are on disk, and the revision that they are at."""

from __future__ import annotations

import os
import stat
from functools import cached_property
from pathlib import Path

from promoter.adapters.git.sources import (
    BLOB_LIMIT,
    POLICIES_FOLDER,
    REGISTRY_PATH,
    TOP_LEVEL_FILES,
    is_source_file,
    parse_regular_files,
    require_within_bounds,
)
from promoter.application.ports import Sources
from promoter.domain.faults import ExternalError, PermanentError

_WORK_TREE_TIMEOUT_SECONDS = 30.0


class WorkTree:
    """A folder with `registry.yaml` in it, or one inside such a folder. Reading files needs no git."""

    def __init__(self, path: Path) -> None:
        """`path`: where to start looking; it need not exist yet."""
        self._path = path

    @cached_property
    def root_folder(self) -> Path:
        """The nearest folder, from the path upwards and within its repository, that has `registry.yaml`; else the path."""
        start = Path(os.path.abspath(self._path))  # noqa: PTH100  # Path.resolve would follow symlinks
        for folder in (start, *start.parents):
            if (folder / REGISTRY_PATH).exists():
                return folder
            if (folder / ".git").exists():
                break
        return start

    def read_sources(self) -> Sources:
        """The files that Promoter reads, as bytes: regular files only; what is not there is not in the mapping."""
        sizes = self._find_file_sizes()
        require_within_bounds(sizes)
        return {path: self._read_content(path) for path in sorted(sizes)}

    def find_revision(self) -> str | None:
        """The commit that the files are at; None where one is changed or not committed, and outside a repository."""
        from promoter.adapters.git.command import GitCommand

        git = GitCommand(self.root_folder, timeout=_WORK_TREE_TIMEOUT_SECONDS, config=None)
        try:
            head = git.run_command("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
            if head.status != 0:
                return None
            listing = git.run_command(
                "ls-tree", "-z", "-l", "--end-of-options", head.output_text, *TOP_LEVEL_FILES, f"{POLICIES_FOLDER}/"
            )
            status = git.run_command(
                "status", "--porcelain", "--untracked-files=all", "--", *TOP_LEVEL_FILES, f":(glob){POLICIES_FOLDER}/*.yaml"
            )
        except ExternalError:
            return None
        committed = {entry.path for entry in parse_regular_files(listing.out) if is_source_file(entry.path)}
        clean = listing.status == 0 and status.status == 0 and not status.out
        return head.output_text if clean and committed == self._find_file_sizes().keys() else None

    def find_user_name(self) -> str | None:
        """The name that git signs commits with here (`user.name`); None where it has none, or where there is no git."""
        from promoter.adapters.git.command import GitCommand

        try:
            reply = GitCommand(self.root_folder, timeout=_WORK_TREE_TIMEOUT_SECONDS, config=None).run_command(
                "config", "--get", "user.name"
            )
        except ExternalError:
            return None
        return reply.output_text.strip() or None if reply.status == 0 else None

    def _find_file_sizes(self) -> dict[str, int]:
        return {path: size for path in self._list_candidates() if (size := self._read_file_size(path)) is not None}

    def _list_candidates(self) -> list[str]:
        folder = self.root_folder / POLICIES_FOLDER
        try:
            names = [] if folder.is_symlink() else [entry.name for entry in os.scandir(folder)]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise _build_unreadable_error(folder, error) from None
        return [path for path in (*TOP_LEVEL_FILES, *(f"{POLICIES_FOLDER}/{name}" for name in names)) if is_source_file(path)]

    def _read_file_size(self, path: str) -> int | None:
        """Bytes of a regular file; None for anything else."""
        try:
            found = (self.root_folder / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _build_unreadable_error(self.root_folder / path, error) from None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def _read_content(self, path: str) -> bytes:
        try:
            with (self.root_folder / path).open("rb") as file:
                return file.read(BLOB_LIMIT + 1)
        except OSError as error:
            raise _build_unreadable_error(self.root_folder / path, error) from None


def _build_unreadable_error(path: Path, error: OSError) -> PermanentError:
    return PermanentError("files", f"{path}: cannot be read: {error.strerror or 'no reason given'}", "see to its permissions")
