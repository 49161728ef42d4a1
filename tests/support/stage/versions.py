"""An approved version that is champion by git's word, and what the ledger tells of numbers that stand for others later."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.domain.audit import RecordKind
from tests.support.fixtures.ledger import begin_ledger
from tests.support.stage.stage import Stage

POLICY = b"""version: 1
rules: [{metric: auc, at_least: 0.5}, {tag: approved_by, one_of: [risk]}]
"""
STATED = "{model}: {{aliases: {{champion: {{version: {version}, policy: champion}}}}}}"

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a stage in this process, with `--format json`: its exit code, its JSON, and what it warns of."""

    def promoter(stage: Stage, *arguments: str, **changed: str) -> tuple[int, dict[str, Any], str]:
        with monkeypatch.context() as patched:
            patched.chdir(stage.folder / "clone")
            for name, text in stage.environment(**changed).items():
                if name.startswith(("PROMOTER_", "MLFLOW_")):
                    patched.setenv(name, text)
            patched.setattr(sys, "argv", ["promoter", *arguments, "--format", "json"])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = capsys.readouterr()
            assert "Traceback" not in err
            return int(str(ended.value.code or 0)), json.loads(out or "{}"), err

    return promoter


def settle(stage: Stage, run: Run, model: str, version: int = 1) -> None:
    """An approved version is champion by git's word, and the ledger knows it."""
    begin_ledger(stage.database)
    for number in range(1, version + 1):
        assert stage.version(model, 0.95, approved_by="risk") == number
    stage.commit(STATED.format(model=model, version=version), champion=POLICY)
    stage.git("clone", "--quiet", str(stage.remote.path), str(stage.folder / "clone"))
    code, _, warnings = run(stage, "apply")
    assert (code, stage.aliases(model)) == (0, {"champion": version}), warnings


def replacements(stage: Stage, model: str) -> list[tuple[int | None, int | None]]:
    """What the ledger tells of numbers that stand for other versions."""
    found = (each.fact for each in stage.records(model) if each.fact.kind is RecordKind.REPLACED)
    return [(each.from_version, each.to_version) for each in found]
