"""Gates at work: freezes and their overrides, limits, soak, bound tags, copies, loading, and policies that only watch."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promoter.domain.observed import LoadingResult
from tests.support.app import App

FREEZE = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
freeze: [{cron: "0 18 * * FRI", duration: 62h}]
"""
FRIDAY = datetime(2026, 11, 27, 17, 59, 59, tzinfo=UTC)
STATED = "m: {{aliases: {{champion: {{version: {}, policy: p}}, challenger: {{version: {}, policy: p}}}}}}"


@pytest.fixture
def frozen(app: App) -> App:
    """Both aliases at v1, a second before a freeze begins."""
    for _ in range(3):
        app.mlflow.version("m", auc=0.9)
    for alias in ("champion", "challenger"):
        app.mlflow.place("m", alias, 1)
    app.settings = app.settings.model_copy(update={"repo": "fake"})
    app.time.at = FRIDAY
    app.commit(STATED.format(1, 1), p=FREEZE)
    app.converge()
    return app


def test_a_freeze_stops_what_comes_in_it_and_lets_it_go_afterwards(frozen: App) -> None:
    """Pending, by name, until it is over."""
    frozen.time.pass_time(seconds=1)
    frozen.commit(STATED.format(2, 1))
    frozen.converge()
    assert frozen.aliases()["champion"] == 1
    frozen.time.pass_time(hours=62)
    frozen.converge()
    assert frozen.aliases()["champion"] == 2


def test_what_has_begun_finishes(frozen: App) -> None:
    """The freeze begins between the two aliases of one commit: the second moves as well, in the same look."""
    frozen.commit(STATED.format(2, 2))
    writes = []

    def meddle(call: str) -> None:
        if call == "set_alias":
            writes.append(call)
            frozen.time.pass_time(seconds=10)

    frozen.mlflow.on = meddle
    frozen.converge()
    assert (frozen.aliases(), len(writes)) == ({"champion": 2, "challenger": 2}, 2)


def test_what_a_crash_left_half_done_finishes(frozen: App) -> None:
    """The first write was made before the freeze, and the process died: the next one goes on within it."""
    frozen.commit(STATED.format(2, 2))
    calls = []

    def die(call: str) -> None:
        calls.append(call)
        if calls.count("set_alias") == 1 and call == "aliases" and calls[-2] == "set_alias":
            raise SystemExit

    frozen.mlflow.on = die
    with pytest.raises(SystemExit):
        frozen.converge()
    frozen.mlflow.on = lambda _call: None
    assert frozen.aliases() == {"champion": 1, "challenger": 2}
    again = frozen.another()
    again.settings = frozen.settings
    again.time.at = FRIDAY + timedelta(minutes=5)
    again.converge()
    assert again.aliases() == {"champion": 2, "challenger": 2}
    again.close()


def test_a_trailer_overrides_a_freeze_and_is_recorded(frozen: App) -> None:
    """Also when other commits follow it before it is carried out. The reason is in the record."""
    frozen.time.pass_time(seconds=1)
    trailers = {"promoter-override-freeze": "fraud wave"}
    frozen.git.push({"registry.yaml": _registry(2, 1)}, "Get v2 out", trailers=trailers)
    frozen.git.push({"registry.yaml": _registry(2, 1) + b"# a comment\n"}, "Comment")
    frozen.converge()
    assert frozen.aliases()["champion"] == 2
    last = frozen.records(alias="champion")[-1].fact
    assert (last.reason, last.verdict) == ("Get v2 out; freeze overridden: fraud wave", "pass")


def test_a_trailer_of_another_commit_overrides_nothing(frozen: App) -> None:
    """Only the commit that brings the change speaks for it."""
    frozen.time.pass_time(seconds=1)
    frozen.git.push({"registry.yaml": _registry(2, 1)}, "Get v2 out")
    frozen.git.push({"registry.yaml": _registry(2, 1) + b"# .\n"}, "Later", trailers={"Promoter-Override-Freeze": "me too"})
    frozen.converge()
    assert frozen.aliases()["champion"] == 1


def _registry(champion: int, challenger: int) -> bytes:
    return f"version: 1\nmodels:\n  {STATED.format(champion, challenger)}\n".encode()


LIMITED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion}]
limits: {cooldown: 6h, max_per_day: 2}
"""
ROTATING = "m: {aliases: {champion: {policy: p, rotation: commit}}}"


def test_an_alias_rests_between_two_moves(app: App) -> None:
    """Rotation waits for the cooldown and for the day's limit; putting back drift is no move, and is not kept waiting."""
    app.mlflow.version("m", auc=0.5)
    app.commit(ROTATING, p=LIMITED)
    app.converge()
    app.mlflow.version("m", auc=0.6)
    app.converge()
    assert app.aliases() == {"champion": 1}
    app.mlflow.place("m", "champion", 2)
    app.converge()
    assert app.aliases() == {"champion": 1}
    app.time.pass_time(hours=6)
    app.converge()
    assert app.aliases() == {"champion": 2}
    app.mlflow.version("m", auc=0.7)
    app.time.pass_time(hours=7)
    app.converge()
    assert app.aliases() == {"champion": 2}
    app.time.pass_time(hours=11)
    app.converge()
    assert app.aliases() == {"champion": 3}


