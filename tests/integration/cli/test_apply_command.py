"""`promoter apply`: what moves production is what the branch says now, whatever a checkout has; past it only as oneself."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
from pathlib import Path

import pytest

from promoter.container import Container
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.audit import RecordFilter
from tests.integration.cli.conftest import Run
from tests.support.fakes.registry import FakeRegistry
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger

RULES = "version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
ME = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def registry_yaml(champion: str, shadow: int = 1, head: str = "") -> str:
    """`registry.yaml` with one model."""
    return f"version: 1\n{head}models: {{m: {{aliases: {{champion: {champion}, shadow: {shadow}}}}}}}\n"


def gated(version: int) -> str:
    """A champion that a policy gates."""
    return f"{{version: {version}, policy: champion}}"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """A registry with three versions; champion and shadow are v1."""
    made = FakeRegistry()
    for _ in range(3):
        made.version("m", auc=0.9)
    for alias in ("champion", "shadow"):
        made.place("m", alias, 1)
    monkeypatch.setattr(Container, "registry", made)
    return made


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare remote."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "remote.git"))
    return tmp_path / "remote.git"


def push(folder: Path, registry: str, message: str = "By hand", branch: str = "main") -> str:
    """Commit that `registry.yaml` in the clone, and push it; the new revision."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies/champion.yaml").write_text(RULES)
    (folder / "registry.yaml").write_text(registry)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    git(folder, "push", "--quiet", "origin", f"HEAD:{branch}")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def other(tmp_path: Path, remote: Path) -> Path:
    """Somebody else's clone, who has pushed the first state."""
    git(tmp_path, "clone", "--quiet", str(remote), str(tmp_path / "other"))
    git(tmp_path / "other", "symbolic-ref", "HEAD", "refs/heads/main")
    push(tmp_path / "other", registry_yaml(gated(1)), "Start")
    return tmp_path / "other"


