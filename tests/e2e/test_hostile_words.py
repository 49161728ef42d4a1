"""Names and tags that somebody wrote to do harm: terminals, commits, forges and other models are left alone."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from promoter.domain.text import escape_lines
from tests.support.driven import DrivenContainer
from tests.support.fixtures.git import Colleague
from tests.support.stage.stage import POLICY, Stage, converge, until

HOSTILE = "\x85\x9b31m\u2028\u202e[skip ci] Closes #1 @everyone"
NOTED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion}
  - {tag: note, present: true}
"""


def run_command(stage: Stage, *arguments: str) -> str:
    """What a command prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "promoter", *arguments],
        cwd=stage.folder / "clone",
        env=stage.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.stdout + done.stderr


def test_the_fault_of_one_name_is_that_model_s(stage: Stage, fresh_name: str) -> None:
    """A name with a line break, which registry.yaml cannot hold, keeps neither its family nor readiness from going on."""
    broken, good = f"{fresh_name}-\nx", f"{fresh_name}-good"
    for model in (broken, good):
        stage.version(model, 0.8)
        stage.by_hand(model, "champion", 1)
        stage.version(model, 0.9)
    family = f'families: [{{match: "{fresh_name}-*", aliases: {{champion: {{policy: champion, rotation: commit}}}}}}]\n'
    stage.commit("", family, champion=POLICY)
    daemon = stage.daemon()
    until(lambda: stage.aliases(good) == {"champion": 2}, "the other model rotates", told=daemon.told)
    status, health = daemon.ask("/readyz")
    assert (status, health["trouble"]) == (200, {})
    assert stage.aliases(broken) == {"champion": 1}
    name = broken.replace("\n", "%0A")
    _, model = daemon.ask(f"/api/v1/models/{name}")
    assert "characters that registry.yaml cannot hold" in str(model)
    assert broken not in daemon.log()


@pytest.mark.slow
def test_what_others_wrote_is_shown_inert(stage: Stage, fresh_name: str) -> None:
    """In the commit, whose tags and names no forge obeys; in every table, every log line, in Markdown and in JSON."""
    model = fresh_name + HOSTILE
    stage.version(model, 0.8)
    stage.by_hand(model, "champion", 1)
    stage.version(
        model, 0.9, note="***NO_CI*** [ci skip] closes #7 <script>x</script> [l](http://e) @everyone\n\nskip-checks: true"
    )
    family = f'families: [{{match: "{fresh_name}*", aliases: {{champion: {{policy: champion, rotation: commit}}}}}}]\n'
    stage.commit("", family, champion=NOTED)
    converge(DrivenContainer(stage.settings(load_models=False)))
    assert stage.aliases(model) == {"champion": 2}
    message = stage.git("log", "-1", "--format=%B")
    assert message == escape_lines(message)
    assert "(skip ci)" in message.splitlines()[0]
    for directive in ("[skip ci]", "[ci skip]", "***NO_CI***", "skip-checks:", "#1", "#7", " @everyone"):
        assert directive not in message
    Colleague(stage.remote, stage.folder / "clone", "any")
    for command in (
        ("explain", f"{model}/2", "--policy", "champion", "--format", "markdown"),
        ("explain", f"{model}@champion", "--format", "markdown"),
        ("audit", "list"),
        ("state", "--at", "1s"),
        ("history", f"{model}@champion"),
        ("audit", "list", "--format", "json"),
        ("history", f"{model}@champion", "--format", "markdown"),
    ):
        shown = run_command(stage, *command)
        assert shown == escape_lines(shown), command
        outside_code = re.sub(r"`[^`]*`", "", shown)
        assert "markdown" not in command or not re.search(r"<script>|\[l\]\(|\B@everyone", outside_code), command
