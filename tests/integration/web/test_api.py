"""The API and the health endpoints: shapes, paging, and errors."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from promoter.application.work_items import GIT, REGISTRY, WorkItem, WorkKind
from promoter.domain.errors import PermanentError, TimeLimitError, TransientError
from promoter.domain.folder import RepositoryFolder
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.refusals import ProposalRefusal
from tests.support import dashboard_states
from tests.support.fixtures.web import ReadLines
from tests.support.web_site import MINIMAL, WebSite


def saying(*models: str, head: str = "") -> dict[str, bytes]:
    """A revision with a line for each model."""
    rows = "".join(f"  {model}\n" for model in models)
    return {"registry.yaml": f"version: 1\n{head}models:\n{rows}".encode()}


@pytest.fixture
def busy(web_site: WebSite) -> WebSite:
    """With a model for each status."""
    dashboard_states.every_status(web_site)
    return web_site


def test_models_are_listed_with_their_aliases(busy: WebSite) -> None:
    """Champion first; what the registry holds, what git says, and what stands in between."""
    body = busy.ask("/api/v1/models").json
    assert body["schema"] == 1
    assert body["total"] == len(body["models"]) == 10
    by_name = {model["name"]: model for model in body["models"]}
    fraud = by_name["fraud-detector"]
    assert (fraud["owners"], fraud["newest_version"]) == (["risk-team"], 8)
    champion, challenger = fraud["aliases"]
    assert {key: champion[key] for key in champion if key != "last_change"} == {
        "model": "fraud-detector",
        "alias": "champion",
        "version": 6,
        "stated": 6,
        "absent": False,
        "status": "synced",
        "detail": "",
        "failing": "",
        "override": None,
        "refusals": [],
    }
    assert challenger["alias"] == "challenger"
    assert champion["last_change"]["outcome"] == "applied"
    assert champion["last_change"]["actor"] == "Alice Doe <alice@example.org>"
    statuses = {row["status"] for model in body["models"] for row in model["aliases"]}
    assert statuses == {"synced", "out of sync", "blocked", "drift", "held", "not stated"}
    shadow = by_name["prices"]["aliases"][1]
    assert (shadow["alias"], shadow["stated"], shadow["absent"]) == ("shadow", None, True)


def test_refusals_are_listed_in_the_api_and_on_the_page(web_site: WebSite) -> None:
    """Who refused which version when, and the command that takes it back: of the alias, of all, and read-only on the page."""
    web_site.registry.add("fraud", 2, {"val_auc": 0.93}, champion=1)
    rotating = "fraud: {aliases: {champion: {version: 1, policy: champion, rotation: commit}}}"
    policy = b"version: 1\ncandidates: {from: any}\nrules: [{metric: val_auc, at_least: 0.9}]\n"
    hostile = "<b>carol</b>\u202e"
    url = "javascript:alert(1)//https://git.example.org/pull/7"
    refusal = ProposalRefusal("fraud", "champion", "rotate:2", 2, web_site.clock.now(), hostile, url)
    web_site.ledger.record_lifecycle_event(
        LifecycleEvent(web_site.clock.now(), LifecycleEventType.REFUSED, refusal.event_facts)
    )
    web_site.repository.push({**saying(rotating), "policies/champion.yaml": policy})
    web_site.look()
    (listed,) = web_site.ask("/api/v1/refusals").json["refusals"]
    assert (listed["model"], listed["alias"], listed["aim"], listed["version"]) == ("fraud", "champion", "rotate", 2)
    assert listed["way_back"] == "promoter reconsider fraud@champion 2"
    (alias,) = web_site.ask("/api/v1/models/fraud").json["model"]["aliases"]
    assert (alias["status"], alias["version"], alias["refusals"]) == ("refused", 1, [listed])
    page = web_site.ask("/").text
    assert "promoter reconsider fraud@champion 2" in page
    assert "<b>carol" not in page
    assert 'href="javascript' not in page


@pytest.mark.parametrize("name", ["fraud-detector", "Umsatz Süd 東京", dashboard_states.LONG_MODEL])
def test_one_model_is_found_by_its_name(busy: WebSite, name: str) -> None:
    """Also with spaces, beyond ASCII, and at full length."""
    answer = busy.ask(f"/api/v1/models/{quote(name)}")
    assert (answer.status, answer.json["model"]["name"]) == (200, name)


def test_models_are_paged(web_site: WebSite) -> None:
    """By offset and limit, in order of their names."""
    dashboard_states.many(web_site, 12)
    body = web_site.ask("/api/v1/models?offset=10&limit=5").json
    assert (body["total"], [model["name"] for model in body["models"]]) == (12, ["model-010", "model-011"])


def test_decisions_carry_their_rules_and_evidence(busy: WebSite) -> None:
    """The newest first, of one model and alias where asked."""
    body = busy.ask("/api/v1/decisions?model=churn&alias=champion").json
    (decision,) = body["decisions"]
    assert (decision["model"], decision["version"], decision["policy"], decision["verdict"]) == ("churn", 5, "champion", "fail")
    assert [rule["verdict"] for rule in decision["rules"]] == ["fail", "fail"]
    assert decision["rules"][0]["value"] == 0.71
    assert decision["evidence"]["candidate"]["run"]["metrics"] == {"val_auc": 0.71}
    every = busy.ask("/api/v1/decisions").json["decisions"]
    assert len(every) > 3
    assert [each["id"] for each in every] == sorted((each["id"] for each in every), reverse=True)
    assert busy.ask("/api/v1/decisions?limit=2").json["decisions"] == every[:2]


def test_the_audit_is_read_page_by_page(busy: WebSite) -> None:
    """Ascending, `after` the last id that was seen, until nothing is left; nothing twice, nothing left out."""
    whole = busy.ask("/api/v1/audit?limit=1000").json["records"]
    assert len(whole) > 10
    paged, after = [], 0
    while page := busy.ask(f"/api/v1/audit?after={after}&limit=4").json["records"]:
        assert len(page) <= 4
        paged += page
        after = page[-1]["id"]
    assert paged == whole
    assert [record["id"] for record in whole] == sorted(record["id"] for record in whole)
    wanted = (
        "id",
        "at",
        "kind",
        "model",
        "alias",
        "from",
        "to",
        "revision",
        "actor",
        "trigger",
        "policy",
        "verdict",
        "outcome",
    )
    assert set(wanted) | {"hash"} <= whole[0].keys()
    ours = busy.ask("/api/v1/audit?model=fraud-detector&alias=champion").json["records"]
    assert ours == [record for record in whole if (record["model"], record["alias"]) == ("fraud-detector", "champion")]
    assert busy.ask(f"/api/v1/audit?after={10**30}").json["records"] == []


def test_reconcile_asks_for_a_look_at_everything(web_site: WebSite) -> None:
    """It answers at once; GET does nothing."""
    answer = web_site.ask("/api/v1/reconcile", "POST")
    assert (answer.status, answer.json) == (202, {"schema": 1, "result": "accepted"})
    assert web_site.puts == [("git", "api"), ("registry", "api")]
    assert web_site.ask("/api/v1/reconcile").status == 405
    assert len(web_site.puts) == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/models/nobody", 404),
        ("/api/v1/models/a/b", 404),
        ("/api/v1/nothing", 404),
        ("/api/v2/models", 404),
        ("/api/v1/models?limit=ten", 400),
        ("/api/v1/models?offset=-1", 400),
        ("/api/v1/audit?after=1e3", 400),
        ("/api/v1/audit?after=" + "9" * 200, 400),
        ("/api/v1/decisions?limit=", 400),
        ("/api/v1/reconcile", 405),
    ],
)
def test_errors_of_the_api_are_json(web_site: WebSite, path: str, status: int) -> None:
    """With the reason in words."""
    answer = web_site.ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert answer.json["schema"] == 1
    assert answer.json["error"]
    assert status != 405 or "POST" in answer.headers["Allow"]


def test_unknown_pages_are_pages(web_site: WebSite) -> None:
    """For people: HTML, without what was asked for in it."""
    answer = web_site.ask("/<script>alert(1)</script>")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "alert(1)" not in answer.text


def test_a_ledger_that_cannot_be_read_is_503(web_site: WebSite, log_lines: ReadLines) -> None:
    """In JSON under /api, as a page elsewhere, each with one line; what needs no ledger works on."""
    connection = web_site.ledger._database
    with connection.write_transaction() as writing:
        writing.exec_driver_sql("ALTER TABLE records RENAME TO hidden")
    answer = web_site.ask("/api/v1/audit")
    assert (answer.status, answer.headers["Content-Type"]) == (503, "application/json")
    assert answer.json["error"].startswith("ledger: ")
    page = web_site.ask("/")
    assert (page.status, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert [line["path"] for line in log_lines()] == ["/api/v1/audit", "/"]
    assert web_site.ask("/healthz").status == 200
    with connection.write_transaction() as writing:
        writing.exec_driver_sql("ALTER TABLE hidden RENAME TO records")
    assert web_site.ask("/").status == 200


def test_which_workspace_it_is_about(web_site: WebSite) -> None:
    """Answers, records and the page name the workspace of the MLflow server; where it has none, none of them does."""
    web_site.registry.add("m", 2, champion=1)
    web_site.repository.push({"registry.yaml": b"version: 1\nmodels: {m: {aliases: {champion: 2}}}\n"})
    web_site.look()
    for path in ("/readyz", "/api/v1/models"):
        assert "workspace" not in web_site.ask(path).json
    assert "Workspace" not in web_site.ask("/").text
    web_site.registry.workspace = "team-a"
    web_site.look("m")
    for path in ("/readyz", "/api/v1/models"):
        assert web_site.ask(path).json["workspace"] == "team-a"
    assert [each.get("workspace") for each in web_site.ask("/api/v1/audit").json["records"]] == [None, "team-a", "team-a"]
    assert '<dt>Workspace</dt><dd class="code">team-a</dd>' in web_site.ask("/").text


def test_which_folder_it_is_about(web_site: WebSite) -> None:
    """The answer and the page name the folder of the repository; at its top there is nothing to name."""
    assert "folder" not in web_site.ask("/readyz").json
    web_site.repository.folder = RepositoryFolder("teams/ml")
    assert web_site.ask("/readyz").json["folder"] == "teams/ml"
    assert "teams/ml/" in web_site.ask("/").text


def test_alive_is_not_ready(web_site: WebSite) -> None:
    """Alive as long as it answers; ready once a revision is in force and all that is asked answers."""
    assert web_site.ask("/healthz").json == {"alive": True}
    answer = web_site.ask("/readyz")
    assert (answer.status, answer.json["ready"], answer.json["revision"]) == (503, False, None)
    web_site.registry.add("fraud", 2, champion=1)
    revision = web_site.repository.push(MINIMAL)
    web_site.look()
    answer = web_site.ask("/readyz")
    assert (answer.status, answer.json) == (
        200,
        {
            "ready": True,
            "revision": revision,
            "refused": None,
            "trouble": {},
            "elsewhere": {},
            "checked": "2026-11-23T18:00:00+00:00",
            "looks": {kind: {"at": "2026-11-23T18:00:00+00:00", "age": 0.0} for kind in ("git", "registry")},
            "late": {},
            "failing": {},
        },
    )
    web_site.registry.error = TransientError("MLflow", "gone")
    web_site.clock.ahead(minutes=1)
    web_site.look()
    answer = web_site.ask("/readyz")
    assert (answer.status, answer.json["trouble"], answer.json["checked"]) == (
        503,
        {"MLflow": "gone"},
        "2026-11-23T18:00:00+00:00",
    )
    web_site.registry.error = None
    web_site.look()
    assert web_site.ask("/readyz").status == 200


def test_trouble_with_one_model_is_over_when_that_model_is_well(web_site: WebSite) -> None:
    """Another model's success hides it not; and it is over too once nothing is due for the model any more."""
    for name in ("fraud", "churn"):
        web_site.registry.add(name, 2, champion=1)
    web_site.repository.push(saying("fraud: {aliases: {champion: 1}}", "churn: {aliases: {champion: 1}}"))
    web_site.look()
    web_site.registry.error = PermanentError("MLflow", "no permission")
    web_site.look("fraud")
    web_site.registry.error = None
    web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "churn"), "test")
    assert web_site.ask("/readyz").json["trouble"] == {"MLflow": "no permission"}
    web_site.watch.run_work_item(REGISTRY, "test")
    assert web_site.ask("/readyz").json["trouble"] == {}


