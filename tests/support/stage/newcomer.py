"""Somebody who copies an example into a repository of their own, and follows its README."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from promoter.demo.training import QUIET_ENVIRONMENT
from tests.support.fixtures.git import git


class Newcomer:
    """Somebody in a copy of the example, with a model of their own on the shared server."""

    def __init__(self, example: Path, folder: Path, uri: str, names: tuple[str, str], **variables: str) -> None:
        """`names`: the model's name in the example, and the one that it gets instead. `variables`: further settings."""
        named, model = names
        self.folder, self.model, self.experiment = folder, model, f"experiment-{model}"
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "PROMOTER_", "GIT_"))}
        ledger = f"sqlite:///{folder.with_suffix('.db')}"
        self._environment = (
            kept
            | QUIET_ENVIRONMENT
            | {
                "MLFLOW_TRACKING_URI": uri,
                "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "5",
                "PROMOTER_REPO": ".",
                "PROMOTER_DATABASE_URL": ledger,
            }
            | variables
        )
        shutil.copytree(example, folder, ignore=shutil.ignore_patterns("__pycache__"))
        registry = folder / "registry.yaml"
        registry.write_text(registry.read_text().replace(named, model))
        git(folder, "init", "-q", "--initial-branch", "main")
        self.commit("Manage the model")

    def script(self, name: str, *words: str, code: int = 0) -> str:
        """Run a script of the example, which ends with that code. Return what it prints, with its errors where it fails."""
        return self._run(str(self.folder / name), *words, code=code, errors=code != 0)

    def promoter(self, *words: str, code: int = 0) -> str:
        """Run a command of Promoter, which ends with that code; return what it prints."""
        return self._run("-m", "promoter", *words, code=code)

    def state(self, alias: str, version: int) -> None:
        """Commit the version to the registry's file."""
        registry = self.folder / "registry.yaml"
        line = rf"(\b{self.model}:[^{{]*(?:{{aliases: {{)?.*?\b{alias}: {{)(?:version: \d+, )?"
        stated = re.sub(line, rf"\g<1>version: {version}, ", registry.read_text(), count=1, flags=re.DOTALL)
        registry.write_text(stated)
        self.commit(f"{alias} is v{version}")

    def commit(self, message: str) -> None:
        """Commit everything."""
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-q", "-m", message)

    def _run(self, *words: str, code: int = 0, errors: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr * errors
