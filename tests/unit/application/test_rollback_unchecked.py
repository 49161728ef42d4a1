"""Back to what served, although its artifact does not pass its check: for a version that served, by name, and recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promoter.application.audit_rerun import DecisionRerunner
from promoter.domain.audit import RecordKind
from promoter.domain.errors import Faults, PermanentError
from promoter.domain.ledger.rerun import RerunOutcome
from promoter.domain.policy.evaluate import list_remedies
from tests.support.app import App
from tests.support.rollbacks import POLICY, REASON, back, git

HELD = "m: {aliases: {champion: {version: %d, policy: p, hold: {reason: bad recall, by: alice%s}}}}"
UNCHECKED = ", without_artifact_check: %d"
STRICT = POLICY.replace(b"0.5", b"0.75")
"""A policy that only v3 passes."""


@pytest.fixture
def spoiled(watched_app: App) -> App:
    """v3 is the champion; v1 and v2 were, and neither of them loads any more."""
    watched_app.mlflow.unfit |= {("m", 1), ("m", 2)}
    return watched_app


def why_blocked(app: App) -> str:
    """What keeps the alias where it is."""
    app.converge()
    assert app.revisions.declaration_in_force
    return "; ".join(each.reason for each in app.planner(app.revisions.declaration_in_force).plan.blocked)


def test_a_version_that_served_is_refused_with_the_way_past_it(spoiled: App) -> None:
    """It is named with the time until which it served and with what is wrong; nothing is written."""
    commits = len(spoiled.git.history)
    with pytest.raises(PermanentError) as refused:
        back(spoiled, to=2)
    assert refused.match(r"v2 served until 2026-\S+ \S+ UTC, and is not ready \(sklearn; does not load: sklearn\)")
    assert refused.match(r"`--to 2 --without-artifact-check` puts it back all the same, in your name; or name another")
    with pytest.raises(PermanentError, match=r"v1 served until .* is not ready .*with --without-artifact-check, one that"):
        back(spoiled)
    assert len(spoiled.git.history) == commits


def test_by_commit_the_daemon_lets_it_through_and_records_who_said_so(spoiled: App) -> None:
    """Git states it beside the hold; the gate says what it left out, in whose name, and comes out the same when made again."""
    done = back(spoiled, to=2, without_artifact_check=True)
    assert done.done
    hold = git(spoiled).hold
    assert hold
    assert (hold.reason, hold.by, hold.without_artifact_check) == (REASON, "alice", 2)
    assert any("although v2 served until" in line for line in done.messages)
    spoiled.converge()
    assert spoiled.aliases() == {"champion": 2}
    last = spoiled.records()[-1]
    assert (last.fact.actor, last.fact.verdict, last.fact.policy) == ("alice", "pass", None)
    assert last.fact.reason == "bad recall; ready without artifact check, by alice: bad recall"
    decision = spoiled.ledger.find_decision(last.id)
    assert decision
    (rule,) = decision.tree["rules"]
    assert rule["waived"] == {"verdict": "fail", "waiver": "without artifact check, by alice: bad recall"}
    assert rule["value"] == "sklearn; does not load: sklearn", "what was found is recorded"
    rerun = DecisionRerunner(spoiled.ledger, spoiled.documents).rerun_decision(decision.id)
    assert rerun.ending is RerunOutcome.SAME


def test_on_a_protected_branch_the_override_carries_it(spoiled: App) -> None:
    """The record of the override says so, the daemon honours it, and the pull request states it for the time after."""
    spoiled.git.protected = True
    done = back(spoiled, to=2, now=True, without_artifact_check=True)
    assert (done.path, spoiled.aliases()) == ("override", {"champion": 2})
    begun = next(each for each in spoiled.records() if each.fact.kind is RecordKind.OVERRIDE)
    assert begun.fact.without_artifact_check is True
    assert begun.to_event_data()["without_artifact_check"] is True
    spoiled.mlflow.place("m", "champion", 3)
    spoiled.another().converge()
    assert spoiled.aliases() == {"champion": 2}, "a daemon that has just started reads it from the ledger"
    assert done.revision
    stated = git(spoiled, done.revision).hold
    assert stated
    assert stated.without_artifact_check == 2


def test_an_override_with_the_check_gives_way_to_one_without(watched_app: App) -> None:
    """The first one was recorded while v2 still loaded, and never moved anything; who asks again, without, is served."""
    watched_app.git.protected = True
    back(watched_app, to=2, now=True)
    watched_app.mlflow.unfit.add(("m", 2))
    watched_app.mlflow.place("m", "champion", 3)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    back(watched_app, to=2, now=True, without_artifact_check=True)
    assert watched_app.aliases() == {"champion": 2}


def test_a_blocked_return_names_the_way_past_the_check(spoiled: App) -> None:
    """What people read of a commit that brought it says by which command it comes back; of one that passes, nothing."""
    spoiled.commit(HELD % (2, ""), p=POLICY)
    assert "ready is fail" in why_blocked(spoiled)
    declaration = spoiled.revisions.declaration_in_force
    assert declaration
    (change,) = spoiled.planner(declaration).plan.changes
    assert change.decision
    command = "promoter rollback m@champion --to 2 --without-artifact-check --reason TEXT"
    assert list_remedies(None, change.decision) == (f"run `{command}`, if it serves all the same",)
    spoiled.commit(HELD % (2, UNCHECKED % 2), p=POLICY)
    spoiled.revisions.refresh_head()
    declaration = spoiled.revisions.declaration_in_force
    assert declaration
    (change,) = spoiled.planner(declaration).plan.changes
    assert change.decision
    assert list_remedies(None, change.decision) == ()


@pytest.mark.parametrize(
    ("version", "waived", "blocked"),
    [
        (2, ", until: 2020-01-01T00:00:00Z" + UNCHECKED % 2, "metric auc at_least 0.75"),
        (2, UNCHECKED % 1, "ready is fail"),
        (1, UNCHECKED % 2, "ready is fail"),
        (4, UNCHECKED % 4, "metric auc at_least 0.75"),
    ],
    ids=["the hold is over", "another version is named", "the version changed", "it never served"],
)
def test_it_counts_for_that_version_alone(spoiled: App, version: int, waived: str, blocked: str) -> None:
    """By hand or by command: only for the version that it names, while its hold is in force, and only if that one served."""
    spoiled.mlflow.version("m", auc=0.6)
    spoiled.mlflow.unfit.add(("m", 4))
    spoiled.commit(HELD % (version, waived), p=STRICT)
    assert blocked in why_blocked(spoiled)
    assert spoiled.aliases() == {"champion": 3}


def test_another_version_of_that_number_is_checked(spoiled: App) -> None:
    """v2 was registered anew since it served: the waiver is not for it, and its policy decides."""
    seen = spoiled.mlflow.models["m"]
    spoiled.time.pass_time(minutes=1)
    anew = replace(seen.versions[2], created_at=spoiled.time.now(), run_id="m-9")
    spoiled.mlflow.models["m"] = replace(seen, versions={**seen.versions, 2: anew})
    with pytest.raises(PermanentError, match="v2 never held it, as far as the ledger knows"):
        back(spoiled, to=2, without_artifact_check=True)
    spoiled.commit(HELD % (2, UNCHECKED % 2), p=STRICT)
    assert "metric auc" in why_blocked(spoiled)


def test_what_never_served_or_is_not_registered_is_never_let_through(spoiled: App) -> None:
    """A new version is checked; so is one whose registration failed; and no version is left to chance."""
    spoiled.mlflow.version("m", auc=0.9)
    with pytest.raises(PermanentError, match="v4 never held it"):
        back(spoiled, to=4, without_artifact_check=True)
    spoiled.mlflow.fail("m", 2)
    with pytest.raises(PermanentError, match="v2 is still being registered, or its registration failed"):
        back(spoiled, to=2, without_artifact_check=True)
    with pytest.raises(PermanentError, match="--without-artifact-check is for a version that you name"):
        back(spoiled, without_artifact_check=True)


def test_a_family_leaves_no_check_out(spoiled: App) -> None:
    """A number means another version in each model: such a hold is a fault where many models share it."""
    hold = "hold: {reason: r, by: a, without_artifact_check: 2}"
    for head in (
        f"defaults: {{aliases: {{champion: {{{hold}}}}}}}\n",
        f'families: [{{match: "m", aliases: {{champion: {{{hold}}}}}}}]\n',
    ):
        text = f"version: 1\n{head}models: {{}}\n".encode()
        with pytest.raises(Faults, match="write that hold at the model's own alias"):
            spoiled.documents.parse_declaration({"registry.yaml": text}, None)
