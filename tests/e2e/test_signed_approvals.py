"""Signed approvals on a real MLflow server: given by command, copied in vain, void when a metric or the policy changes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.domain.approvals import TAG_VALUE_LIMIT, build_approval_tag_key
from tests.support.fixtures.git import git
from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_version
from tests.support.stage.terminal import at_a_terminal

POLICY = """version: 1
candidates: {{from: any, rank: {{metric: val_auc, order: highest}}}}
rules:
  - {{metric: val_auc, at_least: {bound}}}
  - {{approval: {{at_least: 2, from: [risk]}}}}
"""
PLAIN = "version: 1\nrules: [{tag: approved_by, present: true}]\n"
COPIED = "version: 1\nrules: [{tag: approved_by, present: true, copied: accept}]\n"
PASSPHRASE = "open sesame 4711"
Said = tuple[int, str, str]


class ApprovalSite:
    """A folder with a repository's files, and the command in it."""

    def __init__(self, folder: Path, client: Any, model: str, environment: dict[str, str], run: Callable[..., Said]) -> None:
        """Alice, bob and carol have keys; alice and bob are of `risk`."""
        self.folder = folder
        self.client = client
        self.model = model
        self.environment = environment
        self.run = run
        (folder / "policies").mkdir()
        self.write("policies/champion.yaml", POLICY.format(bound=0.9))
        self.write("policies/plain.yaml", PLAIN)
        self.write("registry.yaml", f"version: 1\nmodels: {{{model}: {{aliases: {{champion: {{policy: champion}}}}}}}}\n")
        lines = [self._line(name) for name in ("alice", "bob", "carol")]
        self.approvers(*(line.replace("[]", "[risk]") for line in lines[:2]), lines[2])

    def _line(self, name: str) -> str:
        code, out, err = self.run("approve", "--new-key", f"{name}.pem", "--as", name)
        assert (code, err) == (0, "")
        return out.splitlines()[-1]

    def write(self, path: str, content: str) -> None:
        """A file of the repository."""
        (self.folder / path).write_text(content)

    def approvers(self, *lines: str) -> None:
        """`approvers.yaml`."""
        self.write("approvers.yaml", "\n".join(["version: 1", "approvers:", *lines]) + "\n")

    def approve(self, name: str, version: int = 1, *more: str) -> Said:
        """Unasked."""
        return self.run("approve", f"{self.model}/{version}", "--as", name, "--key", f"{name}.pem", "--yes", *more)

    def at_a_terminal(self, arguments: list[str], answers: dict[str, str]) -> tuple[int, str]:
        """As a process, asked and answered; its exit code, and what was on the screen."""
        return at_a_terminal(self.folder, self.environment, arguments, answers)

    def explain(self, model: str = "", policy: str = "champion") -> tuple[int, dict[str, Any]]:
        """What is found of version 1; the exit code, and the last rule."""
        code, out, err = self.run("explain", f"{model or self.model}/1", "--policy", policy, "--format", "json")
        assert not err
        return code, json.loads(out)["rules"][-1]

    def told(self) -> list[str]:
        """Each approval that is seen, in words."""
        return [f"{child['rule']}: {child['value']}".split(" 20")[0] for child in self.explain()[1].get("rules", [])]


