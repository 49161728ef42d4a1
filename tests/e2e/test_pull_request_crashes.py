"""Cut off before and after each write to forge and git: the next Promoter leaves one pull request, one branch, one comment."""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from promoter.application.markdown.pull_plan import COMMENT_MARKER
from promoter.application.work_items import PULLS, RESULTS, WorkItem, WorkKind
from promoter.settings import Settings
from tests.support.driven import DrivenContainer
from tests.support.fakes.registry import FakeRegistry
from tests.support.forges.faults import ForgeCall
from tests.support.forges.under_test import KINDS, hosted
from tests.support.stage.hosted_stage import BOT, HostedStage
from tests.support.stage.stage import POLICY
from tests.support.stage.warm import Warm

SETTINGS = "proposals: {labels: [ml], reviewers: [bob]}, "
CHAMPION = "m: {{{settings}aliases: {{champion: {{version: 1, policy: champion, rotation: pull-request{more}}}}}}}"
MOVES = "m: {aliases: {champion: {version: 2, policy: champion}}}"
HOOKS = {
    # Before any ref is touched. The hook's parent is what takes the push: the client gets no answer.
    "pre-receive": """#!/bin/sh
grep -q ' refs/heads/promoter/' || exit 0
echo push >> "$GIT_DIR/pushes"
[ "$(cat "$GIT_DIR/cut-before" 2>/dev/null)" = "$(wc -l < "$GIT_DIR/pushes")" ] || exit 0
rm "$GIT_DIR/cut-before"; kill -9 $PPID
""",
    # After the refs have moved, and before that is told.
    "reference-transaction": """#!/bin/sh
[ "$1" = committed ] && [ -e "$GIT_DIR/cut-after" ] || exit 0
grep -q ' refs/heads/promoter/' || exit 0
[ "$(cat "$GIT_DIR/cut-after")" = "$(wc -l < "$GIT_DIR/pushes")" ] || exit 0
rm "$GIT_DIR/cut-after"; kill -9 $PPID
""",
}


@dataclass(frozen=True)
class Write:
    """The nth write of a look: to the forge, or a push."""

    push: bool
    nth: int
    told: str