def test_one_model_s_own_fault_is_shown_and_the_daemon_stays_ready(web_site: WebSite) -> None:
    """In /readyz, the API, the metrics and on the page, until its work succeeds."""
    for name in ("fraud", "churn"):
        web_site.registry.add(name, 2, champion=1)
    web_site.repository.push(saying("fraud: {aliases: {champion: 1}}", "churn: {aliases: {champion: 1}}"))
    web_site.look()
    for minutes in (0, 1):
        web_site.clock.ahead(minutes=minutes)
        web_site.registry.error = PermanentError("MLflow", "may not <b>write</b>", about_one_model=True)
        web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "fraud"), "test")
        web_site.registry.error = None
        answer = web_site.ask("/readyz")
        fault = {"since": "2026-11-23T18:00:00+00:00", "reason": "MLflow: may not <b>write</b>"}
        assert (answer.status, answer.json["trouble"], answer.json["failing"]) == (200, {}, {"fraud": fault})
    assert {each["name"]: each["fault"] for each in web_site.ask("/api/v1/models").json["models"]} == {
        "fraud": fault,
        "churn": None,
    }
    assert web_site.ask("/api/v1/models/fraud").json["model"]["fault"] == fault
    text = web_site.ask("/metrics").text
    assert "promoter_failing_models 1.0" in text
    assert 'promoter_failing_model_seconds{model="fraud"} 60.0' in text
    page = web_site.ask("/").text
    assert "1 model fails" in page
    assert "MLflow: may not &lt;b&gt;write&lt;/b&gt;" in page
    web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "fraud"), "test")
    assert web_site.ask("/readyz").json["failing"] == {}


