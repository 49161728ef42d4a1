"""The person of a race, and what he leaves behind: commits, pull requests, aliases moved by hand."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from mlflow.exceptions import MlflowException

from promoter.application.markdown.proposal import PullRequestMarker, parse_marker
from promoter.container import Container
from promoter.domain.errors import ExternalError
from promoter.domain.folder import TOP_FOLDER, RepositoryFolder
from promoter.domain.proposal import ProposalReason
from tests.support.forges.model import ForgeRefusal, Pull
from tests.support.forges.under_test import TOKEN, ForgeUnderTest

PERSON = "bob"
_TRIES = 100


@dataclass(frozen=True)
class PersonWork:
    """What the person has committed: the line that it added, and the branch that it was pushed to."""

    revision: str
    line: str
    branch: str


class RacePerson:
    """Bob: he edits `registry.yaml` on the watched branch, answers proposals, and has pull requests of his own."""

    def __init__(
        self,
        scene: ForgeUnderTest,
        folder: Path,
        client: Any,
        models: Collection[str],
        random: Random,
        place: RepositoryFolder = TOP_FOLDER,
        ledgers: Sequence[Container] = (),
    ) -> None:
        """Clones the repository. `models`: the last one's alias is not put back where he moves it.

        `place`: where Promoter's files lie in it; `ledgers`: where he takes back what he refused.
        """
        self.counts: Counter[str] = Counter()
        self.edits: list[PersonWork] = []
        self.on_proposals: list[PersonWork] = []
        self.pulls: dict[int, list[PersonWork]] = {}
        self.gave_up: set[str] = set()
        self.said_no: list[tuple[int, str]] = []
        self.merged: list[tuple[int, str]] = []
        self.shadows: dict[str, int] = {}
        self._scene, self._client, self._random = scene, client, random
        self._models = list(models)
        self._shadowed = (self._models[0], self._models[2])
        self._clone = folder / "clone"
        self._number = 0
        self.place, self._ledgers = place, ledgers
        self._registry_file = place.locate("registry.yaml")
        url = scene.remote.url.replace("://", f"://{PERSON}:{TOKEN}@")
        self._git("clone", "--quiet", url, str(self._clone), folder=folder)

    def act(self, number: int) -> None:
        """His part of a round."""
        self.edit()
        chance = self._random.random
        if chance() < 0.6:
            self.answer()
        if chance() < 0.3:
            self.move_an_alias()
        if chance() < 0.25:
            self.open_a_pull_request()
        if chance() < 0.25:
            self.go_on_with_a_pull_request()
        if chance() < 0.1:
            self.think_again()
        if number % 3 == 0:
            self.edit()
        self.tidy()

    def edit(self) -> None:
        """Push a line to the watched branch, and now and then where a shadow is to be; again until it is there."""
        shadows = {model: self._random.randint(1, 3) for model in self._shadowed if self._random.random() < 0.3}

        def change(text: str) -> str:
            for model, version in shadows.items():
                text = re.sub(rf"(  {model}:\n(?:    .*\n)*?      shadow: )\d+", rf"\g<1>{version}", text)
            return text

        done = self._push("edit", "main", change)
        if done is None:
            raise AssertionError("the watched branch did not take an edit")
        self.edits.append(done)
        self.shadows |= shadows

    def answer(self) -> None:
        """Merge a proposal, close it, or put a commit on its branch."""
        opened = self._opened(lambda pull: pull.branch.startswith(self.place.branch_prefix))
        if not opened:
            return
        pull = self._random.choice(opened)
        mine = any(each.branch == pull.branch and self._open_work(each) for each in self.on_proposals)
        how = self._random.choices(["merge", "close", "approve", "commit"], [6, 4, 4, 0 if mine else 3])[0]
        if how == "merge":
            self._merge(pull, "proposals merged")
        elif how == "approve":
            self._approve(pull)
        elif how == "close":
            if mine:
                self._drop(pull.branch)
            self._close(pull)
        elif done := self._push("review", pull.branch):
            self.on_proposals.append(done)
            self.counts["commits on proposals"] += 1

    def think_again(self) -> None:
        """Take back a no: by opening the pull request again, or by the command, on each ledger."""
        if not self.said_no:
            return
        number, body = self._random.choice(self.said_no)
        marker = parse_marker(body)
        if marker is None or marker.version is None or marker.aim is not ProposalReason.ROTATE:
            return
        if self._random.random() < 0.5:
            if not self._reopen(number):
                return
        else:
            for world in self._ledgers:
                with suppress(ExternalError):  # it may not have heard of the no yet
                    world.reconsider_refusal(marker.model, marker.alias, marker.version, PERSON, "a second thought")
        self.said_no = [each for each in self.said_no if not _is_same_answer(parse_marker(each[1]), marker)]
        self.counts["refusals taken back"] += 1

    def _reopen(self, number: int) -> bool:
        try:
            with self._scene.forge.using():
                self._scene.home.reopen(number, PERSON)
        except ForgeRefusal:
            return False
        return True

    def _approve(self, pull: Pull) -> None:
        with self._scene.forge.using():
            if pull.state == "open":
                self._scene.home.review(pull.number, "ada", "approved")
                self.counts["proposals approved"] += 1

    def move_an_alias(self) -> None:
        """In the registry, past git."""
        model = self._random.choice(self._models)
        alias = self._random.choice(["champion", "shadow"] if model in self._shadowed else ["champion"])
        versions = self._client.search_model_versions(f"name='{model}'")
        version = self._random.choice([str(each.version) for each in versions])
        try:
            self._client.set_registered_model_alias(model, alias, version)
        except MlflowException:  # MLflow's own answer to two who set one alias in the same moment
            self.counts["moves by hand lost"] += 1
        else:
            self.counts["aliases moved by hand"] += 1

    def open_a_pull_request(self) -> None:
        """With a line of its own."""
        if len(self._opened(lambda pull: pull.number in self.pulls)) > 1:
            return
        branch = f"{PERSON}/{self._number + 1}"
        done = self._push("pull", branch)
        if done is None:
            raise AssertionError("a branch of its own did not take a push")
        with self._scene.forge.using():
            self.pulls[self._scene.home.open(PERSON, branch, f"By hand {branch}").number] = [done]
        self.counts["own pull requests opened"] += 1

    def go_on_with_a_pull_request(self) -> None:
        """One more commit, or the end of it."""
        opened = self._opened(lambda pull: pull.number in self.pulls)
        if not opened:
            return
        pull = self._random.choice(opened)
        how = self._random.choices(["merge", "close", "commit"], [5, 2, 3])[0]
        if how == "merge":
            self._merge(pull, "own pull requests merged")
        elif how == "close":
            self._close(pull)
        elif done := self._push("pull", pull.branch):
            self.pulls[pull.number].append(done)

    def tidy(self) -> None:
        """A branch for proposals with a commit of his and no pull request is of no use to him."""
        opened = {pull.branch for pull in self._opened(lambda _: True)}
        for branch in {each.branch for each in self.on_proposals if self._open_work(each)} - opened:
            self._drop(branch)

    def put_back(self, model: str, alias: str, version: int | None) -> None:
        """What waits for a person: the alias goes where git says."""
        if version is None:
            self._client.delete_registered_model_alias(model, alias)
        else:
            self._client.set_registered_model_alias(model, alias, str(version))

    def _open_work(self, work: PersonWork) -> bool:
        """Whether it is still on its branch alone."""
        heads = self._scene.home.git.heads()
        git, there = self._scene.home.git, heads.get(work.branch)
        return there is not None and git.contains(there, work.revision) and not git.contains(heads["main"], work.revision)

    def _opened(self, fits: Callable[[Pull], bool]) -> list[Pull]:
        with self._scene.forge.using():
            return [pull for pull in self._scene.home.pulls.values() if pull.state == "open" and fits(pull)]

    def _merge(self, pull: Pull, what: str) -> None:
        try:
            with self._scene.forge.using():
                self._scene.home.merge(pull.number, PERSON)
                self.merged.append((pull.number, pull.body))
        except ForgeRefusal as refusal:
            self.counts[f"merges refused: {refusal.why.value}"] += 1
            if pull.number in self.pulls:
                self._close(pull)
        else:
            self.counts[what] += 1

    def _close(self, pull: Pull) -> None:
        with self._scene.forge.using():
            if pull.state != "open":
                return
            self.said_no.append((pull.number, pull.body))
            self._scene.home.close(pull.number, PERSON)
        self.counts["own pull requests closed" if pull.number in self.pulls else "proposals closed by hand"] += 1

    def _drop(self, branch: str) -> None:
        """Delete a branch with his own work on it."""
        self.gave_up |= {each.revision for each in self.on_proposals if each.branch == branch}
        self._git("push", "--quiet", "origin", f":refs/heads/{branch}", check=False)

    def _push(self, word: str, branch: str, change: Callable[[str], str] = str) -> PersonWork | None:
        """A commit with a line more, on top of the branch as it is then; None where it is gone, or merged."""
        self._number += 1
        line = f"# {word} {self._number:04}"
        for _ in range(_TRIES):
            there = self._fetched(branch)
            if there is None and branch.startswith(self.place.branch_prefix):
                return None
            self._git("checkout", "--quiet", "--force", "--detach", there or self._fetched("main") or "")
            file = self._clone / self._registry_file
            text = change(file.read_text())
            file.write_text(text.replace(f"# {word}s end\n", f"{line}\n# {word}s end\n"))
            self._git("commit", "--quiet", "--all", "--message", f"{line.title()} by hand")
            revision = self._git("rev-parse", "HEAD")
            # A lease, so that a branch that was just removed does not come back; nothing is ever forced over.
            lease = f"--force-with-lease=refs/heads/{branch}:{there or ''}"
            self.counts["pushes tried"] += 1
            if self._pushed(lease, branch):
                return PersonWork(revision, line, branch)
            self.counts["pushes lost"] += 1
        return None

    def _pushed(self, lease: str, branch: str) -> bool:
        before = self.counts["pushes"]
        self._git("push", "--quiet", lease, "origin", f"HEAD:refs/heads/{branch}", count="pushes", check=False)
        return self.counts["pushes"] > before

    def _fetched(self, branch: str) -> str | None:
        found = self._git("ls-remote", "origin", f"refs/heads/{branch}")
        if not found:
            return None
        done = self._git("fetch", "--quiet", "origin", f"refs/heads/{branch}", count="fetches", check=False)
        del done
        return self._git("rev-parse", "FETCH_HEAD")

    def _git(self, *arguments: str, folder: Path | None = None, check: bool = True, count: str = "") -> str:
        identity = {f"GIT_{role}_NAME": PERSON for role in ("AUTHOR", "COMMITTER")}
        identity |= {f"GIT_{role}_EMAIL": f"{PERSON}@example.org" for role in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(
            ["git", "-c", "gc.auto=0", *arguments],
            cwd=folder or self._clone,
            env=os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"},
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if count and done.returncode == 0:
            self.counts[count] += 1
        return done.stdout.strip()


def _is_same_answer(one: PullRequestMarker | None, other: PullRequestMarker) -> bool:
    """Whether both are about one model, alias and version."""
    return one is not None and (one.model, one.alias, one.answer_key) == (other.model, other.alias, other.answer_key)