class ResettableStage(HostedStage):
    """A hosted stage that can be put back to its beginning, with a registry that takes no time."""

    mlflow: FakeRegistry

    def begin(self) -> None:
        """As it was before anybody wrote: one commit, no pull request; v1 is the champion, and v2 is better."""
        self.forge.faults.clear()
        self.mlflow = FakeRegistry()
        for auc in (0.8, 0.9):
            self.mlflow.version("m", auc=auc)
        self.mlflow.place("m", "champion", 1)
        with self.forge.using():
            self.home.pulls.clear()
            self.home.statuses.clear()
            self.home.labels.clear()
            for ref in self.home.git.run("for-each-ref", "--format=%(refname)").splitlines():
                if ref != "refs/heads/main":
                    self.home.git.delete(ref)
        for name in ("pushes", "cut-before", "cut-after"):
            (self.home.git.path / name).unlink(missing_ok=True)
        (self.home.git.path / "pushes").touch()
        self.rotate()

    def rotate(self, more: str = "") -> None:
        """Commit what the champion is, and how it moves."""
        self.commit(CHAMPION.format(settings=SETTINGS, more=more), champion=POLICY)

    def settings(self, **changed: Any) -> Settings:
        """No models are loaded here."""
        return super().settings(**{"mlflow_tracking_uri": "http://127.0.0.1:9", **changed})

    def world(self, **changed: Any) -> DrivenContainer:
        """On that registry."""
        return DrivenContainer(self.settings(**changed), registry=self.mlflow)

    def look(self) -> None:
        """A Promoter that has just started looks at proposals and pull requests; it ends where something is cut.

        What it reports of the commits of all scenes before has tests of its own.
        """
        world = self.world()
        watch = world.build_controller(lambda _: 0.0)
        waiting = deque([WorkItem(WorkKind.PROPOSALS, "m"), PULLS])
        while waiting and watch.run_work_item(waiting.popleft(), "test") is None:
            waiting.extend(item for item in dict.fromkeys(world.asked) if item not in waiting and item != RESULTS)
            world.requested.clear()
        world.ledger.close_connections()  # type: ignore[attr-defined]  # the real one is a database

    def looks(self) -> None:
        """Until nothing is written any more."""
        for _ in range(6):
            before = self.marks()
            self.look()
            if self.marks() == before:
                return
        raise AssertionError(f"still writing: {self.forge.faults.writes[-4:]}")

    def written(self) -> int:
        """How many pushes there were."""
        return len((self.home.git.path / "pushes").read_text().splitlines())

    def cut(self, write: Write, when: str) -> None:
        """Have the connection cut there."""
        if write.push:
            (self.home.git.path / f"cut-{when}").write_text(f"{write.nth + self.written()}\n")
            return
        seen = count(1)
        nth: Callable[[ForgeCall], bool] = lambda call: call.writes and next(seen) == write.nth  # noqa: E731  # counts
        faults = self.forge.faults
        (faults.fail_before if when == "before" else faults.fail_after)(nth)

    def struck(self, write: Write, when: str) -> bool:
        """Whether it was."""
        if write.push:
            return not (self.home.git.path / f"cut-{when}").exists()
        return bool(self.forge.faults.hit)

    def picture(self) -> dict[str, Any]:
        """All that people see on forge and remote, without times, ids and commit names."""
        self.forge.refresh()
        heads = self.home.git.heads()
        states = {
            each.number: {
                "said": [each.state, each.branch, each.title, each.body, sorted(each.labels), sorted(each.reviewers)],
                "closed_by": each.closed_by,
                "comments": [remark.body for remark in each.remarks if remark.by == BOT],
                "status": self._status(each.head),
            }
            for each in self.home.pulls.values()
        }
        return {
            "pulls": _unnamed(states),
            "files": {name: self.git("show", f"{sha}:registry.yaml") for name, sha in heads.items()},
        }

    def _status(self, sha: str) -> tuple[str, str | None] | None:
        own = self.home.status_of(sha, "promoter/plan")
        return (own.state, own.description) if own else None


def _unnamed(told: Any) -> Any:
    """With commit names taken out."""
    if isinstance(told, dict):
        return {key: _unnamed(value) for key, value in told.items()}
    if isinstance(told, list):
        return [_unnamed(each) for each in told]
    return re.sub(r"\b[0-9a-f]{10,40}\b", "COMMIT", told) if isinstance(told, str) else told


def opening(resettable_stage: ResettableStage) -> None:
    """A first candidate; labels and reviewers are asked for."""


def revising(resettable_stage: ResettableStage) -> None:
    """A better one, while one is open."""
    resettable_stage.look()
    resettable_stage.mlflow.version("m", auc=0.95)


def closing(resettable_stage: ResettableStage) -> None:
    """What is open goes into quarantine."""
    resettable_stage.look()
    resettable_stage.rotate(", quarantine: [2]")


def planning(resettable_stage: ResettableStage) -> None:
    """A person's pull request gets a comment and a status."""
    resettable_stage.mlflow.place("m", "champion", 2)
    resettable_stage.commit(MOVES, champion=POLICY)
    resettable_stage.mlflow.version("m", auc=0.5)
    resettable_stage.propose("ada/three", "ada", MOVES.replace("version: 2", "version: 3"))


def planning_again(resettable_stage: ResettableStage) -> None:
    """And another comment once it says something else."""
    planning(resettable_stage)
    resettable_stage.look()
    resettable_stage.mlflow.version("m", auc=0.95)
    resettable_stage.push("ada/three", "ada", MOVES.replace("version: 2", "version: 4"))


SCENES = {
    opening: ("open", "champion from v1 to v2", "ml", 1),
    revising: ("open", "champion from v1 to v3", "ml", 1),
    closing: ("closed", "champion from v1 to v2", "withdrawn", 2),
    planning: ("open", "Change ada/three", "", 1),
    planning_again: ("open", "Change ada/three", "", 1),
}
"""How it ends without a fault: the state of the one pull request, in its title, in the rest of it, and how many comments."""
Prepare = Callable[[ResettableStage], None]


