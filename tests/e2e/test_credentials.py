"""Credentials on real servers: nothing that a pull request brings, and no server but its own, gets the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures.git import Colleague
from tests.support.fixtures.ledger import begin_ledger
from tests.support.listener import Listener, listen
from tests.support.stage.stage import POLICY, Stage, registry_yaml, until

TOKEN = "of-production-only"
FOREIGN = (
    "{model}: {{aliases: {{champion: {{policy: p, rotation: commit, promote_from: {{registry: staging, alias: champion}}}}}}}}"
)
COMMANDS = (["plan"], ["plan", "--base", "HEAD~1", "--head", "HEAD"], ["explain", "{model}@champion"], ["apply"], ["doctor"])


@pytest.fixture
def attacker() -> Iterator[Listener]:
    """A server that would like to have the token."""
    with listen() as listener:
        yield listener


@pytest.fixture
def clone(stage: Stage, fresh_name: str) -> Colleague:
    """A clone of the repository, whose model gets its versions from `staging`."""
    begin_ledger(stage.database)
    stage.version(fresh_name, 0.9)
    stage.commit(FOREIGN.format(model=fresh_name), p=POLICY)
    return Colleague(stage.remote, stage.folder / "clone", "any")


def run(stage: Stage, clone: Colleague, arguments: list[str], **changed: str) -> tuple[int, str]:
    """A command in the clone, as a process: its exit code, and all that it said."""
    environment = stage.environment(MLFLOW_TRACKING_TOKEN=TOKEN, **changed)
    done = stage.warm.run("promoter", arguments, clone.folder, environment)
    assert "Traceback" not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_pull_request_does_not_say_where_the_token_goes(
    stage: Stage, clone: Colleague, attacker: Listener, fresh_name: str
) -> None:
    """Its tree has a `promoter.yaml` that names a server: a fault, and that server hears nothing at all."""
    settings = f"registries: {{staging: '{attacker.uri}'}}\nmlflow_tracking_uri: '{attacker.uri}'\nrepo: '{attacker.uri}/r'\n"
    clone.push({"promoter.yaml": settings.encode()}, "A settings file")
    for arguments in COMMANDS:
        code, words = run(stage, clone, [each.format(model=fresh_name) for each in arguments])
        assert code == 1
        assert "PROMOTER_CONFIG" in words
    code, words = run(stage, clone, ["plan"], PROMOTER_CONFIG="promoter.yaml")
    assert (code, "the tree that is being judged" in words) == (1, True)
    assert attacker.heard == []


@pytest.mark.slow
def test_another_registry_does_not_get_the_token(stage: Stage, clone: Colleague, attacker: Listener, fresh_name: str) -> None:
    """Settings name it, and it has no credentials of its own: each command and the daemon ask it without any proof."""
    clone.push({"registry.yaml": registry_yaml(FOREIGN.format(model=fresh_name)) + b"# seen\n"}, "A comment")
    registries = {"PROMOTER_REGISTRIES": f'{{"staging": "{attacker.uri}"}}'}
    for arguments in COMMANDS:
        before = len(attacker.heard)
        run(stage, clone, [each.format(model=fresh_name) for each in arguments], **registries)
        assert len(attacker.heard) > before or "--base" in arguments, arguments  # a plan of nothing new reads nothing there
    before = len(attacker.heard)
    daemon = stage.start(MLFLOW_TRACKING_TOKEN=TOKEN, **registries)
    until(lambda: len(attacker.heard) > before, "the daemon reads the other registry", told=daemon.log)
    assert attacker.proofs == {None}


@pytest.mark.slow
def test_another_registry_gets_its_own_token(stage: Stage, clone: Colleague, attacker: Listener, fresh_name: str) -> None:
    """And nothing else."""
    own = {"PROMOTER_REGISTRIES": f'{{"staging": "{attacker.uri}"}}', "PROMOTER_REGISTRY_STAGING_TOKEN": "of-staging"}
    run(stage, clone, ["explain", f"{fresh_name}@champion"], **own)
    assert attacker.proofs == {"Bearer of-staging"}
