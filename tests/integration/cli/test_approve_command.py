"""`promoter approve` in this process, on a registry in memory: what is refused, and what a new key is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from promoter.cli import approve, explain
from promoter.container import Container
from promoter.domain.observed import ModelVersion
from promoter.settings import load_settings
from tests.support.approval_site import PASSPHRASE, ApprovalSite, command_in
from tests.support.fakes.registry import FakeRegistry


class FakeClient:
    """What these tests ask of MLflow's client."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def get_model_version(self, model: str, version: str) -> ModelVersion:
        """The version as it is now."""
        return self._registry.models[model].versions[int(version)]


@pytest.fixture
def approval_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> ApprovalSite:
    """A site with version 1 of `m`, whose val_auc is 0.95 and which has the tag `approved_by`."""
    registry = FakeRegistry()
    registry.version("m", {"approved_by": "risk"}, val_auc=0.95)
    for command in (approve, explain):
        monkeypatch.setattr(command, "build_container", lambda: Container(load_settings(), registry=registry))
    environment = {"PROMOTER_DATABASE_URL": f"sqlite:///{tmp_path / 'promoter.db'}"}
    run = command_in(tmp_path, environment, monkeypatch, capsys)
    return ApprovalSite(tmp_path, FakeClient(registry), "m", environment, run)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--by", "carol", "--key", "carol.pem"], "policies: `champion` does not ask `carol`, but [risk] (put carol into"),
        (["--by", "dave", "--key", "bob.pem"], "approvers.yaml: there is no approver `dave` (it has alice, bob, carol; "),
        (["--by", "alice", "--key", "bob.pem"], "approvers.yaml: the key of alice is another one than that which is to sign"),
        (["--by", "alice", "--key", "no.pem"], "key: no.pem: cannot be read: No such file or directory"),
        (["--by", "alice", "--key", "shared.pem"], "key: shared.pem can be read by others (mode 0640) (chmod 600 shared.pem)"),
        (["--by", "alice", "--key", "text.pem"], "key: text.pem: not a private key in PEM (PKCS #8 or OpenSSH)"),
        (["--by", "alice", "--key", "policies"], "key: policies: cannot be read: Is a directory"),
        (["--by", "alice", "--key", "locked.pem"], "key: locked.pem: it is encrypted, and no passphrase was given"),
        (["--by", "alice", "--key", "alice.pem"], "approve: nothing was signed: this is no terminal to confirm it on"),
        (["--by", "alice", "--key", "alice.pem", "--policy", "plain"], "policies: `plain` has no approval rule: an approval"),
        (["--by", "alice", "--key", "alice.pem", "--policy", "none"], "policies: there is no policy `none` (known: champion,"),
        (["--by", "alice", "--new-key", "alice.pem"], "--new-key only makes a key"),
        (["--by", "alice"], "give --key FILE, or set PROMOTER_APPROVAL_KEY_FILE"),
    ],
)
def test_what_is_refused(approval_site: ApprovalSite, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str) -> None:
    """In words, with what to do, and without a tag on the version."""
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123  # pytest's own says that it is a terminal to nobody
    (approval_site.folder / "alice.pem").chmod(0o600)
    for name, mode, content in (("shared", 0o640, None), ("text", 0o600, b"secret-text")):
        (approval_site.folder / f"{name}.pem").write_bytes(content or (approval_site.folder / "alice.pem").read_bytes())
        (approval_site.folder / f"{name}.pem").chmod(mode)
    with monkeypatch.context() as patched:
        patched.setenv("PROMOTER_APPROVAL_KEY_PASSPHRASE", PASSPHRASE)
        assert approval_site.run("approve", "--new-key", "locked.pem", "--by", "alice")[0] == 0
    code, out, err = approval_site.run("approve", f"{approval_site.model}/1", *arguments)
    assert (code, out) == (1, "")
    assert told in " ".join(err.split()).replace("│ ", "")
    assert "secret-text" not in err
    assert approval_site.client.get_model_version(approval_site.model, "1").tags.keys() == {"approved_by"}


def test_a_new_key_is_its_owners_alone(approval_site: ApprovalSite) -> None:
    """Nobody else can read the file, what is there is not overwritten, and the line that is printed is what a reader takes."""
    file = approval_site.folder / "alice.pem"
    before = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    code, out, err = approval_site.run("approve", "--new-key", "alice.pem", "--by", "alice")
    assert (code, out) == (1, "")
    assert err == "promoter: key: alice.pem is there already, and is not overwritten (give another name)\n"
    assert file.read_bytes() == before
    assert approval_site.run("validate")[0] == 0


def test_an_expired_key_approves_nothing(approval_site: ApprovalSite) -> None:
    """What it signed before counts no more, and it signs nothing more."""
    assert approval_site.approve("alice")[0] == 0
    text = (approval_site.folder / "approvers.yaml").read_text()
    alice = text.splitlines()[2]
    approval_site.write("approvers.yaml", text.replace(alice, alice.replace("}", ", until: 2026-01-01T00:00:00Z}")))
    assert approval_site.told() == ["alice (risk): the key was valid until"]
    code, _, err = approval_site.approve("alice")
    assert code == 1
    assert "the key of alice was valid until 2026-01-01 00:00 UTC (commit a new one)" in err
