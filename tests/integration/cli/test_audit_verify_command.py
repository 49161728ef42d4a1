"""`promoter audit verify` on real ledgers and exports: words in 80 columns, Markdown, JSON, exit codes, and what is refused."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.domain.approvals import SigningKey
from promoter.domain.ledger.chain import GENESIS_HASH, add_ledger_trailer, encode_canonical
from tests.integration.cli.conftest import Run
from tests.support.fixtures.ledger import SIGNER


def edit(folder: Path) -> None:
    """Somebody changes who it was, straight in the database."""
    raw = sqlite3.connect(folder / "promoter.db")
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {name}")
    raw.execute("UPDATE records SET body = replace(body, 'alice', 'mallory') WHERE id = 4")
    raw.commit()
    raw.close()


def commit_the_head(folder: Path) -> str:
    """A repository with a commit that vouches; the head."""
    ledger = SqlLedger.open(f"sqlite:///{folder / 'promoter.db'}", read_only=True)
    head = ledger.read_chain_head()
    ledger.close_connections()
    named = ["-c", "user.name=Promoter", "-c", "user.email=promoter@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", add_ledger_trailer("Rotate", head)]):
        subprocess.run(["git", *named, *words], cwd=folder, check=True)
    return head.trailer_value


def test_a_sound_ledger(run: Run, ledger_here: Path) -> None:
    """What there is, and plainly what was not checked."""
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    assert out.startswith("The ledger is sound: 35 entries, none edited, dropped, inserted or reordered.\n")
    assert f"key      1 checkpoint of {SIGNER.public_key}, which nobody vouched for\n" in out
    assert "Not checked:\n  commits: this is no clone of the GitOps repository (--repo PATH names one)\n" in out
    commit_the_head(ledger_here)
    code, out, _ = run("verify", "--key", SIGNER.public_key)
    assert code == 0
    assert "  commits  1 vouches for it\n" in out
    assert "which you trust" in out
    assert "Not checked" not in out


def test_an_edited_record_is_named(run: Run, ledger_here: Path) -> None:
    """With its number, and what it calls itself; every line fits, but for hashes and keys, which are to be copied."""
    edit(ledger_here)
    code, out, _ = run("verify")
    assert code == 1
    assert out.startswith("The ledger is not sound: 1 problem in 35 entries.\n")
    row = next(line for line in out.splitlines() if line.startswith("4 "))
    assert row.split()[:4] == ["4", "edited", "records", "`fraud@champion`"]
    assert max(len(line) for line in out.splitlines() if not line.startswith(("  head", "  key"))) <= 80
    told = json.loads(run("verify", "--format", "json")[1])
    assert (told["schema"], told["sound"], told["entries"]) == (1, False, 35)
    assert [(each["problem"], each["entry"]) for each in told["problems"]] == [("edited", 4)]
    code, out, _ = run("verify", "--format", "markdown")
    assert (code, "| 4 | edited | records `fraud@champion` | its text was changed |" in out) == (1, True)


def forge(folder: Path, name: str) -> None:
    """Somebody gives the ledger another name, makes every actor another one, and computes every hash anew."""
    raw = sqlite3.connect(folder / "promoter.db")
    for (trigger,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {trigger}")
    tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    chained = [
        table for table in tables if {"id", "body", "hash"} <= {row[1] for row in raw.execute(f"PRAGMA table_info({table})")}
    ]
    rows = sorted((number, table, body) for table in chained for number, body in raw.execute(f"SELECT id, body FROM {table}"))
    old, previous = json.loads(rows[0][2])["ledger"], GENESIS_HASH
    for number, table, body in rows:
        facts = json.loads(body.replace(old, name).replace("alice", "mallory")) | {"previous": previous}
        text = encode_canonical(facts)
        previous = sha256(text).hexdigest()
        raw.execute(f"UPDATE {table} SET body = ?, hash = ? WHERE id = ?", (text.decode(), previous, number))
    raw.commit()
    raw.close()


def test_a_ledger_in_the_place_of_another_is_not_sound(run: Run, ledger_here: Path) -> None:
    """With another name, every actor changed and every hash computed anew; and a brand-new one in the same clone."""
    commit_the_head(ledger_here)
    assert run("verify")[0] == 0
    forge(ledger_here, "0" * 36)
    code, out, _ = run("verify")
    assert (code, "1      replaced" in out) == (1, True), out
    (ledger_here / "promoter.db").unlink()
    SqlLedger.open(f"sqlite:///{ledger_here / 'promoter.db'}").close_connections()
    code, out, _ = run("verify")
    assert (code, "it took its place" in " ".join(out.split())) == (1, True)


@pytest.mark.parametrize("how", ["another owner", "a broken clone"])
def test_a_clone_that_git_refuses_is_no_missing_clone(
    how: str, run: Run, ledger_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its commits vouch for cannot be read: that is said with git's reason, and never called sound."""
    commit_the_head(ledger_here)
    forge(ledger_here, "0" * 36)
    if how == "another owner":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    else:
        (ledger_here / ".git/config").write_text("[core\n")
    code, out, err = run("verify")
    assert (code, out) == (1, "")
    assert "git does not read the clone at" in err


