"""Where nobody has written a ledger, commands that ask it say so: "there was nothing" would be taken for the truth."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from promoter.__main__ import main


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "list"],
        ["audit", "verify"],
        ["audit", "export"],
        ["audit", "rerun", "--all"],
        ["audit", "prune", "--older-than", "400d"],
        ["history", "fraud@champion"],
        ["history", "fraud@champion", "--at", "1h"],
        ["state", "--at", "1h"],
        ["notifications", "list"],
        ["registry", "show"],
    ],
    ids=" ".join,
)
def test_that_there_is_none_is_told(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the place that was looked at, and which setting names another one; exit code 1, and no file is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMOTER_DATABASE_URL", "sqlite:///promoter.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["promoter", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"there is none at {tmp_path / 'promoter.db'}" in told.err
    assert "PROMOTER_DATABASE_URL" in told.err
    assert list(tmp_path.iterdir()) == []
