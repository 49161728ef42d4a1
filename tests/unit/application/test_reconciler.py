"""Reconcile on fakes: the order of record and write, what happens when the world moves or fails, and who is named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pytest

from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.identity import RememberedVersion
from tests.support.app import POLICY, App


def once(call: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Do something right before the next call of that name."""
    left = [act]

    def meddle(name: str) -> None:
        if name == call and left:
            left.pop()()

    return meddle


def fails(error: Exception) -> Callable[[], object]:
    """Raise it."""

    def act() -> object:
        raise error

    return act


@pytest.fixture
def two(app: App) -> App:
    """A model at v1, whose champion git wants at v2 under a policy that looks at a tag."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", {"approved": "yes"}, auc=0.9)
    app.commit("m: {aliases: {champion: 1, shadow: 1}}")
    app.converge()
    gate = b"version: 1\nrules: [{tag: approved, equals: 'yes'}]\n"
    app.commit("m: {aliases: {champion: {version: 2, policy: gate}, shadow: 2}}", subject="Promote", gate=gate)
    return app


def test_nothing_to_do_leaves_no_trace(two: App) -> None:
    """Once git and the registry agree, looking again writes no alias, no commit and no row."""
    two.converge()
    before = (len(two.mlflow.writes), two.git.head, two.records(), two.ledger.list_recent_decisions())
    two.converge()
    two.another().converge()
    assert (len(two.mlflow.writes), two.git.head, two.records(), two.ledger.list_recent_decisions()) == before


def test_supports_go_first_and_each_is_recorded_around_its_write(two: App) -> None:
    """Intent, write, read back, outcome, one alias after the other; the commit's author and subject are named."""
    two.converge()
    assert [call[1:] for call in two.mlflow.writes[-2:]] == [("m", "shadow", 2), ("m", "champion", 2)]
    assert two.outcomes()[-4:] == ["intended", "applied", "intended", "applied"]
    fact = two.records(alias="champion")[-1].fact
    assert (fact.actor, fact.reason, fact.policy, fact.verdict) == ("Ada <ada@example.org>", "Promote", "gate", "pass")
    assert fact.revision == two.git.head


def test_evidence_that_changes_before_the_write(two: App) -> None:
    """What the plan saw is read again right before the write: an approval that was taken back stops it."""
    two.revisions.refresh_head()
    withdraw = once("set_alias", lambda: two.mlflow.tag("m", 2, approved="no"))
    two.mlflow.on = withdraw  # right before the write of shadow, so that champion's plan is stale
    two.model_reconciler.reconcile("m", "test")
    assert two.aliases() == {"champion": 1, "shadow": 2}
    last = two.records(alias="champion")[-1].fact
    assert last.outcome == "failed"
    assert "tag approved equals yes is fail" in str(last.reason)


def test_registry_that_moves_before_the_write(two: App) -> None:
    """Somebody else's move between plan and write ends the attempt, is recorded, and the next round plans again."""
    two.revisions.refresh_head()
    two.mlflow.on = once("set_alias", lambda: two.mlflow.place("m", "champion", 2))
    two.model_reconciler.reconcile("m", "test")
    assert two.aliases() == {"champion": 2, "shadow": 2}
    assert two.moves() == [(None, 1), (1, 2)]
    assert "moved outside Promoter" in str(two.records(alias="champion")[-1].fact.reason)


def test_refused_write(two: App) -> None:
    """A refusal closes the intent as failed, and reaches whoever asked for the look."""
    two.revisions.refresh_head()
    two.mlflow.on = once("set_alias", fails(PermanentError("MLflow", "no permission")))
    with pytest.raises(PermanentError, match="no permission"):
        two.model_reconciler.reconcile("m", "test")
    assert two.outcomes()[-2:] == ["intended", "failed"]
    assert two.aliases() == {"champion": 1, "shadow": 1}


