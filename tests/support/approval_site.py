"""A repository whose champion asks for two signed approvals, and the command in its folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from promoter.__main__ import main
from tests.support.stage.terminal import at_a_terminal

POLICY = """version: 1
candidates: {{from: any, rank: {{metric: val_auc, order: highest}}}}
rules:
  - {{metric: val_auc, at_least: {bound}}}
  - {{approval: {{at_least: 2, from: [risk]}}}}
"""
PLAIN = "version: 1\nrules: [{tag: approved_by, present: true}]\n"
COPIED = "version: 1\nrules: [{tag: approved_by, present: true, copied: accept}]\n"
PASSPHRASE = "open sesame 4711"
Said = tuple[int, str, str]


class ApprovalSite:
    """A folder with a repository's files, and the command in it."""

    def __init__(self, folder: Path, client: Any, model: str, environment: dict[str, str], run: Callable[..., Said]) -> None:
        """Alice, bob and carol have keys; alice and bob are of `risk`."""
        self.folder = folder
        self.client = client
        self.model = model
        self.environment = environment
        self.run = run
        (folder / "policies").mkdir()
        self.write("policies/champion.yaml", POLICY.format(bound=0.9))
        self.write("policies/plain.yaml", PLAIN)
        self.write("registry.yaml", f"version: 1\nmodels: {{{model}: {{aliases: {{champion: {{policy: champion}}}}}}}}\n")
        lines = [self._line(name) for name in ("alice", "bob", "carol")]
        self.approvers(*(line.replace("[]", "[risk]") for line in lines[:2]), lines[2])

    def _line(self, name: str) -> str:
        code, out, err = self.run("approve", "--new-key", f"{name}.pem", "--by", name)
        assert (code, err) == (0, "")
        return out.splitlines()[-1]

    def write(self, path: str, content: str) -> None:
        """A file of the repository."""
        (self.folder / path).write_text(content)

    def approvers(self, *lines: str) -> None:
        """`approvers.yaml`."""
        self.write("approvers.yaml", "\n".join(["version: 1", "approvers:", *lines]) + "\n")

    def approve(self, name: str, version: int = 1, *more: str) -> Said:
        """Unasked."""
        return self.run("approve", f"{self.model}/{version}", "--by", name, "--key", f"{name}.pem", "--yes", *more)

    def at_a_terminal(self, arguments: list[str], answers: dict[str, str]) -> tuple[int, str]:
        """As a process, asked and answered; its exit code, and what was on the screen."""
        return at_a_terminal(self.folder, self.environment, arguments, answers)

    def explain(self, model: str = "", policy: str = "champion") -> tuple[int, dict[str, Any]]:
        """What is found of version 1; the exit code, and the last rule."""
        code, out, err = self.run("explain", f"{model or self.model}/1", "--policy", policy, "--format", "json")
        assert not err, err
        return code, json.loads(out)["rules"][-1]

    def told(self) -> list[str]:
        """Each approval that is seen, in words."""
        return [f"{child['rule']}: {child['value']}".split(" 20")[0] for child in self.explain()[1].get("rules", [])]


def command_in(
    folder: Path, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Runs `promoter` in that folder, in this process: exit code, output, errors. No private key is ever among them."""
    monkeypatch.chdir(folder)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)

    def run(*arguments: str) -> Said:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["promoter", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "PRIVATE KEY" not in out + err
        return int(str(ended.value.code or 0)), out, err

    return run
