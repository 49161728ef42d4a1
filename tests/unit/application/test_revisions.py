"""Which revision is in force: what is refused, what a restart remembers, and what replicas tell each other."""

from __future__ import annotations

import pytest

from promoter.application.work_items import PULLS, REGISTRY
from promoter.domain.audit import RevisionState
from promoter.domain.errors import Faults, TransientError
from promoter.domain.ledger.checkpoints import LifecycleEventType
from promoter.domain.notifications import EventBuilder
from tests.support.app import POLICY, App

BROKEN = {"registry.yaml": b"version: 1\nmodles: {}\n"}


@pytest.fixture
def stated(app: App) -> App:
    """A model whose champion is v1, in git and in the registry."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: 1}}", champion=POLICY)
    app.converge()
    return app


def test_broken_head(stated: App) -> None:
    """It is refused with its faults; what was in force stays, and is returned to by the branch as well."""
    good = stated.git.head
    head = stated.git.push(BROKEN)
    refreshed = stated.revisions.refresh_head()
    assert "registry.yaml:2:1" in (refreshed.refused or "")
    assert refreshed.declaration is not None
    assert refreshed.declaration.revision == good
    assert not stated.revisions.is_head_in_force
    assert stated.ledger.find_last_revision(RevisionState.REFUSED) == head
    stated.commit("m: {aliases: {champion: 2}}")
    assert stated.revisions.refresh_head().refused is None
    assert stated.revisions.is_head_in_force


def test_restart_on_a_broken_head(stated: App) -> None:
    """The last good revision is read again from the ledger's word, and everything is looked at under it."""
    good = stated.git.head
    stated.git.push(BROKEN)
    stated.mlflow.place("m", "champion", 2)
    again = stated.another()
    assert again.revisions.refresh_head().refused
    assert again.revisions.declaration_in_force is not None
    assert again.revisions.declaration_in_force.revision == good
    assert again.asked == [PULLS, REGISTRY]
    again.converge()
    assert again.aliases() == {"champion": 1}


def test_first_revision_is_broken(app: App) -> None:
    """Nothing is in force, nothing is written, and looks end quietly."""
    app.mlflow.version("m")
    app.git.push(BROKEN)
    watch = app.converge()
    assert watch.revisions.declaration_in_force is None
    assert app.model_reconciler.reconcile("m", "test") is None
    assert app.mlflow.writes == []


def test_rotation_waits_for_a_head_that_can_be_used(stated: App) -> None:
    """While the head is refused nothing is proposed: a commit would build on what nobody can read."""
    stated.commit("m: {aliases: {champion: {version: 2, policy: champion, rotation: commit}}}", champion=POLICY)
    stated.converge()
    stated.mlflow.version("m", auc=0.95)
    stated.git.push(BROKEN, "Break it")
    again = stated.another()
    assert again.converge().health.current_problems == {}
    assert stated.git.subjects[-1] == "Break it"
    again.git.push({"registry.yaml": stated.git.read_sources(stated.git.history[-2][0].revision)["registry.yaml"]}, "Mend it")
    again.converge()
    assert stated.git.subjects[-1] == "Rotate m@champion from v2 to v3"
    assert again.aliases() == {"champion": 3}


def test_few_changed_statements_need_no_survey(stated: App) -> None:
    """A commit that cannot exceed the mass-change limit comes into force without reading the registry."""
    stated.commit("m: {aliases: {champion: 2}}")
    stated.mlflow.calls.clear()
    assert stated.revisions.refresh_head().models == {"m"}
    assert stated.mlflow.calls == []


def test_policies_and_defaults_concern_everything(stated: App) -> None:
    """A change of a policy or of shared settings may change any model: all are looked at."""
    stated.commit("m: {aliases: {champion: 1}}", champion=POLICY + b"# stricter\n")
    assert stated.revisions.refresh_head().models is None
    stated.commit("m: {aliases: {champion: 1}}", head="defaults: {on_drift: report}\n")
    assert stated.revisions.refresh_head().models is None


def test_mass_change_and_its_own_limit(app: App) -> None:
    """12 of 20 are refused by 30%, 10 of 20 are not (a share counts from the eleventh), and a number is exact."""
    app.mlflow.version("m")
    app.mlflow.version("m")

    def stated(moved: int, limit: str = "30%") -> None:
        aliases = ", ".join(f"a{n}: {2 if n < moved else 1}" for n in range(20))
        app.commit(f"m: {{aliases: {{{aliases}}}}}", head=f"safety: {{max_changes: {limit}}}\n")
        app.converge()

    stated(0, "100%")
    stated(12)
    assert set(app.aliases().values()) == {1}
    stated(10)
    assert sorted(app.aliases().values()) == [1] * 10 + [2] * 10
    stated(15, "4")
    assert sorted(app.aliases().values()) == [1] * 10 + [2] * 10
    stated(15, "5")
    assert sorted(app.aliases().values()) == [1] * 5 + [2] * 15


