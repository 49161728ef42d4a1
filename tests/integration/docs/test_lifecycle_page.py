"""The page on a model's life: each of its steps names files and tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "lifecycle.md").read_text()
_ROW = re.compile(r"^\| (?!---|what the guides do)(?P<step>.+) \| (?P<does>.+) \| (?P<tests>.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(?P<file>[\w/]+\.py)(?:::(?P<test>test_\w+))?`")
_FILE = re.compile(r"`((?:tabular|autolog|deep-learning)/[\w.-]*)")


def test_every_step_is_taken_and_tested() -> None:
    """The sections are S1 to S8; each row has a test that is there, and each file of the examples that it names is there."""
    assert re.findall(r"^## (S\d)\.", PAGE, re.MULTILINE) == [f"S{number}" for number in range(1, 9)]
    rows = list(_ROW.finditer(PAGE))
    assert len(rows) > 25
    missing = []
    for row in rows:
        tests = list(_TEST.finditer(row["tests"]))
        absent = [found[0] for found in tests if not is_defined(found["file"], found["test"])]
        absent += [name for name in _FILE.findall(row["does"]) if not (ROOT / "examples" / name).exists()]
        if absent or not tests:
            missing.append((row["step"], absent))
    assert missing == []


def is_defined(file: str, test: str | None) -> bool:
    """Whether the file is among the tests, and defines the test where one is named."""
    path = ROOT / "tests" / file
    return path.is_file() and (test is None or f"def {test}(" in path.read_text())
