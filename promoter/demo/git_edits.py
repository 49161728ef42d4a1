"""People who work on the git repository: a clone, text edits of `registry.yaml`, commits in their names, and pushes."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from promoter.domain.errors import PermanentError

REGISTRY_FILE = "registry.yaml"
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class CommitAuthor:
    """A person who commits."""

    name: str
    """The person's name."""

    @property
    def mail_address(self) -> str:
        """Return an address that nobody has."""
        return f"{self.name.lower()}@example.org"


def insert_alias_line(text: str, alias: str, version: int) -> str:
    """Return `registry.yaml` with one more alias at the top of its only model.

    Raises `PermanentError` where that is impossible.
    """
    return _replace_first_match(r"^( +)aliases:[^\n]*\n", rf"\g<0>\g<1>  {alias}: {version}\n", text)


def _replace_first_match(pattern: str, by: str, text: str) -> str:
    found, count = re.subn(pattern, by, text, count=1, flags=re.MULTILINE)
    if not count:
        raise PermanentError(
            "demo", f"{REGISTRY_FILE} is not laid out as the story's edits expect it", "restore it: git checkout registry.yaml"
        )
    return found


class WorkingClone:
    """A clone of the remote, with `main` checked out."""

    def __init__(self, url: str, folder: Path) -> None:
        """Clone the remote. Raises `PermanentError` where git fails, as every method does."""
        self.folder = folder
        _run_git_command(folder.parent, "clone", "--quiet", url, str(folder))

    def pull_main(self) -> str:
        """Update `main`, and return its revision."""
        self._run_in_clone("pull", "--quiet", "--ff-only")
        return self.head_revision

    @property
    def head_revision(self) -> str:
        """Return the revision that is checked out."""
        return self._run_in_clone("rev-parse", "HEAD")

    @property
    def remote_head_revision(self) -> str:
        """Return the present revision of `main` on the remote."""
        return self._run_in_clone("ls-remote", "origin", "refs/heads/main").split()[0]

    def commit_registry_edit(self, person: CommitAuthor, message: str, change: Callable[[str], str]) -> str:
        """Edit and commit `registry.yaml`, and return the changed lines as a diff shows them."""
        file = self.folder / REGISTRY_FILE
        file.write_text(change(file.read_text("utf-8")), "utf-8")
        self._run_in_clone("commit", "--quiet", "--all", "--message", message, person=person)
        shown = self._run_in_clone("show", "--format=", "--unified=0", "--no-color", "HEAD")
        return "\n".join(line for line in shown.splitlines() if re.match(r"[+-](?![+-])", line))

    def read_commit_message(self) -> str:
        """Return the message of the newest commit."""
        return self._run_in_clone("log", "-1", "--format=%B")

    def create_branch(self, name: str) -> None:
        """Create a branch, and check it out."""
        self._run_in_clone("switch", "--quiet", "--create", name)

    def merge_branch(self, person: CommitAuthor, name: str) -> None:
        """Return to `main`, and merge the branch into it with a merge commit."""
        self._run_in_clone("switch", "--quiet", "main")
        self._run_in_clone("merge", "--quiet", "--no-ff", "--message", f"Merge branch '{name}'", name, person=person)

    def push_main(self) -> str:
        """Push `main`, and return its revision."""
        self._run_in_clone("push", "--quiet", "origin", "main")
        return self.head_revision

    def _run_in_clone(self, *arguments: str, person: CommitAuthor | None = None) -> str:
        return _run_git_command(self.folder, *arguments, person=person)


def _run_git_command(folder: Path, *arguments: str, person: CommitAuthor | None = None) -> str:
    environment = os.environ | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    if person is not None:
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{role}_NAME": person.name, f"GIT_{role}_EMAIL": person.mail_address}
    try:
        done = subprocess.run(  # noqa: S603  # a fixed program, its arguments ours
            ["git", *arguments],  # noqa: S607  # the git of the PATH
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
    except FileNotFoundError:
        raise PermanentError("git", "there is no git on the PATH", "install it (Debian: apt-get install git)") from None
    except subprocess.TimeoutExpired:
        raise PermanentError("git", f"`git {arguments[0]}` took longer than {_TIMEOUT_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        error_output = error.stderr.decode("utf-8", "replace").strip()
        raise PermanentError("git", f"`git {arguments[0]}` failed: {error_output}") from None
    return done.stdout.decode("utf-8", "replace").strip()