def test_prune_counts_as_a_change(app: App) -> None:
    """Turning `prune` on is held against the limit by what it would delete, though it states nothing."""
    app.mlflow.version("m")
    for number in range(12):
        app.mlflow.place("m", f"stray{number}", 1)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    app.commit("m: {prune: true, aliases: {champion: 1}}")
    app.converge()
    assert "over `safety.max_changes" in (app.revisions.refusal_reason or "")
    assert len(app.aliases()) == 13


def test_replica_ahead(stated: App) -> None:
    """What another replica has put in force is taken in before a look, and fetched for once, not at each look."""
    behind = stated.another()
    behind.converge()
    stated.commit("m: {aliases: {champion: 2}}")
    stated.converge()
    behind.model_reconciler.reconcile("m", "test")
    assert behind.aliases() == {"champion": 2}
    assert behind.revisions.declaration_in_force is not None
    assert behind.revisions.declaration_in_force.revision == stated.git.head


def test_replica_ahead_while_git_is_gone(stated: App) -> None:
    """Where the newer revision cannot be read, nothing is done under the old one."""
    behind = stated.another()
    behind.converge()
    stated.commit("m: {aliases: {champion: 2}}")
    stated.converge()
    stated.git.trouble = TransientError("git", "gone")
    for _ in range(2):
        with pytest.raises(TransientError):
            behind.model_reconciler.reconcile("m", "test")
    assert behind.aliases() == {"champion": 2}


def test_own_commit_while_a_newer_one_is_in_force_elsewhere(stated: App) -> None:
    """Promoter's own commit is not put back in force over one that came after it."""
    base = stated.revisions.declaration_in_force
    assert base is not None
    own = stated.commit("m: {aliases: {champion: 2}}")
    declaration = stated.documents.parse_declaration(stated.git.read_sources(own), own)
    newer = stated.commit("m: {owners: [risk], aliases: {champion: 2}}")
    stated.another().converge()
    stated.revisions.adopt_own_commit(declaration, base)
    assert stated.revisions.declaration_in_force is not None
    assert stated.revisions.declaration_in_force.revision == newer


def test_faults_name_every_policy_that_is_missing(stated: App) -> None:
    """The text of a refusal is what the parser says, whole."""
    stated.commit("m: {aliases: {champion: {version: 1, policy: one}, shadow: {version: 1, policy: two}}}")
    with pytest.raises(Faults) as faults:
        stated.documents.parse_declaration(stated.git.read_sources(stated.git.head), None)
    assert stated.revisions.refresh_head().refused == str(faults.value)
    assert "`one`" in str(faults.value)
    assert "`two`" in str(faults.value)


def test_mass_drift_is_put_back_and_survives_a_restart(app: App) -> None:
    """The limit is for what commits bring: drift is no new decision, and a head that was in force stays so."""
    app.mlflow.version("m")
    app.mlflow.version("m")
    aliases = ", ".join(f"a{n}: 1" for n in range(20))
    app.commit(f"m: {{aliases: {{{aliases}}}}}", head="safety: {max_changes: 100%}\n")
    app.converge()
    app.commit(f"m: {{aliases: {{{aliases}}}}}")
    app.converge()
    for number in range(12):
        app.mlflow.place("m", f"a{number}", 2)
    again = app.another()
    again.converge()
    assert again.revisions.is_head_in_force
    assert set(again.aliases().values()) == {1}


def test_a_start_without_git(stated: App) -> None:
    """What was last in force is in force again, drift is put back under it, and git's return is taken in."""
    stated.converge()
    again = stated.another()
    again.git.trouble = TransientError("git", "gone")
    again.mlflow.place("m", "champion", 2)
    watch = again.converge()
    assert watch.health.current_problems == {"git": "gone"}
    assert again.aliases() == {"champion": 1}
    again.git.trouble = None
    again.commit("m: {aliases: {champion: 2}}")
    again.converge()
    assert again.aliases() == {"champion": 2}


def test_a_refused_head_is_an_event_once(stated: App) -> None:
    """Whoever is on call hears of it: once for each head, also after a restart, and again where it is forced back later."""

    def refused() -> list[tuple[object, object]]:
        events = stated.ledger.find_lifecycle_events()
        found = [each.facts for each in events if each.event is LifecycleEventType.REVISION_REFUSED]
        return [(each["revision"], each["in_force"]) for each in found]

    good = stated.git.head
    head = stated.git.push(BROKEN)
    for app in (stated, stated, stated.another(), stated.another()):
        app.revisions.refresh_head()
    assert refused() == [(head, good)]
    mended = stated.commit("m: {aliases: {champion: 2}}")
    stated.revisions.refresh_head()
    stated.git.heads["main"] = head
    stated.revisions.refresh_head()
    assert refused() == [(head, good), (head, mended)]
    last = stated.ledger.find_last_lifecycle_event(LifecycleEventType.REVISION_REFUSED)
    assert last is not None
    (event,) = EventBuilder("led").build_events(last)
    assert (event.type.short_name, event.subject) == ("revision-refused", head)
    assert event.summary_line.startswith(f"revision {head[:10]} is refused, and nothing of it is carried out: registry.yaml:")
    assert event.summary_line.endswith("(by Ada)")