def test_one_model_that_does_not_answer_is_late_and_the_daemon_stays_ready(web_site: WebSite) -> None:
    """It is named with the time and the reason until it answers; whatever else is wrong with a model is trouble as ever."""
    for name in ("fraud", "churn"):
        web_site.registry.add(name, 2, champion=1)
    web_site.repository.push(saying("fraud: {aliases: {champion: 1}}", "churn: {aliases: {champion: 1}}"))
    web_site.look()
    for minutes in (0, 1):
        web_site.clock.ahead(minutes=minutes)
        web_site.registry.error = TimeLimitError("MLflow", "it does not answer in time")
        web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "fraud"), "test")
        web_site.registry.error = None
        answer = web_site.ask("/readyz")
        late = {"since": "2026-11-23T18:00:00+00:00", "reason": "it does not answer in time"}
        assert (answer.status, answer.json["trouble"], answer.json["late"]) == (200, {}, {"fraud": late})
    by_name = {model["name"]: model["late"] for model in web_site.ask("/api/v1/models").json["models"]}
    assert by_name == {"fraud": late, "churn": None}
    assert web_site.ask("/api/v1/models/fraud").json["model"]["late"] == late
    text = web_site.ask("/metrics").text
    assert "promoter_late_models 1.0" in text
    assert 'promoter_late_model_seconds{model="fraud"} 60.0' in text
    web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "fraud"), "test")
    assert web_site.ask("/readyz").json["late"] == {}


