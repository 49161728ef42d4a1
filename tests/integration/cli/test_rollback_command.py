"""`promoter rollback` and `promoter release` on a real remote and a real ledger: words, JSON and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from promoter.__main__ import main
from promoter.cli import rollback
from promoter.container import Container
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.logs import configure_logging
from promoter.settings import Settings
from tests.support.fakes.registry import FakeClock, FakeRegistry
from tests.support.fixtures.git import GIT_TOKEN, Colleague, git
from tests.support.stage.terminal import at_a_terminal

REGISTRY = b"version: 1\nmodels:\n  m:\n    aliases:\n      champion: 1 # serves\n"
POLICY = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
Run = Callable[..., tuple[int, str, str]]


class RollbackSite:
    """What a command finds: a remote, a ledger that knows v1 and v2, and a registry that has v2."""

    def __init__(self, remote: GitHttpServer, colleague: Colleague, folder: Path) -> None:
        """v1 was the champion, v2 is."""
        self.remote, self.colleague, self.folder = remote, colleague, folder
        self.mlflow, self.clock = FakeRegistry(), FakeClock()
        for _ in range(2):
            self.mlflow.version("m")
        self.mlflow.place("m", "champion", 1)
        for content in (REGISTRY, REGISTRY.replace(b"1 # serves", b"2 # serves")):
            colleague.push({"registry.yaml": content, "policies/champion.yaml": POLICY})
            world = self.world()
            assert not world.revisions.refresh_head().refused
            world.model_reconciler.reconcile("m", "test")
        assert self.mlflow.models["m"].aliases == {"champion": 2}

    def world(self, **changed: Any) -> Container:
        """As a program that has just started sees it."""
        settings: dict[str, Any] = {
            "mlflow_tracking_uri": "http://127.0.0.1:9",
            "repo": self.remote.url,
            "git_token": SecretStr(GIT_TOKEN),
            "database_url": f"sqlite:///{self.folder / 'promoter.db'}",
        }
        return Container(Settings(**(settings | changed)), registry=self.mlflow, clock=self.clock)

    def protect(self) -> None:
        """The watched branch takes no pushes any more, as a forge says it."""
        hook = self.remote.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(
            "#!/bin/sh\nwhile read old new ref; do\n"
            'if [ "$ref" = refs/heads/main ]; then\n'
            "echo 'GitLab: You are not allowed to push code to protected branches on this project.' >&2; exit 1\nfi\ndone\n"
        )
        hook.chmod(0o755)


@pytest.fixture
def rollback_site(git_remote: GitHttpServer, colleague: Colleague, tmp_path: Path) -> RollbackSite:
    """One such site."""
    return RollbackSite(git_remote, colleague, tmp_path)


@pytest.fixture
def run(
    rollback_site: RollbackSite,
    log_lines: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """Runs the command line on the site; exit code, standard output, standard error."""
    del log_lines  # puts the configuration of logs back

    def promoter(*arguments: str, **changed: Any) -> tuple[int, str, str]:
        with monkeypatch.context() as patched:
            configure_logging("text", level="warning")  # as `world` does, in whose place this is
            patched.setattr(rollback, "build_container", lambda **_given: rollback_site.world(**changed))
            patched.setattr(sys, "argv", ["promoter", *arguments])
            patched.setenv("COLUMNS", "80")
            patched.chdir(tmp_path)
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return promoter


BACK = ("rollback", "m@champion", "--reason", "bad recall", "--by", "alice")


def test_a_rollback_is_told_in_full(rollback_site: RollbackSite, run: Run) -> None:
    """At 80 columns: what held, what returns and why, how it got into git, what follows, how to undo it."""
    code, out, _ = run(*BACK)
    head = git(rollback_site.remote.path, "rev-parse", "main")[:10]
    assert [line.rstrip() for line in out.splitlines()] == [
        "m@champion: v2 -> v1, by commit",
        " - v2 holds m@champion; v1 returns: it held champion last in good standing",
        "   before v2.",
        f" - Committed as {head}: v1 under a hold, v2 in quarantine.",
        " - No daemon works on this ledger now: the alias moves once `promoter serve` or",
        "   `promoter apply` runs; with --now it moves at once.",
        " - Rotation leaves m@champion alone until `promoter release m@champion`; the",
        "   quarantine stays after that, too.",
    ]
    assert code == 0
    told = git(rollback_site.remote.path, "show", "main:registry.yaml")
    assert 'champion: {version: 1, hold: {reason: "bad recall", by: alice}, quarantine: [2]} # serves' in told
    assert "Promoter-By: alice" in git(rollback_site.remote.path, "log", "-1", "--format=%B", "main")


def test_a_rollback_says_when_the_daemon_acts(rollback_site: RollbackSite, run: Run) -> None:
    """Where one works on the ledger: at the push or at its next poll; at once with --now, where nothing is left to wait for."""
    world = rollback_site.world()
    facts = {"run": "r", "host": "h", "process": 1, "since": world.clock.now().isoformat()}
    world.ledger.record_lifecycle_event(LifecycleEvent(world.clock.now(), LifecycleEventType.STARTED, facts))
    _, out, _ = run(*BACK, poll_interval=30)
    when = (
        "The daemon moves the alias when it sees the commit: at once where a webhook reports the push, else with its next poll"
    )
    assert f"{when}, every 30s by PROMOTER_POLL_INTERVAL; with --now it moves at once." in " ".join(out.split())
    _, out, _ = run(*BACK, "--now")
    assert ("The registry has v1 now." in out, "poll" in out) == (True, False)


@pytest.mark.parametrize("no_color", ["", "1"])
def test_progress_is_for_a_terminal_alone(rollback_site: RollbackSite, tmp_path: Path, no_color: str) -> None:
    """What it waits for shows on a terminal, without colours where NO_COLOR says so; in a pipe there is the result alone."""
    environment = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "PROMOTER_REPO": rollback_site.remote.url,
        "PROMOTER_GIT_TOKEN": GIT_TOKEN,
        "PROMOTER_DATABASE_URL": f"sqlite:///{rollback_site.folder / 'promoter.db'}",
        "TERM": "xterm-256color",
        "NO_COLOR": no_color,
    }
    words = ["hold", "m@champion", "--reason", "audit", "--by", "alice"]
    code, screen = at_a_terminal(tmp_path, environment, words, {})
    assert (code, "hold of m@champion" in screen, "held at v2, by commit" in screen) == (0, True, True)
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", screen)) == (not no_color)
    piped = subprocess.run(
        [sys.executable, "-m", "promoter", *words],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.startswith("m@champion: held at v2\n - Nothing to do")


def test_json_and_markdown(rollback_site: RollbackSite, run: Run) -> None:
    """One object with its version; and a list."""
    code, out, _ = run(*BACK, "--now", "--format", "json")
    told = json.loads(out)
    assert code == 0
    assert told.pop("told")
    assert told == {
        "schema": 1,
        "model": "m",
        "alias": "champion",
        "act": "rollback",
        "version": 1,
        "from": 2,
        "to": 1,
        "path": "commit",
        "revision": git(rollback_site.remote.path, "rev-parse", "main"),
        "pull_request": None,
        "override": None,
        "until": None,
        "done": True,
    }
    assert rollback_site.mlflow.models["m"].aliases == {"champion": 1}
    code, out, _ = run("release", "m@champion", "--by", "bob", "--reason", "over <b>", "--format", "markdown")
    assert (code, out.splitlines()[0]) == (0, "**m@&#8203;champion: released, by commit**")
    assert "- m@&#8203;champion: v1 was held by alice: bad recall." in out.splitlines()
    assert "over <b>" in git(rollback_site.remote.path, "log", "-1", "--format=%B", "main")
    code, out, err = run("release", "m@champion", "--by", "bob")
    assert (code, out) == (1, "")
    assert err == "promoter: release: nothing to release: git holds nothing of m@champion\n"


def test_a_hold_and_its_end(rollback_site: RollbackSite, run: Run) -> None:
    """Both are commits that leave comments alone; what is there already is nothing to do, and its end twice is refused."""
    held = ("hold", "m@champion", "--reason", "audit", "--by", "alice")
    code, out, _ = run(*held)
    head = git(rollback_site.remote.path, "rev-parse", "main")[:10]
    assert (code, out.splitlines()) == (
        0,
        [
            "m@champion: held at v2, by commit",
            f" - Committed as {head}.",
            " - From then on, rotation and guards leave m@champion alone until `promoter hold",
            "   m@champion --lift`. A commit still moves it.",
        ],
    )
    stated = git(rollback_site.remote.path, "show", "main:registry.yaml")
    assert "champion: {version: 2, hold: {reason: audit, by: alice}} # serves" in stated
    assert "Promoter-By: alice" in git(rollback_site.remote.path, "log", "-1", "--format=%B", "main")
    code, out, _ = run("hold", "m@champion", "--reason", "mine", "--by", "bob")
    assert (code, out.splitlines()[1]) == (0, " - Nothing to do: alice holds m@champion already: audit.")
    code, out, _ = run("hold", "m@champion", "--lift", "--by", "bob", "--format", "markdown")
    assert (code, out.splitlines()[0]) == (0, "**m@&#8203;champion: released, by commit**")
    assert "champion: {version: 2} # serves" in git(rollback_site.remote.path, "show", "main:registry.yaml")
    code, out, err = run("hold", "m@champion", "--lift", "--by", "bob")
    assert (code, out, err) == (1, "", "promoter: release: nothing to release: git holds nothing of m@champion\n")


def test_a_quarantine_and_its_end(rollback_site: RollbackSite, run: Run) -> None:
    """It moves nothing, and says what does; lifted, the file is as before."""
    put = ("quarantine", "m@champion", "2", "--by", "alice")
    code, out, _ = run(*put, "--reason", "leaked", "--format", "json")
    shown = json.loads(out)
    assert (code, shown["act"], shown["version"], shown["from"], shown["to"]) == (0, "quarantine", 2, 2, 2)
    assert "v2 holds m@champion now and stays there" in shown["told"][-1]
    assert rollback_site.mlflow.models["m"].aliases == {"champion": 2}
    assert "champion: {version: 2, quarantine: [2]} # serves" in git(rollback_site.remote.path, "show", "main:registry.yaml")
    (event,) = rollback_site.world().ledger.find_commit_requests({shown["revision"]})
    assert (event.facts["by"], event.facts["reason"], event.facts["aim"]) == ("alice", "leaked", "quarantine")
    code, out, err = run(*put[:2], "7", "--reason", "r", "--by", "alice")
    assert (code, out, err) == (1, "", "promoter: MLflow: `m` has no v7 (it has v2, v1)\n")
    code, out, _ = run(*put, "--lift")
    assert (code, out.splitlines()[0]) == (0, "m@champion: v2 out of quarantine, by commit")
    assert "champion: {version: 2} # serves" in git(rollback_site.remote.path, "show", "main:registry.yaml")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("hold", "m@champion"), "it needs a reason: --reason TEXT"),
        (("hold", "m", "--reason", "r"), "`m` is not MODEL@ALIAS"),
        (("hold", "m@champion", "--lift", "--until", "2h"), "--until goes without --lift"),
        (("hold", "m@champion", "--reason", "r", "--until", "soon"), "`soon` is no moment"),
        (("quarantine", "m@champion", "--reason", "r"), "it needs the version, such as fraud-detector@champion 9"),
        (("quarantine", "m/2", "--reason", "r"), "a quarantine is one of an alias: write `m@champion 2`"),
    ],
)
def test_a_hold_that_is_asked_for_wrongly_is_explained(run: Run, words: tuple[str, ...], shown: str) -> None:
    """Usage errors, exit code 1."""
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert shown in " ".join(err.replace("\u2502", " ").split())


def test_a_protected_branch_without_a_forge(rollback_site: RollbackSite, run: Run) -> None:
    """The branch is pushed; with --now the alias moves under an override, until when is told."""
    rollback_site.protect()
    code, out, _ = run(*BACK, "--now", "--for", "2h", "--format", "json")
    told = json.loads(out)
    assert (code, told["path"], told["override"]) == (0, "override", rollback_site.world().ledger.find_open_overrides()[0].id)
    assert told["until"] == "2026-11-23T14:00:00+00:00"
    assert told["revision"] == git(rollback_site.remote.path, "rev-parse", "promoter/m/champion")
    assert rollback_site.mlflow.models["m"].aliases == {"champion": 1}
    again = json.loads(run(*BACK, "--now", "--format", "json")[1])
    assert (again["override"], again["revision"]) == (told["override"], told["revision"])
    code, _, err = run("release", "m@champion", "--by", "bob")
    assert code == 1
    assert "an override stands in for git: v1 until 2026-11-23 14:00 UTC, by alice: bad recall" in err
    code, out, _ = run("history", "m@champion")
    assert code == 0
    note = "an override to v1 was in force until 2026-11-23 14:00 UTC, by alice: bad recall. The next reconcile records its end"
    assert note in " ".join(out.split()), "by the system's clock, it is over"


def test_a_forge_that_is_set_up_wrongly_does_not_keep_the_alias_from_moving(rollback_site: RollbackSite, run: Run) -> None:
    """It is told, with exit code 1, and the branch is there."""
    rollback_site.protect()
    code, out, _ = run(*BACK, "--now", forge="gitlab", forge_url="nowhere", forge_project="a/b")
    assert code == 1
    assert "something is left to do" in out
    assert rollback_site.mlflow.models["m"].aliases == {"champion": 1}
    assert "promoter/m/champion" in git(rollback_site.remote.path, "branch", "--list", "promoter/*")


def test_who_asks_is_gits_user_name(
    rollback_site: RollbackSite, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless --by says otherwise; where git has no name, nobody's is taken for a person's."""
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Grace Hopper\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert run(*BACK[:-2])[0] == 0
    assert 'by: "Grace Hopper"' in git(rollback_site.remote.path, "show", "main:registry.yaml")
    config.write_text("")
    monkeypatch.setenv("LOGNAME", "root")
    code, out, err = run("release", "m@champion")
    assert (code, out) == (1, "")
    assert err == "promoter: --by: it is not known who asks for this: git has no `user.name` here (give --by NAME)\n"


def test_what_is_not_set_is_named(run: Run) -> None:
    """Both commands write to the watched repository, whose address they need."""
    code, _, err = run(*BACK, repo=None)
    assert code == 1
    assert "PROMOTER_REPO is not set (set it to the URL or the path of the repository" in err
    assert run("release", "m@champion", repo=None)[0] == 1


@pytest.mark.parametrize(
    "arguments", [("m", "--reason", "r"), ("m@champion",), ("m@champion", "--reason", "r", "--for", "soon")]
)
def test_what_is_asked_for_wrongly_is_explained(run: Run, arguments: tuple[str, ...]) -> None:
    """Usage errors, exit code 1."""
    code, out, err = run("rollback", *arguments)
    assert (code, out) == (1, "")
    assert "Usage: promoter rollback" in err
