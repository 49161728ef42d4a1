"""The guide to policies: every example in it is a file of a GitOps repository, and its cases come out as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from promoter.adapters.git.checkout import WorkTree
from promoter.adapters.yaml import YamlDocuments
from promoter.domain.policy.rules import RULES

GUIDE = Path(__file__).parents[3] / "docs" / "policies.md"
_EXAMPLE = re.compile(r"^```yaml\n# (?P<path>[\w/.-]+\.yaml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The guide's files, and a registry that has no models."""
    for found in _EXAMPLE.finditer(GUIDE.read_text()):
        file = tmp_path / found["path"]
        assert not file.exists(), f"the guide has two files {found['path']}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found["text"])
    (tmp_path / "registry.yaml").write_text("version: 1\nmodels: {}\n")
    return tmp_path


def test_the_guide_shows_every_kind_of_rule(repository: Path) -> None:
    """With the same parser as production; and every policy of the guide has its cases."""
    policies = YamlDocuments().parse_declaration(WorkTree(repository).read_sources(), None).policies
    shown = {each.kind for policy in policies.values() for rule in policy.document.rules for each in rule.walk_rules()}
    assert shown == {rule.kind for rule in RULES}
    assert {path.stem for path in (repository / "policies" / "tests").iterdir()} == set(policies)


def test_every_case_of_the_guide_comes_out_as_it_says(repository: Path) -> None:
    """By the command that the guide tells of."""
    command = [sys.executable, "-m", "promoter", "policy", "test"]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
