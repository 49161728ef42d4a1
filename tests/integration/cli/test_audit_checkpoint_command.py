"""`promoter audit checkpoint`: what it tells, which keys it refuses, and that it never tells one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from promoter.domain.ledger.chain import LedgerHead
from promoter.settings import load_settings
from tests.integration.cli.conftest import Run


def key_file(folder: Path, passphrase: bytes | None = None, mode: int = 0o600) -> Path:
    """A new one."""
    cipher = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cipher)
    path = folder / "checkpoint.pem"
    path.write_bytes(pem)
    path.chmod(mode)
    return path


def test_what_is_printed_is_what_verifies(run: Run, ledger_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key and the head, as `audit verify` takes them."""
    key = key_file(ledger_here)
    monkeypatch.setenv("PROMOTER_CHECKPOINT_KEY", str(key))
    code, out, err = run("checkpoint")
    assert (code, err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert LedgerHead.parse_trailer(told["head"])
    assert "PRIVATE" not in out
    made = json.loads(run("checkpoint", "--format", "json")[1])
    assert (made["schema"], made["key"], made["head"]["entry"]) == (1, told["key"], int(told["entry"]))
    code, out, _ = run("verify", "--head", told["head"], "--format", "json")
    assert (code, json.loads(out)["vouching"]["given"]) == (0, 1)
    code, out, _ = run("verify", "--key", told["key"], "--format", "json")
    assert code == 1, "`fill` has another one's checkpoint in it"
    assert [each["problem"] for each in json.loads(out)["problems"]] == ["signature"]


def test_a_key_that_cannot_be_used(run: Run, ledger_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not set, not there, readable by others, with a passphrase, no key at all: which file it is, and what to do."""
    code, _, err = run("checkpoint")
    assert (code, "PROMOTER_CHECKPOINT_KEY" in err) == (1, True)
    monkeypatch.setenv("PROMOTER_CHECKPOINT_KEY", str(ledger_here / "checkpoint.pem"))
    assert "cannot be read: No such file or directory" in " ".join(run("checkpoint")[2].split())
    for make, said in (
        (lambda: key_file(ledger_here, mode=0o644), "can be read by others (mode 0644)"),
        (lambda: key_file(ledger_here, b"hunter2"), "it has a passphrase, and there is nobody to ask for it"),
        (lambda: key_file(ledger_here).write_text("hunter2"), "checkpoint.pem"),
    ):
        make()
        code, out, err = run("checkpoint")
        assert (code, out) == (1, "")
        assert said in " ".join(err.split())
        assert "hunter2" not in err
        assert "Traceback" not in err


def test_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the environment, and from the file."""
    monkeypatch.chdir(tmp_path)
    assert load_settings().checkpoint_key is None
    (tmp_path / "settings.yaml").write_text("checkpoint_key: /run/keys/a.pem\n")
    monkeypatch.setenv("PROMOTER_CONFIG", "settings.yaml")
    assert load_settings().checkpoint_key == Path("/run/keys/a.pem")
    monkeypatch.setenv("PROMOTER_CHECKPOINT_KEY", "/run/keys/b.pem")
    assert load_settings().checkpoint_key == Path("/run/keys/b.pem")