def test_world_that_fails_before_the_write(two: App) -> None:
    """Where even the second look is not possible, nothing was written, and the intent says so at once."""
    two.revisions.refresh_head()
    seen: list[str] = []

    def second_observe(name: str) -> None:
        seen.append(name)
        if seen.count("observe") == 2:
            raise TransientError("MLflow", "gone")

    two.mlflow.on = second_observe
    with pytest.raises(TransientError):
        two.model_reconciler.reconcile("m", "test")
    assert two.outcomes()[-2:] == ["intended", "failed"]
    assert two.ledger.find_open_intents() == []


@pytest.mark.parametrize(("arrived", "outcome"), [(True, "recovered"), (False, "failed")])
def test_outcome_that_cannot_be_known(two: App, arrived: bool, outcome: str) -> None:
    """No answer and no reading back: the intent stays open, and the next look closes it by what it reads."""
    two.revisions.refresh_head()

    def gone_from_the_write_on(name: str) -> None:
        if name == "set_alias" and arrived:
            two.mlflow.place("m", "shadow", 2)
        if name in ("set_alias", "aliases"):
            raise TransientError("MLflow", "gone")

    two.mlflow.on = gone_from_the_write_on
    with pytest.raises(TransientError):
        two.model_reconciler.reconcile("m", "test")
    assert two.outcomes()[-1] == "intended"
    two.mlflow.on = lambda _name: None
    two.another().converge()
    shadow = [str(each.fact.outcome) for each in two.records(alias="shadow")]
    assert shadow[-3:] == (["applied", "intended", "recovered"] if arrived else ["failed", "intended", "applied"])
    assert outcome in shadow
    assert two.aliases() == {"champion": 2, "shadow": 2}


def test_first_move_of_an_alias_that_was_never_closed(app: App) -> None:
    """Where git and the registry agree already, and only the record is missing, a restart still closes it."""
    app.mlflow.version("m")
    app.commit("m: {aliases: {champion: 1}}")
    app.mlflow.on = once("aliases", fails(TransientError("MLflow", "gone")))
    with pytest.raises(TransientError):
        app.look()
    assert app.outcomes() == ["intended"]
    app.another().converge()
    assert app.outcomes() == ["intended", "recovered"]


def test_read_back_that_differs(two: App) -> None:
    """A write that MLflow confirms and does not show is a failure, and tried again."""
    two.revisions.refresh_head()
    two.mlflow.on = once("aliases", lambda: two.mlflow.place("m", "shadow", 1))
    with pytest.raises(TransientError, match="reads v1 after the write"):
        two.model_reconciler.reconcile("m", "test")
    assert "read back v1" in str(two.records(alias="shadow")[-1].fact.reason)


def test_drift_is_not_gated_and_names_promoter(app: App) -> None:
    """Putting back what git says is no new decision, even where the policy would not let it through today."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    app.converge()
    app.mlflow.place("m", "champion", 2)
    app.converge()
    assert app.aliases() == {"champion": 1}
    fact = app.records()[-1].fact
    assert (fact.actor, fact.policy, fact.reason) == ("Promoter", None, "drift put back: git still says so")


@pytest.mark.parametrize("fit", [True, False])
def test_return_under_a_hold(app: App, fit: bool) -> None:
    """A version that held the alias before returns under a hold if its artifact loads, whatever the policy says."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: {version: 1, policy: champion}}}", champion=POLICY)
    app.converge()
    app.commit("m: {aliases: {champion: {version: 2, policy: champion}}}")
    app.converge()
    app.mlflow.unfit = set() if fit else {("m", 1)}
    app.commit("m: {aliases: {champion: {version: 1, policy: champion, hold: {reason: bad, by: bob}}}}")
    app.converge()
    assert app.aliases() == {"champion": 1 if fit else 2}


