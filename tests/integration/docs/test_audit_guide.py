"""The guide to audits: its shell script checks a real export, and its commands are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from promoter.application.audit import export_ledger
from promoter.domain.ledger.problems import ProblemKind
from tests.support.fixtures.ledger import NOW, fill

GUIDE = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
_FENCE = re.compile(r"^```(?:sh)?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [found["text"] for found in _FENCE.finditer(GUIDE)]
SCRIPT = next(text for text in BLOCKS if text.startswith("# check.sh\n"))
COMMANDS = [
    line.partition("  #")[0].partition(" > ")[0].removeprefix("PROMOTER_CHECKPOINT_KEY=checkpoint.pem ").strip()
    for text in BLOCKS
    for line in text.splitlines()
    if "promoter " in line and text != SCRIPT
]


def test_its_script_follows_the_chain(tmp_path: Path) -> None:
    """With nothing but a shell and `sha256sum`; and it notices a letter."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}")
    fill(ledger)
    head = ledger.read_chain_head()
    lines = list(export_ledger(ledger, 0, NOW))
    ledger.close_connections()
    (tmp_path / "check.sh").write_text(SCRIPT)

    def said(lines: list[bytes]) -> str:
        (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines))
        return subprocess.run(["sh", "check.sh"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert said(lines) == f"{head.entry} entries, the last is {head.hash}\n"
    lines[5] = lines[5].replace(b"alice", b"bobby")
    assert said(lines) == "wrong at entry 6\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_commands(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every option is one, on a ledger that is there: none is refused for how it is written."""
    monkeypatch.chdir(tmp_path)
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}")
    fill(ledger)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(export_ledger(ledger, 0, NOW)))
    ledger.close_connections()
    if command.endswith("checkpoint"):
        monkeypatch.setenv("PROMOTER_CHECKPOINT_KEY", str(tmp_path / "checkpoint.pem"))
        _run("promoter approve --new-key checkpoint.pem --by promoter", monkeypatch)
    ended = _run(command.replace("ed25519:...", "ed25519:" + "A" * 43 + "="), monkeypatch)
    assert ended in ([0, 1] if "--key" in command else [0]), capsys.readouterr()


def _run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


def test_it_tells_of_every_problem() -> None:
    """And of none that there is not."""
    table = GUIDE.partition("| problem | means |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.count("|") > 2]
    assert {word for cell in cells for word in re.findall(r"`(\w+)`", cell)} == {each.value for each in ProblemKind}
