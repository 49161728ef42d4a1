"""`promoter audit export`: what is in the file, who may read it, and what is there when something goes wrong."""

from __future__ import annotations

import csv
import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import NewAuditRecord, RecordKind
from tests.integration.cli.conftest import Run
from tests.support.fixtures.ledger import NOW


def test_a_file_of_lines(run: Run, ledger_here: Path) -> None:
    """Whole, and only for whoever made it; nothing else is left lying about."""
    code, out, err = run("export", "--output", "ledger.jsonl")
    assert (code, err) == (0, "")
    file = ledger_here / "ledger.jsonl"
    lines = file.read_bytes().splitlines()
    assert out == f"ledger.jsonl: {len(lines)} lines.\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {each.name for each in ledger_here.iterdir()} <= {
        "ledger.jsonl",
        "promoter.db",
        "promoter.db-wal",
        "promoter.db-shm",
    }
    assert json.loads(lines[0])["promoter-ledger"] == 1
    assert "head" in json.loads(lines[-1])
    assert run("export")[1].encode().splitlines()[1:] == lines[1:]
    assert json.loads(run("export", "--after", "20")[1].splitlines()[0])["from"] == 21


def test_a_spreadsheet_runs_nothing(run: Run, ledger_here: Path) -> None:
    """Whoever may write a reason writes no formula; commas, quotes and line breaks stay in their cell."""
    ledger = SqlLedger.open(f"sqlite:///{ledger_here / 'promoter.db'}")
    reasons = ['=HYPERLINK("http://evil.example","x")', "+1", "-1", "@SUM(A1)", "\t=1", 'a, "b"\nc', "ärger"]
    for reason in reasons:
        ledger.record_observed_moves([NewAuditRecord(NOW, RecordKind.OBSERVED, "fraud", "shadow", None, 1, reason=reason)])
    ledger.close_connections()
    code, out, _ = run("export", "--format", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    told = [row["reason"] for row in rows if row["alias"] == "shadow"]
    assert told == [*(f"'{each}" for each in reasons[:5]), *reasons[5:]]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert [int(row["id"]) for row in rows] == sorted(int(row["id"]) for row in rows)


def test_events_as_channels_get_them(run: Run) -> None:
    """Each line is a CloudEvent of version 1.0."""
    code, out, _ = run("export", "--format", "cloudevents")
    events = [JSONFormat().read(CloudEvent, line) for line in out.splitlines()]
    assert (code, len(events)) == (0, len({each.get_id() for each in events}))
    assert {each.get_type() for each in events} >= {"dev.promoter.alias.changed", "dev.promoter.alias.drifted"}


def test_a_reader_that_stops_early(ledger_here: Path) -> None:
    """As `head` does: no complaint."""
    command = f"{sys.executable} -m promoter audit export | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=ledger_here, capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(done.stdout)["promoter-ledger"] == 1
    assert done.stderr == ""


def test_what_cannot_be_written_leaves_the_old_file(run: Run, ledger_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle: neither half a file nor a temporary one."""
    (ledger_here / "ledger.jsonl").write_text("the last one\n")
    from promoter.cli import audit

    def full(_: object, to: io.BufferedWriter) -> int:
        to.write(b"half a line")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit, "_write_lines", full)
    code, _, err = run("export", "--output", "ledger.jsonl")
    assert code == 1
    assert "ledger.jsonl: cannot be written: No space left on device" in " ".join(err.split())
    assert (ledger_here / "ledger.jsonl").read_text() == "the last one\n"
    assert [each.name for each in ledger_here.iterdir() if each.name.startswith(".ledger")] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "nowhere/ledger.jsonl"], "nowhere/ledger.jsonl: cannot be written: No such file or directory"),
        (["--after", "999"], "it ends with entry 35: there is nothing behind 999"),
        (["--format", "xml"], "xml"),
    ],
)
def test_what_is_refused(run: Run, words: list[str], said: str) -> None:
    """In words, and without a file."""
    code, out, err = run("export", *words)
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err