@pytest.fixture(scope="module", params=KINDS)
def resettable_stage(
    request: pytest.FixtureRequest, warm: Warm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ResettableStage]:
    """One of each kind, for all scenes."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    with hosted(request.param, folder) as scene:
        made = ResettableStage(folder, scene, None, "http://127.0.0.1:9", warm)
        for name, text in HOOKS.items():
            hook = made.home.git.path / "hooks" / name
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(text)
            hook.chmod(0o755)
        yield made


def clean(resettable_stage: ResettableStage, prepare: Prepare) -> tuple[list[Write], dict[str, Any]]:
    """The writes of one look that nothing goes wrong with, and what people see after it."""
    resettable_stage.begin()
    prepare(resettable_stage)
    pushed, written = resettable_stage.written(), len(resettable_stage.forge.faults.writes)
    resettable_stage.look()
    calls = resettable_stage.forge.faults.writes[written:]
    found = [Write(push=False, nth=nth, told=f"{call.method} {call.path}") for nth, call in enumerate(calls, 1)]
    if resettable_stage.scene.kind == KINDS[0]:  # git is the same everywhere
        found += [Write(push=True, nth=nth, told="push") for nth in range(1, resettable_stage.written() - pushed + 1)]
    resettable_stage.looks()
    return found, resettable_stage.picture()


@pytest.mark.slow_except("gitea-planning")
@pytest.mark.parametrize("prepare", SCENES, ids=[scene.__name__ for scene in SCENES])
def test_cut_off_at_each_write(resettable_stage: ResettableStage, prepare: Prepare) -> None:
    """Whatever was written by then, and whether it was answered or not: the next look leaves all as if nothing had happened."""
    writes, expected = clean(resettable_stage, prepare)
    assert writes
    assert_as_told(expected, *SCENES[prepare])
    for write in writes:
        for when in ("before", "after"):
            resettable_stage.begin()
            prepare(resettable_stage)
            resettable_stage.forge.faults.hit.clear()
            resettable_stage.cut(write, when)
            resettable_stage.look()
            assert resettable_stage.struck(write, when), (write, when)
            resettable_stage.look()
            assert resettable_stage.picture() == expected, (write, when)


def assert_as_told(picture: dict[str, Any], state: str, title: str, rest: str, comments: int) -> None:
    """One pull request, with one branch while it is open, its plan and at most one note as comments, and a status."""
    (pull,) = picture["pulls"].values()
    assert pull["said"][0] == state
    assert title in pull["said"][2]
    assert rest in str(pull["said"][3:])
    assert len(pull["comments"]) == comments
    assert pull["status"] is not None
    assert len(picture["files"]) == (2 if state == "open" else 1)


@pytest.mark.slow
def test_a_daemon_that_is_killed(hosted_stage: HostedStage, fresh_name: str) -> None:
    """By SIGKILL, once the forge has opened the pull request and before it answers: the next daemon goes on with that one."""
    stage, model = hosted_stage, fresh_name
    stage.serving(model, 0.8, 0.9)
    stage.commit(CHAMPION.replace("m:", f"{model}:", 1).format(settings=SETTINGS, more=""), champion=POLICY)

    def kills(call: ForgeCall) -> bool:
        opens = call.method == "POST" and call.path.endswith(("/pulls", "/merge_requests"))
        if opens:
            stage.daemons[0].process.kill()
        return opens

    stage.forge.faults.fail_after(kills)
    stage.start()
    assert stage.daemons[0].process.wait(60) == -signal.SIGKILL, stage.told()
    assert [each.state for each in stage.pulls()] == ["open"]
    stage.daemon()
    pull = stage.until_open(model, "to v2")
    stage.until_status(pull, "success", "all allowed")
    stage.settle()
    assert len(stage.pulls()) == 1
    assert (pull.labels, pull.reviewers) == (["ml"], ["bob"])
    (plan,) = stage.comments(pull)
    assert plan.startswith(COMMENT_MARKER)