SOAKED = b"""version: 1
candidates: {from: challenger}
rules: [{soak: {alias: challenger, at_least: 24h}}]
"""


def test_a_version_soaks_before_it_is_promoted(app: App) -> None:
    """From the first moment that the ledger saw it on the alias; and no decision row is written while nothing changes."""
    app.mlflow.version("m")
    app.mlflow.version("m")
    app.mlflow.place("m", "challenger", 2)
    app.commit("m: {aliases: {champion: {version: 1, policy: p, rotation: commit}, challenger: 2}}", p=SOAKED)
    app.mlflow.place("m", "champion", 1)
    app.converge()
    app.converge()
    written = len(app.ledger.list_recent_decisions("m", "champion"))
    for _ in range(23):
        app.time.pass_time(hours=1)
        app.converge()
    assert app.aliases()["champion"] == 1
    assert len(app.ledger.list_recent_decisions("m", "champion")) == written
    app.time.pass_time(hours=1)
    app.converge()
    assert app.aliases()["champion"] == 2


def test_one_commit_may_promote_the_challenger_and_name_the_next(app: App) -> None:
    """The soak that the version has behind it counts, though the alias moves on first."""
    for _ in range(3):
        app.mlflow.version("m")
    both = "m: {{aliases: {{champion: {{version: {}, policy: p}}, challenger: {}}}}}"
    app.mlflow.place("m", "champion", 1)
    app.mlflow.place("m", "challenger", 2)
    app.commit(both.format(1, 2), p=SOAKED)
    app.converge()
    app.time.pass_time(hours=30)
    app.commit(both.format(2, 3))
    app.converge()
    assert app.aliases() == {"champion": 2, "challenger": 3}


BOUND = b"version: 1\nrules: [{tag: approved_by, present: true, bound: true}]\n"
PLAIN = b"version: 1\nrules: [{tag: approved_by, present: true}]\n"


def test_a_bound_tag_counts_only_if_it_was_seen_being_set(app: App) -> None:
    """What the training job brought along does not; set anew after the first look it does."""
    app.mlflow.version("m", {"approved_by": "the job itself"})
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=BOUND)
    app.converge()
    assert app.aliases() == {}
    seen = app.mlflow.models["m"]
    app.mlflow.models["m"] = replace(seen, versions={1: replace(seen.versions[1], tags={})})
    app.converge()
    app.mlflow.tag("m", 1, approved_by="risk")
    app.converge()
    assert app.aliases() == {"champion": 1}


@pytest.mark.parametrize("source", ["models:/other/7", "models:/m/1"])
def test_a_tag_that_came_with_a_copy_does_not_count(app: App, source: str) -> None:
    """Not until somebody sets it on the copy."""
    app.mlflow.version("m", {"approved_by": "risk"})
    seen = app.mlflow.models["m"]
    app.mlflow.models["m"] = replace(seen, versions={1: replace(seen.versions[1], source=source)})
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=PLAIN)
    app.converge()
    assert app.aliases() == {}
    app.mlflow.tag("m", 1, approved_by="ada")
    app.converge()
    assert app.aliases() == {"champion": 1}


def test_an_artifact_is_loaded_only_where_all_else_passes(app: App) -> None:
    """It costs seconds. One that does not load stays out."""
    policy = b"version: 1\nrules: [{metric: auc, at_least: 0.5}, {loads: true}]\n"
    app.mlflow.version("m", auc=0.1)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=policy)
    app.converge()
    assert not [call for call in app.mlflow.calls if call[0] == "loading"]
    app.mlflow.loads["m", 2] = LoadingResult("failed", "no such file")
    app.commit("m: {aliases: {champion: {version: 2, policy: p}}}")
    app.converge()
    assert app.aliases() == {}
    app.mlflow.loads.clear()
    app.converge()
    assert app.aliases() == {"champion": 2}


def test_a_policy_that_only_watches_blocks_nothing_and_is_recorded(app: App) -> None:
    """The change is made, its record has the verdict, and rotation proposes only what passes all the same."""
    audit = b"version: 1\nenforcement: audit\ncandidates: {from: any}\nrules: [{metric: auc, at_least: 0.5}]\n"
    app.mlflow.version("m", auc=0.1)
    app.commit("m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}", p=audit)
    app.converge()
    assert app.aliases() == {"champion": 1}
    fact = app.records()[-1].fact
    assert (fact.verdict, fact.outcome, fact.reason) == (
        "fail",
        "applied",
        "By hand; would be blocked, but the policy only watches",
    )
    app.mlflow.version("m", auc=0.2)
    app.converge()
    assert app.aliases() == {"champion": 1}


def test_a_waiver_that_acted_is_in_the_record(app: App) -> None:
    """With its reason and its end."""
    waived = b"""version: 1
rules: [{metric: auc, at_least: 0.5}]
waivers: [{model: m, version: 1, rule: "metric auc at_least 0.5", reason: "pilot", until: 2027-01-01T00:00:00Z}]
"""
    app.mlflow.version("m", auc=0.1)
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=waived)
    app.converge()
    fact = app.records()[-1].fact
    assert (fact.verdict, fact.reason) == (
        "pass",
        "By hand; metric auc at_least 0.5 waived until 2027-01-01 00:00 UTC: pilot",
    )
