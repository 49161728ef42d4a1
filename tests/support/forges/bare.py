"""The bare repository behind a hosted forge: what the forge itself does in it, past its own hooks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ZERO = "0" * 40
_MARKER = "protected-refs"
_HOOK = f"""#!/bin/sh
# Declines a push to a protected branch, and says whose rule it is.
if grep -qxF "$1" "$GIT_DIR/{_MARKER}" 2>/dev/null; then
    cat "$GIT_DIR/{_MARKER}.words" >&2
    exit 1
fi
"""


class MergeConflict(Exception):  # noqa: N818  # what it is
    """The two sides change the same lines."""


@dataclass(frozen=True)
class BareCommit:
    """A commit as git has it. Names and mails of author and committer, times with their zone."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: tuple[str, str]
    authored_at: datetime
    committer: tuple[str, str]
    committed_at: datetime
    message: str

    @property
    def title(self) -> str:
        """The first line of its message."""
        return self.message.partition("\n")[0]


class BareRepository:
    """Git in one bare repository. Branches are named without `refs/heads/`."""

    def __init__(self, path: Path) -> None:
        """Pull request refs are the forge's: nobody pushes there."""
        self.path = path
        for refs in ("refs/pull", "refs/merge-requests"):
            self.run("config", "--replace-all", "receive.hideRefs", refs, f"^{refs}$")

    def run(self, *arguments: str, stdin: str | None = None, **variables: str) -> str:
        """Run git here; what it prints. Raises `CalledProcessError`."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "LC_ALL": "C",
        }
        command = ["git", f"--git-dir={self.path}", *arguments]
        done = subprocess.run(
            command, env=environment | variables, input=(stdin or "").encode(), capture_output=True, check=True, timeout=60
        )
        return done.stdout.decode("utf-8", "replace").strip("\n")

    def heads(self) -> dict[str, str]:
        """Each branch, and its newest commit."""
        lines = self.run("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").splitlines()
        return {name: sha for name, _, sha in (line.rpartition(" ") for line in lines)}

    def point(self, ref: str, sha: str, expected: str | None = None) -> bool:
        """Put a ref (a full name) there, past all hooks; False where it does not stand at `expected` any more."""
        try:
            self.run("update-ref", ref, sha, *([expected] if expected else []))
        except subprocess.CalledProcessError:
            if expected is None:
                raise
            return False
        return True

    def delete(self, ref: str) -> None:
        """Remove a ref."""
        self.run("update-ref", "-d", ref)

    def contains(self, tip: str, sha: str) -> bool:
        """Whether the tip's history has the commit."""
        return self.run("rev-list", "--max-count=1", sha, f"^{tip}") == ""

    def exists(self, sha: str) -> bool:
        """Whether there is such a commit."""
        try:
            return self.run("cat-file", "-t", sha) == "commit"
        except subprocess.CalledProcessError:
            return False

    def shas(self, base: str, head: str) -> list[str]:
        """The commits that head has and base lacks, oldest first."""
        return self.run("rev-list", "--reverse", "--topo-order", f"{base}..{head}").splitlines()

    def merge_base(self, one: str, other: str) -> str:
        """Where the two histories part."""
        return self.run("merge-base", one, other)

    def commit(self, sha: str) -> BareCommit:
        """That one."""
        form = "%H%n%T%n%P%n%an%n%ae%n%aI%n%cn%n%ce%n%cI%n%B"
        lines = self.run("log", "--max-count=1", f"--format={form}", sha).split("\n", 9)
        return BareCommit(
            lines[0],
            lines[1],
            tuple(lines[2].split()),
            (lines[3], lines[4]),
            datetime.fromisoformat(lines[5]),
            (lines[6], lines[7]),
            datetime.fromisoformat(lines[8]),
            lines[9].rstrip("\n"),
        )

    def changed(self, base: str, head: str) -> list[str]:
        """The paths that head changes against where it left base."""
        return self.run("diff", "--name-only", f"{base}...{head}").splitlines()

    def merge(self, base: str, head: str) -> str:
        """The tree of both. Raises `MergeConflict`."""
        try:
            return self.run("merge-tree", "--write-tree", base, head).splitlines()[0]
        except subprocess.CalledProcessError as error:
            if error.returncode != 1:
                raise
            raise MergeConflict from None

    def make(self, tree: str, parents: tuple[str, ...], message: str, people: Mapping[str, tuple[str, str]]) -> str:
        """A commit by `people["author"]` and `people["committer"]` (name, mail); no ref moves."""
        identity: dict[str, str] = {}
        for role, (name, mail) in people.items():
            identity |= {f"GIT_{role.upper()}_NAME": name, f"GIT_{role.upper()}_EMAIL": mail}
        flags = [word for parent in parents for word in ("-p", parent)]
        return self.run("commit-tree", tree, *flags, stdin=message, **identity)

    def protect(self, branches: frozenset[str], words: str) -> None:
        """Decline pushes to these branches, in these words; to no others."""
        hook = self.path / "hooks" / "update"
        hook.parent.mkdir(exist_ok=True)
        (self.path / f"{_MARKER}.words").write_text(words + "\n")
        (self.path / _MARKER).write_text("".join(f"refs/heads/{branch}\n" for branch in sorted(branches)))
        if not hook.exists():
            hook.write_text(_HOOK)
            hook.chmod(0o755)
