"""`promoter audit rerun` and `promoter audit prune` on a real ledger: words in 80 columns, Markdown, JSON and exit codes."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from promoter.cli import audit, audit_rerun
from promoter.container import Container
from promoter.settings import Settings
from tests.support.app import POLICY, App
from tests.support.fakes.registry import FakeRegistry, FakeRepository

MODELS = "m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def app(tmp_path: Path) -> App:
    """v1 is the champion, v2 could not be ranked, v3 was chosen."""
    made = App(tmp_path, FakeRegistry(), FakeRepository())
    made.mlflow.version("m", auc=0.8)
    made.mlflow.place("m", "champion", 1)
    made.commit(MODELS, p=POLICY)
    made.converge()
    made.mlflow.version("m")
    for auc in (None, 0.9):
        made.time.pass_time(minutes=5)
        if auc:
            made.mlflow.version("m", auc=auc)
        made.converge()
    assert made.aliases() == {"champion": 3}
    return made


@pytest.fixture
def run(app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program: exit code, output, errors. Nobody but the ledger is there to ask."""

    def built() -> Container:
        return Container(Settings(database_url=app.settings.database_url), clock=app.time)

    for command in (audit_rerun, audit):
        monkeypatch.setattr(command, "build_container", built)

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["promoter", "audit", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(str(ended.value.code)), told.out, told.err

    return ran


def decisions(app: App) -> dict[str, int]:
    """The number of the last decision of each purpose."""
    return {str(each.purpose): each.id for each in app.ledger.iterate_decisions()}


def alter(app: App, number: int, **changed: Any) -> None:
    """Change fields of a recorded tree, straight in the database."""
    raw = sqlite3.connect(app.folder / "promoter.db")
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {name}")
    (told,) = raw.execute("SELECT body FROM decisions WHERE id = ?", (number,)).fetchone()
    body = json.loads(told)
    body["tree"] |= changed
    raw.execute("UPDATE decisions SET body = ? WHERE id = ?", (json.dumps(body), number))
    raw.commit()
    raw.close()


def test_the_same_is_said_in_words(run: Run, app: App) -> None:
    """What it stood on, the tree, and that it is the same; no line is longer than the terminal is wide."""
    gate = decisions(app)["gate"]
    code, out, err = run("rerun", str(gate))
    assert (code, err) == (0, "")
    recorded = app.ledger.find_decision(gate)
    assert recorded is not None
    assert max(map(len, out.splitlines())) <= 80
    lines = " ".join(out.split())
    for told in (
        f"decision {gate}: m@champion v3, gate, 2026-11-23 12:10:00 UTC",
        f"policy p its file {recorded.tree['policy_digest']}",
        f"evidence {recorded.evidence_digest}",
        "metric auc beats champion by 0.005 saw 0.9, expected at least 0.805 (champion v1 has 0.8)",
        "The same: every field of the tree is as it was recorded.",
    ):
        assert told in lines


def test_a_difference_is_a_table(run: Run, app: App) -> None:
    """Field, what was recorded, what comes out now; exit code 1, in every format."""
    gate = decisions(app)["gate"]
    alter(app, gate, verdict="fail", enforcement="audit")
    code, out, _ = run("rerun", str(gate))
    assert code == 1
    assert "Not the same: 2 fields of the tree are not as recorded." in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("FIELD", "verdict", "enforcement"))]
    assert rows[0] == ["FIELD", "RECORDED", "NOW"]
    assert sorted(rows[1:]) == [["enforcement", '"audit"', '"enforce"'], ["verdict", '"fail"', '"pass"']]
    code, out, _ = run("rerun", str(gate), "--format", "markdown")
    assert code == 1
    assert '| verdict | "fail" | "pass" |' in out
    code, out, _ = run("rerun", str(gate), "--format", "json")
    told = json.loads(out)
    assert (code, told["schema"], told["ending"], told["purpose"], told["tree"]["verdict"]) == (
        1,
        1,
        "different",
        "gate",
        "pass",
    )
    assert {"field": "verdict", "recorded": '"fail"', "now": '"pass"'} in told["differences"]


