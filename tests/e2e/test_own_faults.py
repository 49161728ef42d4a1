"""What a user of the registry can do to one model is that model's fault: others go on, and the daemon stays ready."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import MakeStage
from tests.support.fixtures.git import Colleague
from tests.support.shared_server import SharedMlflow
from tests.support.stage.refusing import RefusingProxy
from tests.support.stage.stage import POLICY, Daemon, Stage, until

NOTED = POLICY + b"  - {tag: note, one_of: [risk]}\n"
LINE = "{model}: {{aliases: {{champion: 1}}}}"


@pytest.fixture
def refusing(mlflow_server: SharedMlflow) -> Iterator[RefusingProxy]:
    """The proxy."""
    with RefusingProxy(mlflow_server.uri) as proxy:
        yield proxy


def begin(stage: Stage, *models: str) -> Daemon:
    """A daemon that has brought `champion` of each model to the first of two versions."""
    for model in models:
        stage.version(model, 0.8)
        stage.version(model, 0.9)
    stage.commit("\n".join(LINE.format(model=model) for model in models), head="safety: {max_changes: 100}\n")
    daemon = stage.daemon()
    for model in models:
        stage.until_at(model, {"champion": 1}, daemon.log)
    daemon.until_ready()
    return daemon


def until_failing(daemon: Daemon, model: str, words: str) -> None:
    """Wait until that model alone is shown as failing, with these words, while the daemon is ready."""
    until(lambda: words in daemon.ask("/readyz")[1]["failing"].get(model, {}).get("reason", ""), words, told=daemon.told)
    status, health = daemon.ask("/readyz")
    assert (status, health["trouble"], list(health["failing"])) == (200, {}, [model])


def test_a_model_that_promoter_may_not_write(make_stage: MakeStage, refusing: RefusingProxy, fresh_name: str) -> None:
    """Its write is refused; the other one's drift is put back, and it follows once the right is given again."""
    stage = make_stage("refusing", uri=refusing.url)
    own, other = f"{fresh_name}-own", f"{fresh_name}-other"
    daemon = begin(stage, own, other)
    refusing.read_only = (own,)
    for model in (own, other):
        stage.by_hand(model, "champion", 2)
    stage.until_at(other, {"champion": 1}, daemon.told)
    until_failing(daemon, own, "Permission denied")
    refusing.read_only = ()
    stage.until_at(own, {"champion": 1}, daemon.told)
    until(lambda: daemon.ask("/readyz")[1]["failing"] == {}, "it fails no more", told=daemon.told)


@pytest.mark.slow
def test_a_model_that_promoter_may_not_read_any_more(make_stage: MakeStage, refusing: RefusingProxy, fresh_name: str) -> None:
    """It is in no list, and forbidden by its name: nothing is recorded of it, `plan` and `apply` say so, others go on."""
    stage = make_stage("refusing", uri=refusing.url)
    own, other = f"{fresh_name}-own", f"{fresh_name}-other"
    daemon = begin(stage, own, other)
    before = len(stage.records(own))
    refusing.names = (own,)
    until_failing(daemon, own, f"it does not let Promoter read {own}")
    stage.by_hand(other, "champion", 2)
    stage.until_at(other, {"champion": 1}, daemon.told)
    until(lambda: len(stage.moves(other, "champion")) == 3, "the other one's moves are recorded", told=daemon.told)
    stage.commit("\n".join([LINE.format(model=own), f"{other}: {{aliases: {{champion: 2}}}}"]))
    stage.until_at(other, {"champion": 2}, daemon.told)
    Colleague(stage.remote, stage.folder / "clone", "any")
    for command, code in (("plan", 3), ("apply", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "promoter", command],
            cwd=stage.folder / "clone",
            env=stage.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "does not let Promoter read" in done.stdout + done.stderr
    assert len(stage.records(own)) == before
    refusing.names = ()
    until(lambda: daemon.ask("/readyz")[1]["failing"] == {}, "it fails no more", told=daemon.told)
    assert len(stage.records(own)) == before
    assert stage.aliases(own) == {"champion": 1}


@pytest.mark.slow
def test_a_version_whose_run_is_withheld(make_stage: MakeStage, refusing: RefusingProxy, fresh_name: str) -> None:
    """A version of a run that Promoter may not read is no candidate that passes; the other model rotates."""
    stage = make_stage("refusing", uri=refusing.url)
    own, other = f"{fresh_name}-own", f"{fresh_name}-other"
    for model in (own, other):
        stage.version(model, 0.8)
        stage.by_hand(model, "champion", 1)
    stage.version(own, 0.9)
    refusing.names = (stage.client.get_model_version(own, "2").run_id,)
    stage.version(other, 0.9)
    family = f'families: [{{match: "{fresh_name}-*", aliases: {{champion: {{policy: champion, rotation: commit}}}}}}]\n'
    stage.commit("", family, champion=POLICY)
    daemon = stage.daemon()
    stage.until_at(other, {"champion": 2}, daemon.told)
    status, health = daemon.ask("/readyz")
    assert (status, health["trouble"]) == (200, {})
    assert stage.aliases(own) == {"champion": 1}
    shown = daemon.ask(f"/api/v1/decisions?model={own}")[1]
    assert {each["verdict"] for each in shown["decisions"] if each["version"] == 2} == {"error"}


def test_a_name_and_tags_that_no_ledger_keeps(stage: Stage, fresh_name: str) -> None:
    """MLflow on SQLite takes a NUL: the model with it in its name is left out, tags have a sign instead, others rotate."""
    good, tagged, named = (f"{fresh_name}-{each}" for each in ("good", "tagged", "nul\0"))
    for model in (good, tagged, named):
        stage.version(model, 0.8)
        stage.by_hand(model, "champion", 1)
        stage.version(model, 0.9, note="risk" if model == good else "risk\0")
    family = f'families: [{{match: "{fresh_name}-*", aliases: {{champion: {{policy: champion, rotation: commit}}}}}}]\n'
    stage.commit("", family, champion=NOTED)
    daemon = stage.daemon()
    stage.until_at(good, {"champion": 2}, daemon.told)
    status, health = daemon.ask("/readyz")
    assert (status, health["trouble"]) == (200, {})
    assert [stage.aliases(model) for model in (tagged, named)] == [{"champion": 1}] * 2
    assert "risk\ufffd" in str(daemon.ask(f"/api/v1/decisions?model={tagged}")[1])