@pytest.fixture
def clone(tmp_path: Path, remote: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone that one stands in; PROMOTER_REPO is not set, and there is a ledger."""
    del other
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(remote), str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PROMOTER_DATABASE_URL", begin_ledger(f"sqlite:///{tmp_path / 'ledger' / 'promoter.db'}"))
    monkeypatch.delenv("PROMOTER_REPO", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def ledger_folder(tmp_path: Path) -> Path:
    """The folder of the ledger and the mirror."""
    (tmp_path / "ledger").mkdir()
    return tmp_path / "ledger"


@pytest.fixture
def run(run_promoter: Run, registry: FakeRegistry) -> Run:
    """Runs a command in the clone."""
    del registry
    return run_promoter


def aliases(registry: FakeRegistry) -> dict[str, int]:
    """Where they are."""
    return dict(registry.models["m"].aliases)


def records(tmp_path: Path) -> list[tuple[str | None, str | None, str | None]]:
    """Actor, trigger and outcome of each change."""
    from promoter.adapters.ledger import SqlLedger

    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger/promoter.db'}", read_only=True)
    found = [each.fact for each in ledger.find_audit_records(RecordFilter(model="m")) if each.fact.outcome]
    ledger.close_connections()
    return [(fact.actor, fact.trigger, fact.outcome) for fact in found]


def test_a_clone_behind_a_rollback_undoes_nothing(
    clone: Path, other: Path, registry: FakeRegistry, run: Run, tmp_path: Path
) -> None:
    """A stale clone, whose files say v2, applies what the branch says now, v1 in good standing, and says what differs."""
    push(other, registry_yaml(gated(2)), "Promote v2")
    git(clone, "pull", "--quiet", "--ff-only")
    assert run("apply")[0] == 0
    assert aliases(registry)["champion"] == 2
    hold = "hold: {reason: bad, by: alice}"
    push(other, registry_yaml(f"{{version: 1, policy: champion, quarantine: [2], {hold}}}"), "Roll back")
    code, _, err = run("apply")
    assert (code, aliases(registry)["champion"]) == (0, 1)
    assert "not what is here: this checkout has another registry.yaml" in err
    assert "m@champion: v2 here, v1 on the branch" in err
    assert run("apply")[0] == 0
    assert aliases(registry)["champion"] == 1, "the stale clone does not move it back"
    assert {actor for actor, _, _ in records(tmp_path)} == {"Bob <bob@example.org>"}


@pytest.mark.parametrize("state", ["feature branch", "edited", "detached", "faulty"])
def test_only_the_branch_is_applied(state: str, clone: Path, registry: FakeRegistry, run: Run) -> None:
    """A feature branch, an edit, an old commit or a file with faults in the checkout moves nothing."""
    if state == "feature branch":
        git(clone, "checkout", "--quiet", "-b", "feature")
        push(clone, registry_yaml("3", shadow=3), branch="feature")
    elif state == "detached":
        git(clone, "checkout", "--quiet", "--detach")
        (clone / "registry.yaml").write_text(registry_yaml("3"))
        git(clone, "commit", "--quiet", "--all", "--message", "Mine")
    else:
        (clone / "registry.yaml").write_text(registry_yaml("3") if state == "edited" else "models: [\n")
    code, _, err = run("apply")
    assert (code, aliases(registry)) == (0, {"champion": 1, "shadow": 1})
    assert "this checkout has another registry.yaml" in err


def test_a_clean_checkout_is_not_talked_about(clone: Path, run: Run) -> None:
    """Where the checkout is what the branch says, nothing is said."""
    del clone
    code, _, err = run("apply")
    assert code == 0
    assert "promoter:" not in err


def test_without_a_remote_nothing_moves(clone: Path, registry: FakeRegistry, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a laptop without any remote, it says what to do; and the path as PROMOTER_REPO is such a way."""
    git(clone, "remote", "remove", "origin")
    (clone / "registry.yaml").write_text(registry_yaml("2"))
    git(clone, "commit", "--quiet", "--all", "--message", "Mine")
    code, _, err = run("apply")
    assert (code, aliases(registry)["champion"]) == (1, 1)
    assert "no clone with a remote" in err
    assert "set PROMOTER_REPO" in err
    monkeypatch.setenv("PROMOTER_REPO", ".")
    assert run("apply")[0] == 0
    assert aliases(registry)["champion"] == 2


def test_a_remote_that_does_not_answer(clone: Path, remote: Path, registry: FakeRegistry, run: Run) -> None:
    """A fetch that fails moves nothing, also where the clone has fetched the branch before."""
    (clone / "registry.yaml").write_text(registry_yaml("2"))
    remote.rename(remote.with_name("away.git"))
    for words in (["apply"], ["apply", "--from-working-tree"]):
        code, _, err = run(*words)
        assert (code, aliases(registry)["champion"]) == (1, 1)
        assert "there is no such repository" in err


def test_several_remotes(clone: Path, remote: Path, run: Run, registry: FakeRegistry) -> None:
    """Of several remotes the one that the branch tracks counts; where nothing says which, that is refused."""
    git(clone, "remote", "add", "backup", str(remote.with_name("none.git")))
    assert run("apply")[0] == 0
    git(clone, "config", "--unset", "branch.main.remote")
    git(clone, "remote", "rename", "origin", "upstream")
    code, _, err = run("apply")
    assert code == 1
    assert "several remotes (backup, upstream)" in err
    assert aliases(registry)["champion"] == 1


def test_a_fork_is_not_the_branch(clone: Path, other: Path, tmp_path: Path, registry: FakeRegistry, run: Run) -> None:
    """A remote that lacks the revision which the ledger saw in force is a fork or an old copy: nothing moves."""
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "remote.git"), str(tmp_path / "fork.git"))
    push(other, registry_yaml(gated(2)), "Promote v2")
    assert run("apply")[0] == 0
    git(clone, "remote", "set-url", "origin", str(tmp_path / "fork.git"))
    code, _, err = run("apply")
    assert (code, aliases(registry)["champion"]) == (1, 2)
    assert "PROMOTER_REPO" in err
    assert "promoter repository accept" in err


def test_a_fork_that_is_ahead_is_not_the_branch(clone: Path, tmp_path: Path, registry: FakeRegistry, run: Run) -> None:
    """Of two remotes with other heads, neither is taken because it is called `origin`: a fork has all, and more."""
    assert run("apply")[0] == 0
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "remote.git"), str(tmp_path / "fork.git"))
    git(clone, "remote", "rename", "origin", "upstream")
    git(clone, "remote", "add", "origin", str(tmp_path / "fork.git"))
    push(clone, registry_yaml("3", shadow=3), "Mine")
    git(clone, "config", "branch.main.remote", "origin")
    code, _, err = run("apply")
    assert (code, aliases(registry)) == (1, {"champion": 1, "shadow": 1})
    assert "either may be a fork" in err
    assert "PROMOTER_REPO" in err
    git(clone, "remote", "remove", "origin")
    assert run("apply")[0] == 0
    assert aliases(registry)["champion"] == 1


