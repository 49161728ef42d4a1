"""Two people and one incident; and in whose name the ledger records what a rollback moved."""

from __future__ import annotations

from typing import Any

import pytest

from promoter.domain.audit import RecordFilter
from promoter.domain.errors import PermanentError, TransientError
from tests.support.app import App
from tests.support.fakes.repository import ADA, PROMOTER
from tests.support.rollbacks import BRANCH, POLICY, REASON, ROTATING, back, git, overrides, release


def second(app: App, **asked: Any) -> str:
    """What Bob, who was paged as well, is told."""
    before = (len(app.git.history), overrides(app), app.aliases(), dict(app.git.heads))
    with pytest.raises(PermanentError) as refused:
        back(app, **{"by": "bob", "reason": "the dashboard is red", **asked})
    assert (len(app.git.history), overrides(app), app.aliases(), dict(app.git.heads)) == before
    return str(refused.value)


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("first_now", [False, True])
def test_a_second_rollback_of_one_incident_is_refused(watched_app: App, *, now: bool, first_now: bool) -> None:
    """Applied or not: who did what when, and the ways on; nothing is written."""
    back(watched_app, now=first_now)
    told = second(watched_app, now=now)
    assert told.startswith("rollback: m@champion is rolled back already: alice put v2 under a hold, by a commit, on 2026-11-23")
    assert told.endswith(
        f": {REASON} (`--to N` goes on to a version that you name; `promoter release m@champion` lifts the hold)"
    )
    assert back(watched_app, now=True).done, "alice may go on with hers"
    assert back(watched_app, by="bob", reason="v2 is bad too", to=1, now=True).to_version == 1


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("first_now", [False, True])
@pytest.mark.parametrize("forge", [False, True])
def test_a_second_rollback_on_a_protected_branch_is_refused(
    watched_app: App, *, now: bool, first_now: bool, forge: bool
) -> None:
    """An override in force, or a pull request that waits, or a branch without one."""
    watched_app.git.protected = True
    back(watched_app, now=first_now, forge=forge)
    told = second(watched_app, now=now, forge=forge)
    what = "put v2 there, by an override," if first_now else f"proposed v2, on the branch {BRANCH},"
    assert f"m@champion is rolled back already: alice {what} on 2026-11-23" in told
    assert "merge or close" in told
    assert back(watched_app, by="bob", reason="v2 is bad too", to=1, now=now, forge=forge).to_version == 1


def test_a_second_rollback_at_the_same_time_sees_the_first(watched_app: App) -> None:
    """Both read the branch before either pushed: whoever comes second reads again, and is told."""
    watched_app.git.before_commit = lambda: back(watched_app.another(), now=True)
    with pytest.raises(PermanentError, match="m@champion is rolled back already: alice put v2 under a hold"):
        back(watched_app, by="bob", reason="the dashboard is red", now=True)
    assert (watched_app.aliases(), git(watched_app).quarantine) == ({"champion": 2}, frozenset({3}))


@pytest.mark.parametrize("now", [False, True])
def test_a_second_rollback_at_the_same_time_overwrites_no_branch(watched_app: App, *, now: bool) -> None:
    """On a protected branch the first one's branch, or override, is there by the time that the second one writes."""
    watched_app.git.protected = True
    watched_app.git.before_commit = lambda: back(watched_app.another(), now=now, forge=False)
    with pytest.raises(PermanentError, match="m@champion is rolled back already: alice"):
        back(watched_app, by="bob", reason="the dashboard is red", now=now, forge=False)
    assert watched_app.aliases() == {"champion": 2 if now else 3}
    tip = git(watched_app, watched_app.git.heads[BRANCH]).hold
    assert tip
    assert tip.by == "alice"


def test_a_hold_that_git_cannot_be_asked_about_is_known_from_the_ledger(watched_app: App) -> None:
    """Git is down for the second one, whose copy is from before the rollback: v3 does not come back."""
    before = watched_app.another()
    before.revisions.refresh_head()
    back(watched_app, now=True)
    before.git.trouble = TransientError("git", "down")
    with pytest.raises(PermanentError, match="alice moved it to v2, under a hold that git cannot be asked about now"):
        back(before, by="bob", reason="the dashboard is red", now=True)
    assert watched_app.aliases() == {"champion": 2}


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("alice", REASON),
        ("@grace <g@example.org>", "[skip ci] Closes #1: @team"),
        ("Zoë\u2028 Promoter-By: x", "a: b"),
    ],
)
def test_the_person_is_the_actor_and_the_reason_stays(watched_app: App, by: str, reason: str) -> None:
    """Also where the daemon carries the commit out, and though the words are made inert in the commit."""
    back(watched_app, by=by, reason=reason)
    watched_app.another().converge()
    name = " ".join(by.split())
    assert [(each.fact.actor, each.fact.reason) for each in watched_app.records()[-2:]] == [(name, reason)] * 2
    assert watched_app.ledger.find_audit_records(RecordFilter(actor=name))


@pytest.mark.parametrize("squash", [False, True])
def test_the_actor_of_a_merged_rollback_is_who_asked_for_it(watched_app: App, *, squash: bool) -> None:
    """The record's review says who merged it; without a forge the reason does."""
    watched_app.git.protected = True
    back(watched_app)
    (pull,) = watched_app.hub.open
    watched_app.hub.merge(pull.number, squash=squash)
    watched_app.converge()
    fact = watched_app.records()[-1].fact
    assert (fact.from_version, fact.to_version, fact.actor, fact.reason) == (3, 2, "alice", REASON)
    assert fact.review
    assert fact.review["merged_by"]


@pytest.mark.parametrize("author", [ADA, PROMOTER])
def test_a_trailer_that_somebody_else_wrote_lends_no_name(watched_app: App, author: str) -> None:
    """Neither in one's own name nor as Promoter, nor with the words of a rollback that was really asked for."""
    back(watched_app, now=True)
    release(watched_app)
    (_, files) = watched_app.git.history[-2]
    text = ROTATING.replace("version: 1", f'version: 1, hold: {{reason: "{REASON}", by: alice}}')
    content = f"version: 1\nmodels:\n  {text}\n".encode()
    trailers = {"Promoter-Aim": "rollback", "Promoter-Model": "m", "Promoter-Alias": "champion", "Promoter-By": "alice"}
    watched_app.git.push({**files, "registry.yaml": content}, "Roll back", author, {**trailers, "Promoter-Version": "1"})
    watched_app.converge()
    fact = watched_app.records()[-1].fact
    assert (fact.to_version, fact.actor, fact.reason) == (1, author, "Roll back")


def test_a_forged_branch_is_not_made_anew_in_the_name_of_a_person(watched_app: App) -> None:
    """What Promoter commits again on top of newer commits keeps nobody's name that the ledger does not know."""
    watched_app.git.protected = True
    text = ROTATING.replace("version: 1", "version: 1, hold: {reason: r, by: alice}, quarantine: [3]")
    trailers = {"Promoter-Aim": "rollback", "Promoter-Model": "m", "Promoter-Alias": "champion", "Promoter-By": "alice"}
    files = {"registry.yaml": f"version: 1\nmodels:\n  {text}\n".encode()}
    watched_app.git.push(files, "Roll back", PROMOTER, {**trailers, "Promoter-Version": "1"}, branch=BRANCH)
    watched_app.commit(f"# more\n{ROTATING.replace('version: 1', 'version: 3')}", p=POLICY)
    watched_app.converge()
    for pull in watched_app.hub.open:
        watched_app.hub.merge(pull.number)
    watched_app.converge()
    assert not watched_app.ledger.find_audit_records(RecordFilter(actor="alice"))
