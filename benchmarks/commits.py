"""How long it takes to tell which commit brought each of many changes, beside asking git for every answer, in the same run.

    python benchmarks/commits.py [--models 300,3000] [--followed 0,1,5] [--changes 100]

A repository whose `registry.yaml` moves the champion of every model in one commit, and so many that followed before anybody
looked. Both sides ask for the same changes, in the same order, of a real mirror of a real repository:

kept      as Promoter does it: what a commit says is asked of git once, and parsed once
asked     no answer is kept, neither git's nor the parsed files

Printed are git programs that were started, and milliseconds a change.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ALIAS = "champion"


@dataclass(frozen=True)
class Side:
    """What one way of asking cost."""

    programs: int
    seconds: float
    found: list[str]


class Agreed:
    """A ledger of which only this is read: git and the registry last agreed on every alias at that commit."""

    def __init__(self, revision: str) -> None:
        """Takes the commit."""
        self._revision = revision

    def settled_at(self, model: str, alias: str) -> str | None:
        """It."""
        del model, alias
        return self._revision


class BenchClone:
    """A person's clone of a repository that has nothing yet."""

    def __init__(self, folder: Path) -> None:
        """Makes it."""
        self.folder = folder
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(folder)], check=True)

    def commit(self, models: int, version: int, remark: str) -> str:
        """`registry.yaml` with that champion everywhere; the revision."""
        lines = [f"  model-{number}: {{aliases: {{{ALIAS}: {version}}}}}" for number in range(models)]
        (self.folder / "registry.yaml").write_text("\n".join(["version: 1", "models:", *lines, f"# {remark}", ""]))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", remark)
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        person = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        done = subprocess.run(["git", *person, *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()


class Programs:
    """Counts the git programs that are started from now on."""

    def __init__(self) -> None:
        """None yet."""
        from promoter.adapters.git.command import GitCommand

        run, self.count = GitCommand.run_command, 0

        def noted(command: GitCommand, *arguments: str, **named: Any) -> Any:
            self.count += 1
            return run(command, *arguments, **named)

        GitCommand.run_command = noted  # type: ignore[method-assign]  # for the benchmark alone


def side(place: Path, clone: BenchClone, agreed: str, changes: int, programs: Programs, *, keep: bool) -> Side:
    """Ask for the commit behind so many changes."""
    from promoter.adapters.git.repository import GitRepository
    from promoter.adapters.system import SystemClock
    from promoter.adapters.yaml import YamlDocuments
    from promoter.application.ports import Ledger
    from promoter.application.provenance import GitProvenance
    from promoter.domain.plan import AliasDifference, ChangeCause

    def started() -> tuple[GitRepository, GitProvenance]:
        repository = GitRepository(str(clone.folder), "main", place)
        ledger = cast("Ledger", Agreed(agreed))
        return repository, GitProvenance(repository, YamlDocuments(), ledger, SystemClock(), lambda: None)

    repository, provenance = started()
    head = repository.fetch_branch()
    declaration = YamlDocuments().parse_declaration(repository.read_sources(head), head)
    before, seconds, found = programs.count, 0.0, []
    for number in range(changes):
        if not keep:
            repository, provenance = started()
        difference = AliasDifference(f"model-{number}", ALIAS, 1, 2, ChangeCause.COMMIT)
        begun = time.perf_counter()
        commit = provenance.find_change_commit(difference, declaration)
        seconds += time.perf_counter() - begun
        found.append(commit.revision if commit else "")
    return Side(programs.count - before, seconds, found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Naming the commit behind each of many changes.")
    parser.add_argument("--models", default="300,3000", help="sizes of registry.yaml")
    parser.add_argument("--followed", default="0,1,5", help="how many commits came after the one that moves all")
    parser.add_argument("--changes", type=int, default=100, help="how many of the changes are asked for")
    options = parser.parse_args()
    programs = Programs()
    print("| models | commits after it | programs, kept | asked | ms a change, kept | asked | ratio |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for models, followed in itertools.product(*(map(int, text.split(",")) for text in (options.models, options.followed))):
        with tempfile.TemporaryDirectory(prefix="promoter-commits-") as name:
            folder = Path(name)
            clone = BenchClone(folder / "clone")
            agreed = clone.commit(models, 1, "as it was")
            moving = clone.commit(models, 2, "move all")
            for number in range(followed):
                clone.commit(models, 2, f"remark {number}")
            changes = min(options.changes, models)
            kept = side(folder / "kept.git", clone, agreed, changes, programs, keep=True)
            asked = side(folder / "asked.git", clone, agreed, changes, programs, keep=False)
        if kept.found != [moving] * changes or asked.found != kept.found:
            sys.exit("the wrong commit was named")
        mine, theirs = (each.seconds / changes * 1_000 for each in (kept, asked))
        row = (models, followed, kept.programs, asked.programs, f"{mine:.2f}", f"{theirs:.2f}", f"{theirs / mine:.0f}")
        print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