@pytest.mark.parametrize("kind", [GIT, REGISTRY], ids=str)
def test_a_look_that_is_too_old_is_trouble(web_site: WebSite, kind: WorkItem) -> None:
    """Three poll intervals without a good one: 503 with the age and the reason, although nothing has failed."""
    web_site.registry.add("fraud", 2, champion=1)
    web_site.repository.push(MINIMAL)
    web_site.look()
    other = REGISTRY if kind == GIT else GIT
    web_site.clock.ahead(minutes=3)
    web_site.watch.run_work_item(other, "test")
    assert web_site.ask("/readyz").status == 200
    web_site.watch.health.record_start(kind)
    web_site.clock.ahead(seconds=20)
    web_site.watch.run_work_item(other, "test")
    answer = web_site.ask("/readyz")
    part = "git" if kind == GIT else "the registry"
    why = "no good look for 200 s, where 180 s are allowed: one that began 20 s ago is not done yet"
    assert (answer.status, answer.json["trouble"]) == (503, {f"watching {part}": why})
    assert answer.json["looks"][kind.kind]["age"] == 200.0
    assert f'promoter_look_age_seconds{{kind="{kind.kind}"}} 200.0' in web_site.ask("/metrics").text
    web_site.watch.run_work_item(kind, "test")
    assert web_site.ask("/readyz").status == 200


