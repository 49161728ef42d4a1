"""The page on security: each attack in its table names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
_ROW = re.compile(r"^\| (?P<attack>.+?) \| .* \| (?P<tests>`[a-z0-9]+/[^|]+`) \|$", re.MULTILINE)
_NAME = re.compile(r"`(?P<file>[\w/]+\.py)(?:::(?P<test>test_\w+))?`")


def test_every_attack_names_a_test_that_there_is() -> None:
    """By its file and its name, so that the table cannot promise what nobody checks."""
    tests = ROOT / "tests"
    files = {path.relative_to(tests).as_posix(): path.read_text() for path in tests.rglob("test_*.py")}
    rows = [(found["attack"], list(_NAME.finditer(found["tests"]))) for found in _ROW.finditer(PAGE)]
    assert len(rows) > 90
    missing = [
        (attack, found[0])
        for attack, names in rows
        for found in names
        if found["file"] not in files or (found["test"] and f"def {found['test']}(" not in files[found["file"]])
    ]
    assert missing == []
    assert all(names for _, names in rows)
