"""`--format markdown` is Markdown for every command: what a forge makes of it, with names that try to be markup."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from promoter.adapters.mlflow.webhooks import InstallOutcome, InstallResult, RegistryWebhook, WebhookTestResult
from promoter.container import Container
from tests.integration.cli.conftest import Run
from tests.support.fakes.registry import FakeClock, FakeRegistry
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger

HOSTILE = "a|b <b>*c* @ada"
REGISTRY = f"""version: 1
models:
  "{HOSTILE}": {{aliases: {{champion: {{version: 2, policy: strict}}, shadow: 2}}}}
"""
POLICY = """version: 1
rules: [{metric: "a|u*c*", at_least: 0.5}]
"""
BROKEN = 'version: 1\nmodels: {"a|b*c*": {aliases: {v1: 1, champion: {policy: "no|ne"}}}}\n'


class FakeWebhooks:
    """Webhooks whose names and errors are as bad as they can be."""

    def list_webhooks(self) -> list[RegistryWebhook]:
        """One, with a name that would break a row."""
        return [RegistryWebhook("1", HOSTILE, "http://x|y", ("registered_model.created",), True)]

    def install_webhook(self, url: str, secret: str) -> InstallResult:
        """It was there."""
        del url, secret
        return InstallResult(InstallOutcome.UNCHANGED, self.list_webhooks()[0])

    def send_test_event(self) -> WebhookTestResult:
        """It did not arrive."""
        return WebhookTestResult(ok=False, status=500, error=f"no | {HOSTILE}")

    def remove_webhooks(self) -> int:
        """One."""
        return 1


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a repository with a model whose name is markup; one stands in it, with a ledger that has a move."""
    registry, clock = FakeRegistry(), FakeClock()
    for _ in range(2):
        registry.version(HOSTILE, **{"a|u*c*": 0.9})
    registry.place(HOSTILE, "champion", 1)
    monkeypatch.setattr(Container, "registry", registry)
    monkeypatch.setattr(Container, "clock", clock)
    monkeypatch.setattr(Container, "mlflow_webhooks", FakeWebhooks())
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "remote.git"))
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "remote.git"), str(folder))
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    (folder / "policies").mkdir()
    (folder / "registry.yaml").write_text(REGISTRY)
    (folder / "policies" / "strict.yaml").write_text(POLICY)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", f"Promote {HOSTILE}")
    git(folder, "push", "--quiet", "origin", "HEAD:main")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PROMOTER_MLFLOW_WEBHOOK_SECRET", "x" * 32)
    monkeypatch.setenv("PROMOTER_DATABASE_URL", begin_ledger(f"sqlite:///{tmp_path / 'promoter.db'}"))
    monkeypatch.setenv("PROMOTER_REPO", str(tmp_path / "remote.git"))
    monkeypatch.chdir(folder)
    return folder


def require_markdown(text: str) -> None:
    """Hold that a forge shows it as it is meant: every row has the cells of its table, and no name became markup."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [each for each in inline if each.type in {"em_open", "html_inline"}], text
    assert not [each for each in tokens if each.type == "html_block" and "<b>" in each.content], text
    assert not [each for each in inline if each.type == "text" and "@ada" in each.content], text
    assert not any(mark in text for mark in ("\u256d", "\u2502", "\u251c", "\x1b")), text
    for is_row, lines in groupby(text.splitlines(), lambda line: line.startswith("|")):
        if is_row:
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1, text


COMMANDS = [
    ("plan",),
    ("explain", f"{HOSTILE}@champion"),
    ("explain", f"{HOSTILE}/2", "--policy", "strict"),
    ("apply",),
    ("history", f"{HOSTILE}@champion"),
    ("state", "--at", "now"),
    ("audit", "list"),
    ("audit", "list", "--model", "nobody"),
    ("audit", "verify"),
    ("audit", "rerun", "--all"),
    ("audit", "prune", "--older-than", "400d"),
    ("hold", f"{HOSTILE}@shadow", "--reason", HOSTILE, "--by", HOSTILE),
    ("quarantine", f"{HOSTILE}@shadow", "1", "--reason", HOSTILE, "--by", HOSTILE),
    ("rollback", f"{HOSTILE}@champion", "--reason", HOSTILE, "--by", "ada", "--to", "1"),
    ("release", f"{HOSTILE}@champion", "--by", "ada"),
    ("doctor",),
    ("validate",),
    ("policy", "test"),
    ("notifications", "list"),
    ("registry", "show"),
    ("repository", "show"),
    ("webhooks", "list"),
    ("webhooks", "install", "--url", "https://x.example.com"),
    ("webhooks", "test"),
    ("webhooks", "remove"),
    ("replay", "--policy", "strict", "--since", "30d"),
]


@pytest.mark.usefixtures("clone")
def test_what_follows_a_table_or_a_list_stands_apart(run_promoter: Run) -> None:
    """Else it would be another row, or a part of the last item."""
    lines = run_promoter("apply", "--format", "markdown")[1].splitlines()
    assert lines[-2:] == ["", "Applied 2 changes, 0 models failed."]
    checks = run_promoter("doctor", "--format", "markdown")[1].splitlines()
    assert checks[:2] == ["| check | state | found | how to fix |", "| --- | --- | --- | --- |"]


@pytest.mark.usefixtures("clone")
def test_a_history_has_times_as_people_read_them(run_promoter: Run) -> None:
    """To the second, and UTC."""
    assert run_promoter("apply")[0] == 0
    row = run_promoter("history", f"{HOSTILE}@champion", "--format", "markdown")[1].splitlines()[-1]
    assert re.fullmatch(r"\| v2 \| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \| now \|.*", row)


@pytest.mark.parametrize("command", [("validate",), ("policy", "test")])
def test_faults_are_a_list(clone: Path, run_promoter: Run, command: tuple[str, ...]) -> None:
    """In which names are no markup."""
    (clone / "registry.yaml").write_text(BROKEN)
    code, out, _ = run_promoter(*command, "--format", "markdown")
    assert (code, out.splitlines()[0]) == (1, "**2 faults**")
    require_markdown(out)


@pytest.mark.usefixtures("clone")
def test_the_webhook_commands_have_json(run_promoter: Run) -> None:
    """As every command with a format."""
    assert json.loads(run_promoter("webhooks", "remove", "--format", "json")[1]) == {"schema": 1, "removed": 1}
    code, out, _ = run_promoter("webhooks", "test", "--format", "json")
    assert (code, json.loads(out)) == (1, {"schema": 1, "delivered": False, "status": 500, "error": f"no | {HOSTILE}"})


@pytest.mark.usefixtures("clone")
def test_every_command_prints_markdown(run_promoter: Run) -> None:
    """One after the other, since each leaves something for the next one to show."""
    for words in COMMANDS:
        code, out, err = run_promoter(*words, "--format", "markdown")
        assert (out.strip(), code in {0, 1, 2, 3}) != ("", True), f"{words}: {err}"
        require_markdown(out)