def test_all_of_them_in_a_table(run: Run, app: App) -> None:
    """Counts by how they ended; each that is not the same is named, and alone decides the exit code."""
    count = len(list(app.ledger.iterate_decisions()))
    code, out, _ = run("rerun", "--all")
    assert code == 0
    assert out.splitlines()[0].split() == ["SAME", "DIFFERENT", "DROPPED", "OLDER", "BROKEN"]
    assert out.splitlines()[1].split() == [str(count), "0", "0", "0", "0"]
    assert out.splitlines()[-1] == f"{count} of {count} decisions come out the same."
    gate = decisions(app)["gate"]
    alter(app, gate, verdict="fail")
    code, out, _ = run("rerun", "--all")
    assert code == 1
    assert f"{gate}" in out
    assert 'verdict was "fail", is "pass"' in " ".join(out.split())
    assert f"1 of {count} decisions could not be made again as they were recorded." in out
    code, out, _ = run("rerun", "--all", "--format", "json")
    told = json.loads(out)
    assert (code, told["decisions"], told["same"], told["different"]) == (1, count, count - 1, 1)
    assert [each["decision"] for each in told["alarming"]] == [gate]
    code, out, _ = run("rerun", "--all", "-f", "markdown")
    assert code == 1
    assert f"| {gate} | m@champion v3 | different | " in out.replace("@&#8203;", "@")


def test_what_is_no_decision_is_refused(run: Run) -> None:
    """In words, as are both and neither of ID and --all; an empty ledger has nothing to make again."""
    code, _, err = run("rerun", "10000")
    assert code == 1
    assert "entry 10000 is no decision, and no record with a decision behind it" in " ".join(err.split())
    assert "Traceback" not in err
    for words in ((), ("7", "--all")):
        code, _, err = run("rerun", *words)
        assert code == 1
        assert "give the ID of a decision or of an audit record, or --all" in " ".join(err.replace("│", " ").split())


def test_an_empty_ledger(run: Run, app: App) -> None:
    """Is none that fails."""
    app.close()
    (app.folder / "promoter.db").unlink()
    SqlLedger.open(f"sqlite:///{app.folder / 'promoter.db'}").close_connections()
    code, out, _ = run("rerun", "--all")
    assert (code, out.splitlines()[-1]) == (0, "The ledger has no decision.")


def test_prune_tells_first_and_drops_then(run: Run, app: App) -> None:
    """Nothing without --yes; and what is gone is told by rerun, which is no fault of the whole."""
    old = decisions(app)
    app.time.pass_time(days=500)
    app.mlflow.version("m", auc=0.95)
    app.converge()
    code, out, _ = run("prune", "--older-than", "400d")
    before = app.time.now() - timedelta(days=400)
    pieces = len({each.evidence_digest for each in app.ledger.iterate_decisions() if each.at < before})
    what = f"{pieces} pieces of evidence from before {before:%Y-%m-%d %H:%M:%S} UTC"
    assert (code, out) == (0, f"Would drop {what}; nothing is changed. Say --yes to do it.\n")
    assert run("rerun", str(old["gate"]))[0] == 0
    code, out, _ = run("prune", "--older-than", "400d", "--yes", "--by", "carol")
    assert (code, out) == (0, f"Dropped {what}. Their digests stay.\n")
    code, out, _ = run("rerun", str(old["gate"]))
    assert code == 1
    assert "Not made again: its evidence was dropped by carol on " in " ".join(out.split())
    code, out, _ = run("rerun", "--all")
    assert code == 0
    assert f"the evidence of {len([each for each in app.ledger.iterate_decisions() if each.at < before])} was dropped" in out
    assert run("rerun", str(decisions(app)["gate"]))[0] == 0
    code, out, _ = run("prune", "--older-than", "400d", "--yes", "--by", "carol", "--format", "json")
    assert (code, json.loads(out)) == (0, {"schema": 1, "before": before.isoformat(), "pieces": 0, "dropped": True})


@pytest.mark.parametrize(("age", "why"), [("400", "a duration is written like"), ("1h", "younger than 1d is always kept")])
def test_a_slip_of_the_finger_drops_nothing(run: Run, age: str, why: str) -> None:
    """What is no duration, or nearly none, is a usage error."""
    code, _, err = run("prune", "--older-than", age, "--yes")
    assert code == 1
    assert why in " ".join(err.replace("│", " ").split())