def test_a_succession_is_recorded_by_a_person(run: Run, ledger_here: Path) -> None:
    """The commits of before are no problem any more, once a head that somebody kept vouches for the entry."""
    old = commit_the_head(ledger_here).split()[0]
    (ledger_here / "promoter.db").unlink()
    SqlLedger.open(f"sqlite:///{ledger_here / 'promoter.db'}").close_connections()
    code, out, _ = run("succeed", old, "--reason", "the disk is lost", "--by", "alice")
    assert code == 0
    head = next(line.removeprefix("head  ") for line in out.splitlines() if line.startswith("head"))
    code, out, _ = run("verify")
    assert (code, "no commit, given head or trusted key vouches for this entry" in " ".join(out.split())) == (1, True)
    assert run("verify", "--head", head)[0] == 0
    code, _, err = run("succeed", head.split()[0], "--reason", "x", "--by", "alice")
    assert (code, "is this very ledger" in err) == (1, True)
    code, _, err = run("succeed", "the old one", "--reason", "x", "--by", "alice")
    assert (code, "`the old one` is no name of a ledger" in err) == (1, True)


def test_a_key_that_signed_nothing(run: Run, ledger_here: Path) -> None:
    """Somebody trusts it, and expects its checkpoints."""
    (ledger_here / "promoter.db").unlink()
    SqlLedger.open(f"sqlite:///{ledger_here / 'promoter.db'}").close_connections()
    code, out, _ = run("verify", "--key", SIGNER.public_key)
    assert (code, "no checkpoint of the key" in " ".join(out.split())) == (1, True)


def test_an_export_is_verified_without_a_database(run: Run, ledger_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file and from a pipe, with a clone beside it; a head that somebody kept finds what was cut off later."""
    assert run("export", "--output", "ledger.jsonl")[0] == 0
    head = commit_the_head(ledger_here)
    (ledger_here / "promoter.db").unlink()
    monkeypatch.setenv("PROMOTER_DATABASE_URL", "nonsense://")
    code, out, _ = run("verify", "--export", "ledger.jsonl", "--head", head)
    assert code == 0
    assert "  commits  1 vouches for it\n  heads    1 that you gave\n" in out
    content = (ledger_here / "ledger.jsonl").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run("verify", "--export", "-")[0] == 0
    (ledger_here / "cut.jsonl").write_bytes(content[:-9])
    code, out, _ = run("verify", "--export", "cut.jsonl")
    assert (code, "it was cut off" in " ".join(out.split())) == (1, True)


def test_a_key_that_is_not_trusted(run: Run) -> None:
    """Whoever made the checkpoint is named, and is not who was trusted."""
    code, out, _ = run("verify", "--key", SigningKey.from_seed(b"o" * 32).public_key)
    assert code == 1
    assert "signature" in out
    assert "a key that is not trusted" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--head", "nonsense"], 1, "is no head: it has three words, LEDGER ENTRY HASH"),
        (["--key", "ssh-ed25519 AAAA"], 1, "a public key begins with ed25519:"),
        (["--repo", "nowhere"], 1, "nowhere"),
        (["--export", "nowhere.jsonl"], 1, "nowhere.jsonl: cannot be read: No such file or directory"),
        (["--export", "."], 1, ".: cannot be read: Is a directory"),
        (["--export", "promoter.db"], 1, "its first line is not that of an export"),
    ],
)
def test_what_is_refused(run: Run, words: list[str], code: int, said: str) -> None:
    """In words, and never with a traceback."""
    ended, out, err = run("verify", *words)
    assert (ended, out) == (code, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err
