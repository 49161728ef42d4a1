"""Replay on fakes: an unchanged policy reproduces what really happened, and an edited one says what it would have changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from promoter.application.replay import PolicyReplayer, ReplayRequest
from promoter.application.responses.policies import ReplayResponse
from promoter.domain.desired import Declaration
from promoter.domain.errors import PermanentError
from promoter.domain.observed import LoadingResult
from promoter.domain.replay.as_of import EvidenceBasis
from promoter.domain.replay.report import ModelReplay, ReplayReport, describe_evidence_sources, list_replay_notes
from tests.support.app import POLICY, App
from tests.support.fakes.registry import START

SINCE = START - timedelta(days=1)
TAGGED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules:
  - {metric: auc, beats: champion}
  - {tag: approved, present: true, bound: true}
  - {run: {status: FINISHED}}
"""
LIMITED = POLICY + b"limits: {cooldown: 6h}\n"
SOAKED = b"""version: 1
candidates: {from: challenger}
rules: [{metric: auc, beats: champion, order: highest}, {soak: {alias: challenger, at_least: 24h}}]
"""
LOADED = POLICY.replace(b"rules: [", b"rules: [{loads: true}, ")
ANYTHING = b"version: 1\ncandidates: {from: any}\nrules: [{run: {status: FINISHED}}]\n"


def rotating(alias: str = "champion", policy: str = "champion") -> str:
    """An alias of `m` that rotates by commit."""
    return f"{alias}: {{policy: {policy}, rotation: commit}}"


def register(app: App, tags: dict[str, str] | None = None, status: str = "FINISHED", **metrics: float) -> int:
    """The next version of `m`, registered at the time that the app's clock has."""
    number = app.mlflow.version("m", tags, status, **metrics)
    model = app.mlflow.models["m"]
    made = replace(model.versions[number], created_at=app.time.at)
    app.mlflow.models["m"] = replace(model, versions={**model.versions, number: made})
    return number


def replayed(app: App, **asked: Any) -> ReplayReport:
    """What a replay of the files at the branch's head reports."""
    declaration = app.documents.parse_declaration(app.git.read_sources(app.git.head), app.git.head)
    return replay(app, declaration, **asked)


def replay(app: App, declaration: Declaration, policy: str = "champion", **asked: Any) -> ReplayReport:
    """What a replay reports."""
    request = ReplayRequest(policy, **{"since": SINCE, **asked})
    return PolicyReplayer(app.mlflow, app.reading_ledger, app.time)(declaration, request)


def champions(report: ReplayReport) -> list[int]:
    """Who would have held the alias, one after the other."""
    return [span.version for span in report.models[0].replays[0].simulation.spans]


def really(model: ModelReplay) -> list[int | None]:
    """Who did."""
    return [span.version for span in model.actual]


def a_life(app: App, policy: bytes, **more: bytes) -> None:
    """Some days of a model: better versions and worse ones, some approved late, some unfinished, one without a metric."""
    register(app, auc=0.5)
    aliases = ", ".join([rotating(), *(rotating(name, name) for name in more)])
    app.commit(f"m: {{aliases: {{{aliases}}}}}", champion=policy, **more)
    app.converge()
    for day, auc in enumerate([0.6, 0.7, 0.9, 0.8, None, 0.95, 0.97]):
        app.time.pass_time(hours=20)
        metrics = {} if auc is None else {"auc": auc}
        number = register(app, status="RUNNING" if day % 5 == 1 else "FINISHED", **metrics)
        app.converge()
        app.time.pass_time(hours=3)
        if day % 3:
            app.mlflow.tag("m", number, approved="yes")
        app.converge()
        app.time.pass_time(hours=1)
        run = app.mlflow.all_runs[f"m-{number}"]
        app.mlflow.all_runs[run.run_id] = replace(run, status="FINISHED")
        app.converge()