@pytest.mark.parametrize("words", [["apply"], ["apply", "--from-working-tree"]])
@pytest.mark.parametrize("form", [".", "path", "file"])
def test_a_clone_is_no_repository_whose_branch_decides(
    words: list[str], form: str, clone: Path, other: Path, registry: FakeRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PROMOTER_REPO that names a clone with a remote, stale or ahead, is refused: case 5 by another way."""
    push(other, registry_yaml(gated(2)), "Promote v2")
    git(clone, "pull", "--quiet", "--ff-only")
    assert run("apply")[0] == 0
    push(other, registry_yaml("{version: 1, policy: champion, quarantine: [2], hold: {reason: bad, by: a}}"), "Roll back")
    assert run("apply")[0] == 0
    monkeypatch.setenv("PROMOTER_REPO", {".": ".", "path": str(clone), "file": f"file://{clone}"}[form])
    code, _, err = run(*words)
    assert (code, aliases(registry)["champion"]) == (1, 1)
    assert "PROMOTER_REPO is a clone that has a remote (origin)" in err


@pytest.mark.usefixtures("clone")
def test_a_rewritten_branch_is_recorded_once(
    other: Path, remote: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no daemon runs, `apply` records a forced push of unrelated history, and a refused one leaves no record."""
    from promoter.adapters.ledger import SqlLedger

    def count_rewrites() -> int:
        ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger/promoter.db'}", read_only=True)
        found = ledger.find_rewrites(limit=9)
        ledger.close_connections()
        return len(found)

    assert run("apply")[0] == 0
    git(other, "checkout", "--quiet", "--orphan", "unrelated")
    git(other, "commit", "--quiet", "--message", "Unrelated")
    git(other, "push", "--quiet", "--force", "origin", "HEAD:main")
    assert run("apply")[0] == 1
    assert count_rewrites() == 0
    monkeypatch.setenv("PROMOTER_REPO", str(remote))
    for _ in range(2):
        assert run("apply")[0] == 0
        assert count_rewrites() == 1


def test_revision_is_what_the_branch_is_at(clone: Path, other: Path, registry: FakeRegistry, run: Run) -> None:
    """`--revision` holds a job to the revision that started it: a newer branch refuses, and nothing goes back."""
    old = git(clone, "rev-parse", "HEAD")
    new = push(other, registry_yaml(gated(2)), "Promote v2")
    assert run("apply", "--revision", new)[0] == 0
    code, _, err = run("apply", "--revision", old)
    assert (code, aliases(registry)["champion"]) == (1, 2)
    assert f"is at {new[:10]} now" in err


def test_nothing_of_the_clone_runs(clone: Path, other: Path, tmp_path: Path, run: Run) -> None:
    """No hook runs, no file is checked out, and no ref of the clone moves."""
    mark = tmp_path / "mark"
    for name in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"):
        hook = clone / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.chmod(0o755)
    push(other, registry_yaml(gated(2)), "Promote v2")
    before = git(clone, "for-each-ref"), (clone / "registry.yaml").read_text()
    mark.unlink(missing_ok=True)
    assert run("apply")[0] == 0
    assert (git(clone, "for-each-ref"), (clone / "registry.yaml").read_text()) == before
    assert not mark.exists()


@pytest.mark.parametrize("way", ["helper", "header", "url"])
def test_credentials_are_those_of_the_clone(
    way: str, clone: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, registry: FakeRegistry
) -> None:
    """A helper, a header or a password in the URL of the clone's own configuration signs in; none of them is shown."""
    with GitHttpServer(tmp_path / "hosted", token="tok-5d1c7a") as hosted:
        hosted.commit_files({"registry.yaml": registry_yaml("2").encode()})
        url = hosted.url
        if way == "helper":
            helper = tmp_path / "helper"
            helper.write_text("#!/bin/sh\n[ $1 = get ] && printf 'username=x\\npassword=tok-5d1c7a\\n'\n")
            helper.chmod(0o755)
            git(clone, "config", "credential.helper", str(helper))
        elif way == "header":
            git(clone, "config", f"http.{url}.extraHeader", "Authorization: Basic eDp0b2stNWQxYzdh")
        else:
            url = url.replace("http://", "http://x:tok-5d1c7a@")
        git(clone, "remote", "set-url", "origin", url)
        monkeypatch.setenv("HOME", str(tmp_path))
        code, out, err = run("apply")
    assert (code, aliases(registry)["champion"]) == (0, 2), err
    assert "tok-5d1c7a" not in out + err


def test_from_the_working_tree_as_oneself(clone: Path, registry: FakeRegistry, run: Run, tmp_path: Path) -> None:
    """An alias without a policy moves; the record names the system's user and host; the branch's word comes back later."""
    (clone / "registry.yaml").write_text(registry_yaml(gated(1), shadow=2))
    assert run("apply", "--from-working-tree")[0] == 0
    assert aliases(registry) == {"champion": 1, "shadow": 2}
    assert set(records(tmp_path)) == {
        (ME, "apply --from-working-tree", "intended"),
        (ME, "apply --from-working-tree", "applied"),
    }
    assert run("apply")[0] == 0
    assert aliases(registry)["shadow"] == 1
    assert None not in {actor for actor, _, _ in records(tmp_path)}


def test_names_in_the_environment_are_nobody(
    clone: Path, registry: FakeRegistry, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOGNAME and USER do not decide who it was."""
    for name in ("LOGNAME", "USER", "USERNAME", "LNAME"):
        monkeypatch.setenv(name, "the-boss")
    (clone / "registry.yaml").write_text(registry_yaml(gated(1), shadow=2))
    assert run("apply", "--from-working-tree")[0] == 0
    assert {actor for actor, _, _ in records(tmp_path)} == {ME}
    assert aliases(registry)["shadow"] == 2


@pytest.mark.parametrize("tree", ["the policy", "no policy", "absent", "not listed"])
def test_a_gated_alias_stays(tree: str, clone: Path, registry: FakeRegistry, run: Run) -> None:
    """An alias that a policy gates here or on the branch stays, whatever the tree says; others move; exit code 3."""
    pruned = "version: 1\nmodels: {m: {prune: true, aliases: {shadow: 2}}}\n"
    texts = {
        "the policy": registry_yaml(gated(3), shadow=2),
        "no policy": registry_yaml("3", shadow=2),
        "absent": "version: 1\nmodels: {m: {aliases: {champion: absent, shadow: 2}}}\n",
        "not listed": pruned,
    }
    (clone / "registry.yaml").write_text(texts[tree])
    if tree == "no policy":
        (clone / "policies/champion.yaml").unlink()
    code, out, _ = run("apply", "--from-working-tree", "--format", "json")
    assert aliases(registry) == {"champion": 1, "shadow": 2}
    assert code == 3
    told = json.loads(out)
    assert [(each["model"], each["alias"]) for each in told["blocked"]] == [("m", "champion")]
    if tree == "no policy":
        assert re.search("policy champion gates it on the branch", told["blocked"][0]["reason"])
    assert run("apply")[0] == 0, "what git and the registry agreed on is left alone: champion is still gated and managed"
    assert aliases(registry) == {"champion": 1, "shadow": 1}


def test_a_policy_that_was_in_force_counts(clone: Path, other: Path, registry: FakeRegistry, run: Run) -> None:
    """A head that has just dropped the policy, and is not in force, opens nothing: the last good revision gates."""
    assert run("apply")[0] == 0
    push(other, registry_yaml("1"), "Drop the policy")
    (clone / "registry.yaml").write_text(registry_yaml("3"))
    code, out, _ = run("apply", "--from-working-tree")
    assert (code, aliases(registry)["champion"]) == (3, 1)
    assert "only what the branch says moves it" in out


def test_a_policy_that_the_ledger_knows_counts(clone: Path, other: Path, registry: FakeRegistry, run: Run) -> None:
    """Without any remote, the ledger knows that a policy gated the alias."""
    push(other, registry_yaml(gated(2)), "Promote v2")
    assert run("apply")[0] == 0
    git(clone, "remote", "remove", "origin")
    (clone / "registry.yaml").write_text(registry_yaml("3", shadow=3))
    code, out, _ = run("apply", "--from-working-tree")
    assert (code, aliases(registry)) == (3, {"champion": 2, "shadow": 3})
    assert "the ledger knows that policy champion gated it" in out


def test_signed_commits_leave_no_way_past(clone: Path, other: Path, registry: FakeRegistry, run: Run) -> None:
    """Where commits have to be signed, a working tree is refused as a whole."""
    push(other, registry_yaml("1", head="safety: {require_signed_commits: true}\n"))
    (clone / "registry.yaml").write_text(registry_yaml("1", shadow=2))
    code, _, err = run("apply", "--from-working-tree")
    assert (code, aliases(registry)["shadow"]) == (1, 1)
    assert "a working tree has no signature" in err