@pytest.fixture
def approval_site(
    tmp_path: Path,
    mlflow_server: SharedMlflow,
    mlflow_client: Any,
    fresh_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> ApprovalSite:
    """A desk with version 1 of a model, whose val_auc is 0.95 and which has the tag `approved_by`."""
    environment = {"MLFLOW_TRACKING_URI": mlflow_server.uri, "PROMOTER_DATABASE_URL": f"sqlite:///{tmp_path / 'promoter.db'}"}
    monkeypatch.chdir(tmp_path)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)

    def run(*arguments: str) -> Said:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["promoter", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "PRIVATE KEY" not in out + err
        return int(str(ended.value.code or 0)), out, err

    make_version(mlflow_client, fresh_name, {"val_auc": 0.95}, {"approved_by": "risk"}, mlmodel=None)
    return ApprovalSite(tmp_path, mlflow_client, fresh_name, environment, run)


def test_two_approvals_let_a_version_pass(approval_site: ApprovalSite) -> None:
    """One is not enough, the same one again is not either, two are; what was signed is shown, and what came of it is told."""
    assert approval_site.explain()[0] == 3
    code, out, err = approval_site.approve("alice")
    assert code == 0
    assert out.splitlines() == [
        f"alice approved {approval_site.model} v1 under policy champion.",
        "approval at_least 2 from [risk]: 1 of 2",
        "v1 under policy champion: pending",
    ]
    for shown in ("val_auc: 0.95", "metric val_auc at_least 0.9", "source", "0 of 2 approve", "note: the files differ"):
        assert shown in err
    assert approval_site.approve("alice")[0] == 0
    assert approval_site.explain()[0] == 3
    code, out, _ = approval_site.approve("bob", 1, "--format", "json")
    told = json.loads(out)
    assert (code, told["counts"], told["verdict"], told["approvals"][0]["count"], told["revision"]) == (
        0,
        True,
        "pass",
        2,
        None,
    )
    assert told["tag"]["key"] == build_approval_tag_key("champion", "bob")
    assert approval_site.explain()[0] == 0
    assert approval_site.told() == ["alice (risk): approved", "bob (risk): approved"]


@pytest.mark.slow
def test_a_metric_that_is_logged_later_voids_approvals(approval_site: ApprovalSite) -> None:
    """Explain says which metric, and both values; signed anew, it counts again."""
    assert [approval_site.approve(name)[0] for name in ("alice", "bob")] == [0, 0]
    run_id = approval_site.client.get_model_version(approval_site.model, "1").run_id
    approval_site.client.log_metric(run_id, "unused", 1.0)
    assert approval_site.explain()[0] == 0
    approval_site.client.log_metric(run_id, "val_auc", 0.93, step=1)
    assert approval_site.explain()[0] == 3
    assert approval_site.told() == [
        "alice (risk): void: val_auc was 0.95, is 0.93",
        "bob (risk): void: val_auc was 0.95, is 0.93",
    ]
    assert [approval_site.approve(name)[0] for name in ("alice", "bob")] == [0, 0]
    assert approval_site.explain()[0] == 0


@pytest.mark.slow
def test_a_policy_that_is_edited_voids_approvals(approval_site: ApprovalSite) -> None:
    """Explain says so; the policy as it was makes them count again, since that is what was signed."""
    assert [approval_site.approve(name)[0] for name in ("alice", "bob")] == [0, 0]
    approval_site.write("policies/champion.yaml", POLICY.format(bound=0.8))
    assert approval_site.explain()[0] == 3
    assert approval_site.told() == [f"{name} (risk): void: the policy has changed since" for name in ("alice", "bob")]
    approval_site.write("policies/champion.yaml", POLICY.format(bound=0.9))
    assert approval_site.explain()[0] == 0


@pytest.mark.slow
def test_a_copy_carries_no_approval(approval_site: ApprovalSite) -> None:
    """MLflow copies every tag: neither signatures nor the plain tag count on the copy, unless the policy accepts that one."""
    assert [approval_site.approve(name)[0] for name in ("alice", "bob")] == [0, 0]
    assert (approval_site.explain()[0], approval_site.explain(policy="plain")[0]) == (0, 0)
    copy = f"{approval_site.model}-copy"
    approval_site.client.copy_model_version(f"models:/{approval_site.model}/1", copy)
    tags = approval_site.client.get_model_version(copy, "1").tags
    assert {
        "approved_by",
        build_approval_tag_key("champion", "alice"),
        build_approval_tag_key("champion", "bob"),
    } <= tags.keys()

    code, found = approval_site.explain(copy)
    assert (code, found["verdict"], found["value"]) == (3, "pending", "0 of 2 approve")
    assert [child["value"] for child in found["rules"]] == [f"signed for {approval_site.model} v1, not for this version"] * 2
    code, found = approval_site.explain(copy, "plain")
    assert (code, found["verdict"]) == (3, "pending")
    approval_site.write("policies/plain.yaml", COPIED)
    assert approval_site.explain(copy, "plain")[0] == 0


@pytest.mark.slow
def test_tags_that_anybody_can_set_change_nothing(approval_site: ApprovalSite) -> None:
    """Rubbish, strangers, and a value as long as an approval may be, which MLflow keeps whole."""
    assert [approval_site.approve(name)[0] for name in ("alice", "bob")] == [0, 0]
    tags = approval_site.client.get_model_version(approval_site.model, "1").tags
    for name, value in (("mallory", tags[build_approval_tag_key("champion", "alice")]), ("carol", "x" * TAG_VALUE_LIMIT)):
        approval_site.client.set_model_version_tag(approval_site.model, "1", build_approval_tag_key("champion", name), value)
    assert approval_site.explain()[0] == 0
    assert approval_site.told()[2:] == ["carol: not among [risk]", "mallory: not in approvers.yaml"]
    assert (
        len(approval_site.client.get_model_version(approval_site.model, "1").tags[build_approval_tag_key("champion", "carol")])
        == TAG_VALUE_LIMIT
    )


def test_a_committed_policy_is_taken_by_itself(approval_site: ApprovalSite) -> None:
    """Without --policy it is the one of the model's aliases that asks for approvals; the revision is told."""
    git(approval_site.folder, "init", "--quiet")
    git(approval_site.folder, "add", "registry.yaml", "approvers.yaml", "policies")
    git(approval_site.folder, "commit", "--quiet", "--message", "Start")
    code, out, err = approval_site.approve("alice", 1, "--format", "json")
    assert code == 0
    told = json.loads(out)
    assert (told["policy"], told["revision"], told["notes"]) == ("champion", git(approval_site.folder, "rev-parse", "HEAD"), [])
    assert "differ from the last commit" not in err
    approval_site.write("policies/second.yaml", POLICY.format(bound=0.5))
    aliases = "{champion: {policy: champion}, challenger: {policy: second}}"
    approval_site.write("registry.yaml", f"version: 1\nmodels: {{{approval_site.model}: {{aliases: {aliases}}}}}\n")
    code, _, err = approval_site.approve("alice")
    assert code == 1
    assert err == (
        f"promoter: registry.yaml: several policies of the aliases of `{approval_site.model}` ask for approvals "
        "(give one of them: --policy champion, --policy second)\n"
    )
    assert approval_site.approve("alice", 1, "--policy", "second")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--as", "carol", "--key", "carol.pem"], "policies: `champion` does not ask `carol`, but [risk] (put carol into"),
        (["--as", "dave", "--key", "bob.pem"], "approvers.yaml: there is no approver `dave` (it has alice, bob, carol; "),
        (["--as", "alice", "--key", "bob.pem"], "approvers.yaml: the key of alice is another one than that which is to sign"),
        (["--as", "alice", "--key", "no.pem"], "key: no.pem: cannot be read: No such file or directory"),
        (["--as", "alice", "--key", "shared.pem"], "key: shared.pem can be read by others (mode 0640) (chmod 600 shared.pem)"),
        (["--as", "alice", "--key", "text.pem"], "key: text.pem: not a private key in PEM (PKCS #8 or OpenSSH)"),
        (["--as", "alice", "--key", "policies"], "key: policies: cannot be read: Is a directory"),
        (["--as", "alice", "--key", "locked.pem"], "key: locked.pem: it is encrypted, and no passphrase was given"),
        (["--as", "alice", "--key", "alice.pem"], "approve: nothing was signed: this is no terminal to confirm it on"),
        (["--as", "alice", "--key", "alice.pem", "--policy", "plain"], "policies: `plain` has no approval rule: an approval"),
        (["--as", "alice", "--key", "alice.pem", "--policy", "none"], "policies: there is no policy `none` (known: champion,"),
        (["--as", "alice", "--new-key", "alice.pem"], "--new-key only makes a key"),
        (["--as", "alice"], "give --key FILE, or set PROMOTER_APPROVAL_KEY_FILE"),
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
        assert approval_site.run("approve", "--new-key", "locked.pem", "--as", "alice")[0] == 0
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
    code, out, err = approval_site.run("approve", "--new-key", "alice.pem", "--as", "alice")
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


@pytest.mark.slow
def test_a_person_is_asked(approval_site: ApprovalSite) -> None:
    """For the passphrase, which is not shown, and whether to sign; `n` signs nothing, `y` signs."""
    new = ["approve", "--new-key", "locked.pem", "--as", "alice"]
    answers = {"Passphrase for the new key": PASSPHRASE, "Repeat for confirmation": PASSPHRASE}
    code, made = approval_site.at_a_terminal(new, answers)
    assert code == 0
    assert b"ENCRYPTED" in (approval_site.folder / "locked.pem").read_bytes()
    approval_site.approvers(made.splitlines()[-1].replace("[]", "[risk]"))
    sign = ["approve", f"{approval_site.model}/1", "--as", "alice", "--key", "locked.pem", "--policy", "champion"]
    code, refused = approval_site.at_a_terminal(sign, {"Passphrase of": PASSPHRASE, "Sign this as alice?": "n"})
    assert (code, refused.splitlines()[-1]) == (1, "promoter: approve: nothing was signed")
    assert approval_site.told() == []
    code, signed = approval_site.at_a_terminal(sign, {"Passphrase of": PASSPHRASE, "Sign this as alice?": "y"})
    assert code == 0
    assert approval_site.told() == ["alice (risk): approved"]
    assert PASSPHRASE not in made + refused + signed