@pytest.mark.parametrize(
    ("policy", "more"),
    [(POLICY, {}), (TAGGED, {}), (LIMITED, {}), (SOAKED, {"challenger": ANYTHING}), (LOADED, {}), (ANYTHING, {})],
    ids=["metric", "tag and run", "cooldown", "challenger and soak", "loads", "newest"],
)
def test_an_unchanged_policy_reproduces_what_happened(policy: bytes, more: dict[str, bytes], app: App) -> None:
    """The same champions in the same order, on evidence that the ledger recorded; and no promotion would be blocked."""
    app.mlflow.loads["m", 4] = LoadingResult("failed", "no such file")
    a_life(app, policy, **more)
    app.time.pass_time(hours=24)
    app.converge()
    report = replayed(app)
    assert champions(report) == really(report.models[0])
    assert len(champions(report)) > 2
    past = report.models[0].replays[0].past
    assert len(past.promotions) == len(champions(report))
    assert [each.decision.summary_line for each in past.promotions if each.is_blocked] == []
    assert {each.source.basis.value for each in past.promotions} == {"then"}


def three_days(app: App, watched: bool = True) -> None:
    """v1 to v3, each better; the ledger saw them, or nothing."""
    app.commit(f"m: {{aliases: {{{rotating()}}}}}", champion=POLICY)
    for auc in (0.5, 0.6, 0.9):
        register(app, auc=auc)
        if watched:
            app.converge()
        app.time.pass_time(days=1)


def edited(app: App, **policies: bytes) -> Declaration:
    """The files at the branch's head with policies that nobody committed."""
    sources = {**app.git.read_sources(app.git.head), **{f"policies/{name}.yaml": text for name, text in policies.items()}}
    return app.documents.parse_declaration(sources, None)


def test_an_edited_policy(app: App) -> None:
    """What is not committed counts: it names the promotion that it would have blocked, and by which rule."""
    three_days(app)
    report = replay(app, edited(app, champion=POLICY.replace(b"0.005", b"0.2")))
    assert champions(report) == [1, 3]
    blocked = report.models[0].replays[0].blocked_promotions
    told = [
        (each.from_version, each.to_version, [finding.rule for finding in each.decision.unmet_findings]) for each in blocked
    ]
    assert told == [(1, 2, ["metric auc beats champion by 0.2"])]
    assert [each.version for each in report.models[0].replays[0].rejected_versions] == [2]
    assert [(row.rule, row.found) for row in report.count_rejecting_rules()] == [
        ("metric auc beats champion by 0.2", (1, 0, 0))
    ]


def test_two_policies_beside_each_other(app: App) -> None:
    """Each with its own spans, its own promotions, and the evidence of both read once."""
    three_days(app)
    app.mlflow.calls.clear()
    report = replay(app, edited(app, other=POLICY.replace(b"0.005", b"0.2")), compare="other")
    assert [[span.version for span in each.simulation.spans] for each in report.models[0].replays] == [[1, 2, 3], [1, 3]]
    assert [call[0] for call in app.mlflow.calls] == ["observe", "runs"]
    assert ReplayResponse.from_report(report).compare == "other"


def test_without_a_ledger(app: App) -> None:
    """Everything is as of now, nothing is known of past promotions, nobody held it before; and the report says all that."""
    (app.folder / "promoter.db").unlink()
    three_days(app, watched=False)
    report = replayed(app)
    assert champions(report) == [1, 2, 3]
    assert {source.basis for _, source in report.list_evidence_sources()} == {EvidenceBasis.NOW}
    assert describe_evidence_sources(report) == "Evidence of 3 judgements: 3 as of now (MLflow)."
    nobody, no_past = list_replay_notes(report)[:2]
    assert nobody == (
        "Who held the alias on 2026-11-22 12:00 UTC is not known for m@champion: the replay begins with nobody there, whom "
        "every version beats."
    )
    assert no_past == "The ledger knows no move of m@champion: past promotions of it cannot be judged."
    assert not (app.folder / "promoter.db").exists()


