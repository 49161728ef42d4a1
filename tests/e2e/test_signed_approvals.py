"""Signed approvals on a real MLflow server: given by command, copied in vain, void when a metric or the policy changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promoter.domain.approvals import TAG_VALUE_LIMIT, build_approval_tag_key
from tests.support.approval_site import COPIED, PASSPHRASE, POLICY, ApprovalSite, command_in
from tests.support.fixtures.git import git
from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_version


@pytest.fixture
def approval_site(
    tmp_path: Path,
    mlflow_server: SharedMlflow,
    mlflow_client: Any,
    fresh_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> ApprovalSite:
    """A site with version 1 of a model, whose val_auc is 0.95 and which has the tag `approved_by`."""
    environment = {"MLFLOW_TRACKING_URI": mlflow_server.uri, "PROMOTER_DATABASE_URL": f"sqlite:///{tmp_path / 'promoter.db'}"}
    run = command_in(tmp_path, environment, monkeypatch, capsys)
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


@pytest.mark.slow
def test_a_person_is_asked(approval_site: ApprovalSite) -> None:
    """For the passphrase, which is not shown, and whether to sign; `n` signs nothing, `y` signs."""
    new = ["approve", "--new-key", "locked.pem", "--by", "alice"]
    answers = {"Passphrase for the new key": PASSPHRASE, "Repeat for confirmation": PASSPHRASE}
    code, made = approval_site.at_a_terminal(new, answers)
    assert code == 0
    assert b"ENCRYPTED" in (approval_site.folder / "locked.pem").read_bytes()
    approval_site.approvers(made.splitlines()[-1].replace("[]", "[risk]"))
    sign = ["approve", f"{approval_site.model}/1", "--by", "alice", "--key", "locked.pem", "--policy", "champion"]
    code, refused = approval_site.at_a_terminal(sign, {"Passphrase of": PASSPHRASE, "Sign this as alice?": "n"})
    assert (code, refused.splitlines()[-1]) == (1, "promoter: approve: nothing was signed")
    assert approval_site.told() == []
    code, signed = approval_site.at_a_terminal(sign, {"Passphrase of": PASSPHRASE, "Sign this as alice?": "y"})
    assert code == 0
    assert approval_site.told() == ["alice (risk): approved"]
    assert PASSPHRASE not in made + refused + signed