def test_the_commit_that_first_says_it_is_named(app: App) -> None:
    """Of several commits that come at once, each change is attributed to the one that brought it."""
    for _ in range(2):
        app.mlflow.version("m")
    app.commit("m: {aliases: {a: 1, b: 1}}")
    app.converge()
    app.commit("m: {aliases: {a: 2, b: 1}}", subject="Move a")
    app.commit("m: {aliases: {a: 2, b: 2}}", subject="Move b")
    app.commit("m: {owners: [risk], aliases: {a: 2, b: 2}}", subject="Owners")
    app.converge()
    assert [app.records(alias=alias)[-1].fact.reason for alias in "ab"] == ["Move a", "Move b"]


def test_a_run_of_evidence_is_read_once_for_all(app: App) -> None:
    """The metrics for many models come in one bulk read, and none are read where no rule looks at them."""
    for model in ("m", "n", "o"):
        app.mlflow.version(model, auc=0.8)
    app.commit(
        "\n".join(f"{model}: {{aliases: {{champion: {{version: 1, policy: champion}}}}}}" for model in "mn")
        + "\no: {aliases: {champion: {version: 1, policy: tagged}}}",
        champion=POLICY,
        tagged=b"version: 1\nrules: [{tag: ok, present: true}]\n",
    )
    app.revisions.refresh_head()
    app.mlflow.calls.clear()
    app.model_reconciler.plan_all()
    assert [call for call in app.mlflow.calls if call[0] != "observe"] == [("runs", frozenset({"m-1", "n-1"}))]


Known = Mapping[str, Mapping[str, RememberedVersion]]


def look_overtaken(
    app: App, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Callable[[], Known], Callable[[], object]], Known]
) -> None:
    """A look in which `meanwhile` reads what the ledger knows: it gets that read, and the look of another replica."""
    other = app.another()
    app.revisions.refresh_head()
    other.revisions.refresh_head()
    known = app.ledger.read_last_known_versions

    def overtaken(models: Collection[str] | None = None) -> Known:
        monkeypatch.setattr(app.ledger, "read_last_known_versions", known)
        return meanwhile(lambda: known(models), lambda: other.model_reconciler.plan_all("poll"))

    monkeypatch.setattr(app.ledger, "read_last_known_versions", overtaken)
    app.model_reconciler.reconcile("m", "test")
    other.close()


def shadow_at_first(app: App, stated: int) -> None:
    """The registry has the alias at the first version, and git wants it there."""
    for _ in range(3):
        app.mlflow.version("m", auc=0.8)
    app.mlflow.place("m", "shadow", 1)
    app.commit(f"m: {{aliases: {{shadow: {stated}}}}}")


def test_a_replica_that_looks_at_all_meanwhile_tells_no_move_twice(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds no model's lock, and records what it sees for the first time between another one's look and its record."""
    shadow_at_first(app, stated=1)

    def meanwhile(known: Callable[[], Known], other: Callable[[], object]) -> Known:
        found = known()
        other()
        return found

    look_overtaken(app, monkeypatch, meanwhile)
    assert app.moves("shadow") == [(None, 1)]


def test_what_a_replica_saw_later_is_not_undone_in_the_ledger(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is read before the registry, so that a look cannot hold an older place for a newer move."""
    shadow_at_first(app, stated=2)

    def meanwhile(known: Callable[[], Known], other: Callable[[], object]) -> Known:
        app.mlflow.place("m", "shadow", 2)
        other()
        return known()

    look_overtaken(app, monkeypatch, meanwhile)
    app.converge()
    assert app.moves("shadow") == [(None, 2)]


def test_no_change_begins_where_the_ledger_was_told_otherwise(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica recorded an older place, so that this one's was left out: it is recorded before anything is changed."""
    shadow_at_first(app, stated=3)

    def meanwhile(known: Callable[[], Known], other: Callable[[], object]) -> Known:
        found = known()
        other()
        app.mlflow.place("m", "shadow", 2)
        return found

    look_overtaken(app, monkeypatch, meanwhile)
    assert app.moves("shadow") == [(None, 1), (1, 2), (2, 3)]
    assert app.aliases() == {"shadow": 3}