def test_evidence_that_changed_since(app: App) -> None:
    """A metric that was logged anew does not rewrite the past: the ledger knows what it was."""
    three_days(app)
    app.mlflow.all_runs["m-2"] = replace(app.mlflow.all_runs["m-2"], metrics={"auc": 0.99})
    report = replayed(app)
    assert champions(report) == [1, 2, 3]
    assert describe_evidence_sources(report) == "Evidence of 6 judgements: 6 as of then (ledger)."


def test_recorded_later(app: App) -> None:
    """What the ledger saw only after a version could be judged is told with how much later that was."""
    app.commit(f"m: {{aliases: {{{rotating()}}}}}", champion=POLICY)
    register(app, auc=0.5)
    app.time.pass_time(hours=3)
    app.converge()
    report = replayed(app)
    assert describe_evidence_sources(report) == (
        "Evidence of 2 judgements: 1 as of then (ledger), 1 as first recorded after that (ledger, up to 3h later)."
    )


def test_what_is_not_replayed_is_told(app: App) -> None:
    """Loading, guards, a soak that nobody watched, an alias without candidates: each in a sentence."""
    three_days(app, watched=False)
    policy = b"""version: 1
enforcement: audit
rules: [{loads: true}, {soak: {alias: challenger, at_least: 1h}}]
guards: [{metric: auc, at_least: 0.1}]
"""
    told = list_replay_notes(replay(app, edited(app, champion=policy)))
    assert told[2:-1] == [
        "Under champion, 3 versions are taken to have held challenger from registration on, since the ledger cannot tell.",
        "Not replayed: `loads` of champion is taken as passing for 3 versions; the ledger cannot tell.",
        "champion only watches (`enforcement: audit`): what it would have blocked, it would have told.",
        "The guards of champion are not replayed: nobody is rolled back.",
        "champion names no `candidates`: every newer version is taken for one.",
    ]


def test_which_models_and_aliases(app: App) -> None:
    """Those whose aliases name the policy; or those that match, whether git manages them or not."""
    for model in ("m", "n", "demand-1", "other"):
        app.mlflow.version(model, auc=0.5)
    app.commit(
        f"m: {{aliases: {{{rotating()}, {rotating('shadow')}}}}}\nn: {{aliases: {{champion: 1}}}}",
        head='families: [{match: "demand-*", aliases: {shadow: {policy: champion}}}]\n',
        champion=POLICY,
    )

    def places(**asked: Any) -> list[tuple[str, str]]:
        return [(each.model, each.alias) for each in replayed(app, **asked).models]

    assert places() == [("demand-1", "shadow"), ("m", "champion"), ("m", "shadow")]
    assert places(models="[no]*") == [("n", "champion"), ("other", "champion")]
    assert places(models="m", alias="canary") == [("m", "canary")]


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"policy": "none"}, "there is no policy `none`"),
        ({"compare": "none"}, "there is no policy `none`"),
        ({"models": "z*"}, "no registered model matches `z*`"),
        ({"policy": "spare"}, "no alias of a registered model names policy `spare`"),
    ],
)
def test_nothing_to_replay(asked: dict[str, str], fault: str, app: App) -> None:
    """Said in words, with what to do instead."""
    three_days(app, watched=False)
    declaration = edited(app, spare=POLICY)
    with pytest.raises(PermanentError, match=fault.replace("*", r"\*")):
        replay(app, declaration, **asked)


def test_dropped_evidence_is_told(app: App) -> None:
    """What is gone is judged by what MLflow says now, and the notes say why; nothing is known to be blocked by it."""
    a_life(app, POLICY)
    assert not any("dropped" in note for note in list_replay_notes(replayed(app)))
    cut = app.time.now() - timedelta(days=2)
    assert app.ledger.drop_evidence_before(cut, "alice", app.time.now())
    report = replayed(app)
    (told,) = [note for note in list_replay_notes(report) if "dropped" in note]
    assert told.startswith(f"Evidence from before {cut:%Y-%m-%d %H:%M:%S} UTC was dropped (retention, entry ")
    assert {source.basis for _, source in report.list_evidence_sources()} > {EvidenceBasis.THEN}
    assert champions(report)[-1] == really(report.models[0])[-1]
