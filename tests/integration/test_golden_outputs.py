"""Every JSON that people write programs against, compared whole with the files in `golden/`: commands and the API.

Three situations: the ledger of `old_ledger/`, a small repository with a registry in memory, and the sites of the tests of the
dashboard. To write the files anew, set WRITE_GOLDEN=1, and read the difference before you commit it: a changed file is a
changed interface. Other tests compare whole what is not here: `plan --base` (`cli/plan_between`), `policy test`
(`cli/policy_tests`), a decision on evidence of every kind (`cli/explained`), and the schemas of the files (`schemas/`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.container import Container
from tests.support import dashboard_states
from tests.support.fakes.registry import FakeClock, FakeRegistry
from tests.support.fixtures.git import git
from tests.support.fixtures.ledger import begin_ledger
from tests.support.web_site import WebSite

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
Run = Callable[..., str]


def compare(name: str, output: str) -> None:
    """Hold the output against the golden file of that name."""
    file = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(output)
    assert output == file.read_text()


def without(output: str, *patterns: str) -> str:
    """The output with stars in place of what no two runs have in common."""
    for pattern in patterns:
        output = re.sub(pattern, lambda found: "*" * len(found[0]), output)
    return output


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `promoter` in a folder that is in no repository: exit code, then output, then errors."""
    for name in [name for name in os.environ if name.startswith(("PROMOTER_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("COLUMNS", "120")
    clock = FakeClock()
    clock.pass_time(days=2)
    monkeypatch.setattr(Container, "clock", clock)
    monkeypatch.chdir(tmp_path)

    def ran(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["promoter", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capfd.readouterr()
        return f"exit code {ended.value.code or 0}\n{output}{errors}".replace(str(tmp_path), "FOLDER")

    return ran


# ---- The ledger of old_ledger/

LEDGER = {
    "list-page": ["audit", "list", "--limit", "2", "--after", "20"],
    "list-before": ["audit", "list", "--limit", "1", "--before", "47"],
    "list-filtered": ["audit", "list", "--model", "fraud", "--kind", "change", "--outcome", "recovered", "--verdict", "pass"],
    "list-override": ["audit", "list", "--kind", "override", "--actor", "alice"],
    "list-none": ["audit", "list", "--model", "nobody"],
    "rerun-gate": ["audit", "rerun", "40"],
    "rerun-candidate": ["audit", "rerun", "23"],
    "rerun-signed": ["audit", "rerun", "33"],
    "rerun-guard": ["audit", "rerun", "49"],
    "rerun-readiness": ["audit", "rerun", "52"],
    "rerun-record": ["audit", "rerun", "30"],
    "rerun-dropped": ["audit", "rerun", "14"],
    "rerun-older": ["audit", "rerun", "61"],
    "prune": ["audit", "prune", "--older-than", "1d"],
    "history-other": ["history", "scorer@challenger"],
    "history-nobody": ["history", "nobody@champion"],
    "at": ["history", "fraud@champion", "--at", "2026-11-24T00:00Z"],
    "at-before": ["history", "fraud@champion", "--at", "2026-01-01"],
    "at-nobody": ["history", "nobody@champion", "--at", "2026-11-24"],
    "at-moved-outside": ["history", "scorer@challenger", "--at", "2026-11-24T12:33Z"],
    "between": ["history", "scorer@challenger", "--between", "2026-11-23", "2026-11-25"],
    "state": ["state", "--at", "2026-11-24T12:33Z"],
    "state-model": ["state", "--at", "2026-11-24T00:00Z", "--model", "signed"],
    "notifications": ["notifications", "list"],
    "notifications-dead": ["notifications", "list", "--dead", "--channel", "serving"],
    "verify-export": ["audit", "verify", "--export", str(HERE / "old_ledger/export.jsonl")],
}
CHANGED = {
    "verify-edited": ("records", "body = replace(body, 'alice', 'mallory')", "id = 62"),
    "verify-content": ("contents", "body = body || ' '", "digest = (SELECT min(digest) FROM contents)"),
    "rerun-different": (
        "decisions",
        """body = replace(body, '"verdict":"pass","version":2', '"verdict":"fail","version":2')""",
        "id = 28",
    ),
}


@pytest.fixture
def old_ledger(tmp_path: Path) -> sqlite3.Connection:
    """The old ledger in the folder that one stands in."""
    connection = sqlite3.connect(tmp_path / "promoter.db")
    connection.executescript((HERE / "old_ledger/ledger.sql").read_text())
    return connection


@pytest.mark.usefixtures("old_ledger")
@pytest.mark.parametrize("name", LEDGER)
def test_a_ledger(run: Run, name: str) -> None:
    """What commands tell of it."""
    compare(f"ledger/{name}.json", run(*LEDGER[name], "--format", "json"))


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_ledger(run: Run, old_ledger: sqlite3.Connection, name: str) -> None:
    """Problems, and differences."""
    table, change, which = CHANGED[name]
    for (trigger,) in old_ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        old_ledger.execute(f"DROP TRIGGER {trigger}")
    assert old_ledger.execute(f"UPDATE {table} SET {change} WHERE {which}").rowcount == 1
    old_ledger.commit()
    words = ["verify"] if name.startswith("verify") else ["rerun", "--all"]
    compare(f"ledger/{name}.json", run("audit", *words, "--format", "json"))


@pytest.mark.usefixtures("old_ledger")
@pytest.mark.parametrize("form", ["csv", "cloudevents"])
def test_an_export(run: Run, form: str) -> None:
    """For spreadsheets, and as the events that channels are told of. The third form is `old_ledger/export.jsonl`."""
    compare(f"ledger/export.{form}", run("audit", "export", "--format", form).replace("\r\n", "\n"))


# ---- A repository, and a registry in memory

POLICY = """\
version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, at_least: 0.8}
  - {metric: auc, beats: champion, by: 0.005}
  - any_of: [{tag: approved_by, present: true}, {run: {status: FINISHED, user: ada}}]
guards: [{metric: live, at_least: 0.85, for: 2}]
waivers: [{model: fraud, version: 4, rule: any_of, reason: a pilot, by: ada, until: 2027-01-01T00:00:00Z}]
"""
SIGNED = "version: 1\nrules: [{metric: auc, at_least: 0.5}, {approval: {at_least: 2, from: [risk, bob]}}]\n"
APPROVERS = """\
version: 1
approvers:
  alice: {key: "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", groups: [risk]}
  bob: {key: "ed25519:MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lsQhqow="}
"""
ALICE = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
"""
"""The secret of RFC 8032's first test; its public half is in APPROVERS."""
FILES = {
    "registry.yaml": """\
version: 1
models:
  fraud:
    owners: [risk-team]
    aliases: {champion: {version: 2, policy: champion}, challenger: 3, shadow: absent, old: 9}
  churn: {aliases: {champion: {version: 2, policy: champion}}}
  held:
    aliases: {champion: {version: 1, policy: champion, rotation: commit, hold: {reason: "a | b", by: dave}, quarantine: [2]}}
  drifted: {on_drift: report, aliases: {champion: 1}}
  signed: {aliases: {champion: {version: 1, policy: signed}}}
  nobody: {aliases: {champion: 1}}
""",
    "policies/champion.yaml": POLICY,
    "policies/signed.yaml": SIGNED,
    "approvers.yaml": APPROVERS,
}
FAULTY = {
    "registry.yaml": """\
version: 1
models:
  fraud: {aliases: {champion: {version: one, policy: nothing}, latest: 2}}
surprise: 1
""",
    "policies/champion.yaml": "version: 1\nrules: [{metric: auc}, {tag: ok, present: false}]\n",
}
REGISTRY = {
    "plan": ["plan"],
    "explain-alias": ["explain", "fraud@champion"],
    "explain-guarded": ["explain", "held@champion"],
    "explain-not-gated": ["explain", "fraud@challenger"],
    "explain-version": ["explain", "fraud/4", "--policy", "champion"],
    "explain-why-not": ["explain", "held/3", "--alias", "champion"],
    "explain-approval": ["explain", "signed/1", "--policy", "signed"],
    "replay": ["replay", "--policy", "champion", "--since", "2026-11-20", "--compare", "signed"],
    "doctor": ["doctor"],
    "validate": ["validate"],
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """Versions that pass, that fail, that nobody approved; what they measure live; and an alias moved by hand."""
    made = FakeRegistry()
    for number, (auc, tags) in enumerate([(0.9, {}), (0.93, {"approved_by": "risk"}), (0.95, {}), (0.97, {})], 1):
        assert made.version("fraud", tags, auc=auc, live=0.9) == number
    made.version("churn", auc=0.9)
    made.version("churn", {"approved_by": "<b>"}, "RUNNING", auc=0.71)
    for live in (0.8, 0.9, 0.9):
        made.version("held", {"approved_by": "risk"}, auc=0.9 + live / 100, live=live)
    for _ in range(2):
        made.version("drifted", auc=float("nan"))
        made.version("signed", auc=0.7)
    for model, alias, version in (
        ("fraud", "champion", 1),
        ("fraud", "shadow", 1),
        ("churn", "champion", 1),
        ("held", "champion", 1),
    ):
        made.place(model, alias, version)
    made.place("drifted", "champion", 2)
    monkeypatch.setattr(Container, "registry", made)
    return made


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, registry: FakeRegistry) -> Path:
    """A clone of a repository with FILES; one stands in it."""
    del run, registry
    for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(name, "2026-11-23T11:00:00Z")
    folder, remote = tmp_path / "clone", tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(folder))
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    write(folder, FILES)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "State the registry")
    git(folder, "push", "--quiet", "origin", "main")
    monkeypatch.setenv("PROMOTER_REPO", str(remote))
    monkeypatch.setenv("PROMOTER_DATABASE_URL", begin_ledger(f"sqlite:///{tmp_path / 'promoter.db'}"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("clone")
@pytest.mark.parametrize("name", REGISTRY)
def test_a_registry(run: Run, name: str) -> None:
    """What commands tell of it, and change nothing."""
    compare(f"registry/{name}.json", run(*REGISTRY[name], "--format", "json"))


def test_faults(run: Run, tmp_path: Path) -> None:
    """Of files, each with its place."""
    write(tmp_path, FAULTY)
    compare("registry/validate-faults.json", run("validate", "--format", "json"))
    compare("registry/policy-test-faults.json", run("policy", "test", "--format", "json"))


@pytest.mark.usefixtures("clone")
def test_changes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applied, rolled back, released; then who held the alias. Commits of Promoter are made at the time of the machine."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:9")  # asked for, and not used: the registry is in memory
    revisions = r"\b[0-9a-f]{40}\b", r"(?<=Committed as )[0-9a-f]{10}"
    hashes = r'(?<="hash": ")[0-9a-f]{64}'
    compare("registry/apply.json", run("apply", "--format", "json"))
    compare("registry/apply-again.json", run("apply", "--format", "json"))
    words = ["rollback", "fraud@champion", "--reason", "bad <recall>", "--by", "erin", "--to", "1", "--now", "--format", "json"]
    compare("registry/rollback.json", without(run(*words), *revisions))
    words = ["release", "fraud@champion", "--by", "erin", "--reason", "v3 will do", "--format", "json"]
    compare("registry/release.json", without(run(*words), *revisions))
    words = ["hold", "fraud@champion", "--by", "erin", "--reason", "audit", "--until", "2027-01-01", "--format", "json"]
    compare("registry/hold.json", without(run(*words), *revisions))
    compare("registry/hold-lifted.json", without(run(*words[:4], "--lift", "--format", "json"), *revisions))
    words = ["quarantine", "fraud@champion", "3", "--by", "erin", "--reason", "leaked", "--format", "json"]
    compare("registry/quarantine.json", without(run(*words), *revisions))
    compare("registry/quarantine-again.json", without(run(*words), *revisions))
    compare("registry/quarantine-lifted.json", without(run(*words[:5], "--lift", "--format", "json"), *revisions))
    compare("registry/refused.json", run("release", "fraud@champion", "--by", "erin", "--format", "json"))
    compare("registry/history.json", without(run("history", "fraud@champion", "--format", "json"), *revisions, hashes))
    words = ["history", "fraud@champion", "--at", "2026-11-23T12:00Z", "--format", "json"]
    compare("registry/history-at.json", without(run(*words), *revisions, hashes))


@pytest.mark.usefixtures("clone")
def test_an_approval(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed, but for one more; a new key; and a checkpoint of the ledger, signed with that of alice."""
    key = tmp_path / "alice.pem"
    key.write_text(ALICE)
    key.chmod(0o600)
    words = ["approve", "signed/1", "--by", "alice", "--key", str(key), "--yes", "--format", "json"]
    compare("registry/approve.json", run(*words))
    made = run("approve", "--new-key", str(tmp_path / "new.pem"), "--by", "carl", "--format", "json")
    compare("registry/approve-new-key.json", without(made, r"(?<=ed25519:)[\w+/]{43}"))
    shutil.copy(HERE / "old_ledger/ledger.sql", tmp_path)
    for file in tmp_path.glob("promoter.db*"):
        file.unlink()
    with sqlite3.connect(tmp_path / "promoter.db") as connection:
        connection.executescript((tmp_path / "ledger.sql").read_text())
    (tmp_path / "promoter.db").chmod(0o600)
    monkeypatch.setenv("PROMOTER_CHECKPOINT_KEY", str(key))
    compare("ledger/checkpoint.json", run("audit", "checkpoint", "--format", "json"))


@dataclass(frozen=True)
class Webhook:
    """A webhook on the MLflow server."""

    id: str
    name: str
    url: str
    events: tuple[str, ...] = ("model_version.created", "model_version_tag.set")
    active: bool = True


class Installed(StrEnum):
    """What became of it."""

    CREATED = "created"


class MemoryWebhooks:
    """What the MLflow server keeps of webhooks; Promoter's own answers when it is tried."""

    def list_webhooks(self) -> tuple[Webhook, ...]:
        """Promoter's, and that of somebody else."""
        return Webhook("1", "promoter", "https://promoter.example.com/webhooks/mlflow"), Webhook(
            "2", "chat", "https://x", (), active=False
        )

    def install_webhook(self, url: str, secret: str) -> SimpleNamespace:
        """Pretend to."""
        assert secret == "s3cret-s3cret-s3cret"
        return SimpleNamespace(outcome=Installed.CREATED, webhook=Webhook("3", "promoter", url))

    def send_test_event(self) -> SimpleNamespace:
        """Pretend to."""
        return SimpleNamespace(ok=False, status=503, error="503 Service Unavailable")


@pytest.mark.usefixtures("clone")
def test_webhooks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed, installed, and tried by `doctor`."""
    monkeypatch.setattr(Container, "mlflow_webhooks", MemoryWebhooks())
    monkeypatch.setenv("PROMOTER_MLFLOW_WEBHOOK_SECRET", "s3cret-s3cret-s3cret")
    compare("registry/webhooks-list.json", run("webhooks", "list", "--format", "json"))
    words = ["webhooks", "install", "--url", "https://promoter.example.com", "--format", "json"]
    compare("registry/webhooks-install.json", run(*words))
    compare("registry/doctor-webhook.json", run("doctor", "--format", "json"))


# ---- The API

STATES = {
    "every-status": dashboard_states.every_status,
    "guarded": dashboard_states.guarded,
    "refused": dashboard_states.refused_revision,
}
ANSWERS = {
    "models": "models?limit=1000",
    "models-page": "models?offset=1&limit=1",
    "model": "models/fraud-detector",
    "decisions": "decisions?limit=1000",
    "decisions-filtered": "decisions?model=churn&alias=champion&limit=1",
    "audit": "audit?limit=1000",
    "audit-page": "audit?limit=2&after=8",
    "audit-filtered": "audit?kind=observed&model=demand-berlin&since=2026-11-20",
    "history": "history/demand-berlin/champion",
    "at": "history/demand-berlin/champion?at=2026-11-23T16:00Z",
    "at-unknown": "history/nobody/champion?at=1h",
    "between": "history/fraud-detector/champion?from=2026-11-01&to=2026-11-23T12:00Z",
    "state": "state?at=1h",
    "openapi": "openapi.json",
    "error-model": "models/nobody",
    "error-limit": "models?limit=ten",
    "error-kind": "audit?kind=x",
    "error-times": "audit?since=1h&until=2h",
    "error-at": "history/fraud/champion?at=ten",
    "error-both": "history/fraud/champion?at=1h&from=2h&to=1h",
    "error-state": "state",
    "error-path": "nothing",
    "error-method": "reconcile",
}


@pytest.fixture(params=STATES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, WebSite]]:
    """The web over a registry in memory, in one of its states."""
    made = WebSite(tmp_path)
    STATES[request.param](made)
    yield request.param, made
    made.close()


def test_the_api(site: tuple[str, WebSite]) -> None:
    """Every answer, with its status; hashes stand on the ledger's own name, which each has for itself."""
    state, web = site
    asked = {"every-status": tuple(ANSWERS), "guarded": ("models", "decisions", "audit"), "refused": ()}
    for name in asked[state]:
        answer = web.ask(f"/api/v1/{ANSWERS[name]}")
        told = without(json.dumps(answer.json, indent=2, ensure_ascii=False), r'(?<="hash": ")[0-9a-f]{64}')
        compare(f"api/{state}-{name}.json", f"status {answer.status}\n{told}\n")
    ready: dict[str, Any] = {path: web.ask(path) for path in ("/healthz", "/readyz")}
    lines = [f"{path} {each.status}\n{json.dumps(each.json, indent=2, ensure_ascii=False)}\n" for path, each in ready.items()]
    compare(f"api/{state}-health.json", "".join(lines))
    figures = [line for line in web.ask("/metrics").text.splitlines() if "duration_seconds" not in line]
    compare(f"api/{state}-metrics.txt", "\n".join(figures) + "\n")
