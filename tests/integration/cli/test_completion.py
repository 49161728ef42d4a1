"""Completion in real shells, and what a shell is answered where nothing can be completed: nothing, without a word."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import pytest

from promoter.cli.completion import join_broken_words
from tests.support.shared_server import SharedMlflow

REGISTRY = """version: 1
models:
  fraud: {aliases: {champion: 1, challenger: 2}}
  churn: {aliases: {champion: 1}}
  "evil$(touch x)": {aliases: {champion: 1}}
  "evil b": {aliases: {champion: 1}}
"""
PATIENCE = 120.0
"""Seconds for one answer of a shell, on a machine with more to do."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a registry and a policy in it, with `promoter` on the path; nothing else is set."""
    for name in [name for name in os.environ if name.startswith(("PROMOTER_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "strict.yaml").write_text("version: 1\nrules: [{metric: auc, at_least: 0.5}]\n")
    program = tmp_path / "bin" / "promoter"
    program.parent.mkdir()
    here = Path(__file__).parents[3]
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(here)!r})\nfrom promoter.__main__ import main\nmain()\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path


def ask(folder: Path, *words: str, **environment: str) -> list[str]:
    """What bash is answered for that line, whose last word is completed. Nothing is ever printed beside it."""
    asked = {
        "_PROMOTER_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(["promoter", *words]),
        "COMP_CWORD": str(len(words)),
    }
    command = [str(folder / "bin" / "promoter")]
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **asked, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


class ShellSession:
    """A shell on a terminal of its own, with the script loaded that `promoter completion` prints."""

    SETUPS: Mapping[str, tuple[list[str], str]] = {
        "bash": (
            ["bash", "--norc", "-i"],
            'source <(promoter completion bash); bind -x \'"\\C-g": echo "LINE=[$READLINE_LINE]"\'',
        ),
        "zsh": (
            ["zsh", "-f", "-i"],
            """autoload -U compinit; compinit -u -D; source <(promoter completion zsh)
            show() { print "LINE=[$BUFFER]" }; zle -N show; bindkey "^G" show""",
        ),
    }

    def __init__(self, shell: str, folder: Path) -> None:
        """Start the shell, and wait until the script is loaded."""
        command, setup = self.SETUPS[shell]
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execvp(command[0], command)
        self._write(f"{setup}\necho REA''DY\n")
        self._read_until(r"READY\r")

    def complete(self, line: str) -> str:
        """The line after a press of the tab key."""
        self._write(f"{line}\t\x07")
        found = self._read_until(r"LINE=\[(.*?)\]")
        self._write("\x15")
        return found

    def close(self) -> None:
        """End the shell."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.terminal)

    def _write(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def _read_until(self, pattern: str) -> str:
        output, end = "", time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                output += os.read(self.terminal, 65_536).decode(errors="replace")
            if found := re.search(pattern, output, re.DOTALL):
                return found[found.lastindex or 0]
        raise AssertionError(f"no {pattern} in {output!r}")


@pytest.fixture(params=[shell for shell in ShellSession.SETUPS if shutil.which(shell)])
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[ShellSession]:
    """Each of the shells that the machine has; it has bash."""
    session = ShellSession(request.param, folder)
    yield session
    session.close()


@pytest.mark.slow_except("bash")
def test_a_shell_completes_names(shell: ShellSession) -> None:
    """Commands, models with their aliases on both sides of the `@`, and choices; a name that could run something stays out."""
    for typed, completed in (
        ("promoter quara", "promoter quarantine "),
        ("promoter rollback ch", "promoter rollback churn@champion "),
        ("promoter rollback fraud@champ", "promoter rollback fraud@champion "),
        ("promoter hold --reason 'bad recall' churn@", "promoter hold --reason 'bad recall' churn@champion "),
        ("promoter replay --policy s", "promoter replay --policy strict "),
        ("promoter audit list --verdict pe", "promoter audit list --verdict pending "),
        ("promoter explain evil", "promoter explain evil"),
    ):
        assert shell.complete(typed) == completed


def test_what_is_known_of_the_files(folder: Path) -> None:
    """Everything that an argument or an option can be, and no other."""
    assert ask(folder, "rollback", "") == ["churn@champion", "fraud@challenger", "fraud@champion"]
    assert ask(folder, "explain", "fr") == ["fraud", "fraud@challenger", "fraud@champion"]
    assert ask(folder, "approve", "") == ["churn/", "fraud/"]
    assert ask(folder, "explain", "churn/1", "--alias", "") == ["champion"]
    assert ask(folder, "audit", "list", "--model", "churn", "--alias", "") == ["champion"]
    assert ask(folder, "replay", "--compare", "") == ["strict"]
    assert ask(folder, "audit", "list", "--kind", "ch") == ["change"]


@pytest.mark.slow
def test_choices(folder: Path) -> None:
    """The words that an option takes, also in other shells' way of asking."""
    assert ask(folder, "state", "--model", "c") == ["churn"]
    assert ask(folder, "schema", "p") == ["policy", "policy-tests"]
    assert ask(folder, "init", "--ci", "") == ["github", "gitlab"]
    assert ask(folder, "completion", "") == ["bash", "zsh", "fish"]
    fish = {"_PROMOTER_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert ask(folder, **fish, _TYPER_COMPLETE_ARGS="promoter rollback fraud@") == ["fraud@challenger", "fraud@champion"]


def test_a_folder_by_its_setting(folder: Path) -> None:
    """PROMOTER_PATH names it, as for every command that reads files."""
    inner = folder / "teams"
    inner.mkdir()
    (folder / ".git").mkdir()
    (inner / "registry.yaml").write_text("version: 1\nmodels: {inner: {aliases: {champion: 1}}}\n")
    assert ask(folder, "rollback", "", PROMOTER_PATH="teams") == ["inner@champion"]


def test_versions_come_from_mlflow(folder: Path, mlflow_server: SharedMlflow, fresh_name: str) -> None:
    """Of the model that the line names: as an argument, an option, and behind a slash."""
    client = mlflow.MlflowClient(mlflow_server.uri, mlflow_server.uri)
    client.create_registered_model(fresh_name)
    for _ in range(2):
        client.create_model_version(fresh_name, "s3://bucket/nowhere")
    server = {"MLFLOW_TRACKING_URI": mlflow_server.uri}
    assert ask(folder, "quarantine", f"{fresh_name}@champion", "", **server) == ["1", "2"]
    assert ask(folder, "rollback", f"{fresh_name}@champion", "--to", "", **server) == ["1", "2"]
    assert ask(folder, "explain", f"{fresh_name}/", **server) == [f"{fresh_name}/1", f"{fresh_name}/2"]


@pytest.mark.parametrize(
    "content",
    ["models: [", "version: 1\nmodels: {fraud: {aliases: {v1: 1}}}", "\x00", None],
    ids=["broken", "faulty", "binary", "missing"],
)
def test_files_that_cannot_be_read_complete_nothing(folder: Path, content: str | None) -> None:
    """Without a word about it."""
    (folder / "registry.yaml").unlink()
    if content is not None:
        (folder / "registry.yaml").write_text(content)
    assert ask(folder, "rollback", "") == []
    assert ask(folder, "explain", "fraud/1", "--alias", "", PROMOTER_PATH="../up", PROMOTER_NONSENSE="1") == []


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_not_waited_for(folder: Path) -> None:
    """A server that takes the connection and says nothing, one that is not there, and an answer that is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert ask(folder, "quarantine", "fraud@champion", "", MLFLOW_TRACKING_URI=uri) == []
    for uri in ("http://127.0.0.1:9", "sqlite:///mlflow.db", "nowhere", "http://["):
        assert ask(folder, "quarantine", "fraud@champion", "", MLFLOW_TRACKING_URI=uri) == []


@pytest.mark.parametrize(
    ("words", "position", "joined", "prefix"),
    [
        (["rollback", "fraud", "@", "ch"], 4, ["rollback", "@ch"], "fraud"),
        (["rollback", "fraud", "@"], 3, ["rollback", "@"], "fraud"),
        (["rollback", "fraud", "@", "champion", "--to", ""], 6, ["rollback", "fraud@champion", "--to", ""], ""),
        (["rollback", "fraud@ch"], 2, ["rollback", "fraud@ch"], ""),
        (["release", "m", "@", "a", "--format", "=", "ma"], 7, ["release", "m@a", "--format=ma"], ""),
        (["rollback", "a", "@", "b", "@", "ch"], 6, ["rollback", "@ch"], "a@b"),
        (["rollback"], 2, ["rollback", ""], ""),
        ([], 1, [""], ""),
        (["@"], 1, ["@"], ""),
    ],
)
def test_words_that_bash_broke(words: list[str], position: int, joined: list[str], prefix: str) -> None:
    """At `@` and `=`, also where quotes are open or nothing is typed yet."""
    environment = {
        "_PROMOTER_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(["promoter", *words]),
        "COMP_CWORD": str(position),
    }
    join_broken_words(environment)
    assert environment["COMP_WORDS"].split("\n") == ["promoter", *joined]
    assert (environment["COMP_CWORD"], environment["_PROMOTER_COMPLETE_PREFIX"]) == (str(len(joined)), prefix)