def test_a_refused_revision_is_told_and_the_last_good_one_is_ready(web_site: WebSite) -> None:
    """Refused is no reason to stop serving what is in force."""
    dashboard_states.refused_revision(web_site)
    answer = web_site.ask("/readyz")
    assert (answer.status, answer.json["ready"]) == (200, True)
    assert "registry.yaml:5:69: " in answer.json["refused"]


def test_a_plan_over_the_limit_is_trouble(web_site: WebSite) -> None:
    """Nothing is carried out, and somebody has to know: here more strays than may be pruned at once."""
    web_site.registry.add("m", 2, champion=1)
    web_site.repository.push(saying("m: {prune: true, aliases: {champion: 1}}", head="safety: {max_changes: 1}\n"))
    web_site.look()
    for number in range(2):
        web_site.registry.set_alias("m", f"stray{number}", 2)
    web_site.look()
    assert list(web_site.ask("/readyz").json["trouble"]) == ["plan"]
    web_site.registry.delete_alias("m", "stray0")
    web_site.look()
    assert web_site.ask("/readyz").status == 200


def test_metrics_are_readable_by_prometheus(busy: WebSite) -> None:
    """Figures are those of this moment."""
    busy.depth = 3
    answer = busy.ask("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    body = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if family.type == "gauge"
    }
    assert body == {
        ("promoter_ready",): 1,
        ("promoter_queue_depth",): 3,
        ("promoter_work", "models"): 3,
        ("promoter_look_age_seconds", "git"): 0,
        ("promoter_look_age_seconds", "registry"): 0,
        ("promoter_late_models",): 0,
        ("promoter_failing_models",): 0,
        ("promoter_models",): 10,
        ("promoter_revision_refused",): 0,
        ("promoter_aliases", "synced"): 6,
        ("promoter_aliases", "out_of_sync"): 2,
        ("promoter_aliases", "blocked"): 3,
        ("promoter_aliases", "drift"): 1,
        ("promoter_aliases", "held"): 1,
        ("promoter_aliases", "not_stated"): 1,
    }
    busy.registry.error = TransientError("MLflow", "gone")
    busy.look()
    assert "promoter_ready 0.0" in busy.ask("/metrics").text


def test_an_alias_that_moved_long_ago_still_shows_when(web_site: WebSite) -> None:
    """However often the others of its model moved since."""
    web_site.registry.add("fraud", 2, champion=1, challenger=1)
    web_site.repository.push(saying("fraud: {on_drift: report, aliases: {champion: 1, challenger: 1}}"))
    web_site.look()
    for number in range(60):
        web_site.registry.set_alias("fraud", "challenger", 1 + (number + 1) % 2)
        web_site.watch.run_work_item(WorkItem(WorkKind.MODEL, "fraud"), "test")
    champion, challenger = web_site.ask("/api/v1/models/fraud").json["model"]["aliases"]
    assert champion["last_change"]["id"] < challenger["last_change"]["id"] - 50


def test_an_alias_that_waits_for_another_is_not_in_step(web_site: WebSite) -> None:
    """A commit of which one half cannot be carried out is shown as blocked, all of it."""
    web_site.registry.add("fraud", 2, champion=1, challenger=1)
    web_site.repository.push(saying("fraud: {aliases: {champion: 7, challenger: 2}}"))
    web_site.look()
    champion, challenger = web_site.ask("/api/v1/models/fraud").json["model"]["aliases"]
    assert (champion["status"], challenger["status"]) == ("blocked", "blocked")
    assert challenger["detail"] == "v2: waits for champion, to be carried out with it"
