"""A large change goes past the mass-change limit once, where somebody whom a `review` rule names allows it."""

from __future__ import annotations

import pytest

from promoter.application.pull_plans import PullPlanUpdater
from promoter.domain.errors import TransientError
from promoter.domain.ledger.checkpoints import LifecycleEventType
from tests.support.app import App
from tests.support.pull_request_app import PullRequestApp, registry

COUNT = 12
REVIEWED = b"version: 1\nrules: [{review: {at_least: 1, from: [bob, acme/risk]}}]\n"
TRAILER = "Promoter-Allow-Changes"


def stated(version: int, more: str = "") -> str:
    """Twelve ungated aliases, and one under the policy whose rule names bob and the team."""
    aliases = ", ".join(f"a{number}: {version}" for number in range(COUNT))
    return f"m: {{aliases: {{{aliases}, champion: {{version: 1, policy: reviewed}}{more}}}}}"


@pytest.fixture
def large(app: App) -> PullRequestApp:
    """All aliases are at v1; bob and the members of acme/risk may allow a large change."""
    app.hub.teams["acme/risk"] = frozenset({"cy"})
    for _ in range(2):
        app.mlflow.version("m", auc=0.9)
    app.mlflow.place("m", "champion", 1)
    app.commit(stated(1), head="safety: {max_changes: 100%}\n", reviewed=REVIEWED)
    app.converge()
    app.commit(stated(1), reviewed=REVIEWED)
    app.converge()
    return PullRequestApp(app)


def propose(large: PullRequestApp, changes: object = COUNT, models: str = stated(2), branch: str = "change") -> int:
    """Ada proposes all of it at once, with the trailer."""
    app = large.app
    app.git.push({"registry.yaml": registry(models)}, trailers={TRAILER: str(changes)}, branch=branch)
    large.number = app.hub.opened(branch)
    return large.number


def moved(large: PullRequestApp) -> int:
    """How many of the aliases are at v2."""
    return sum(version == 2 for version in large.app.aliases().values())


def allowances(large: PullRequestApp) -> list[dict[str, object]]:
    """What the ledger has of allowances."""
    events = large.app.ledger.find_lifecycle_events()
    return [dict(each.facts) for each in events if each.event is LifecycleEventType.ALLOWED]


@pytest.mark.parametrize("by", ["bob", "cy"], ids=["named", "of a named team"])
def test_allowed_by_an_approval(large: PullRequestApp, by: str) -> None:
    """Pending until then, success after it; merged, all of it moves, and the ledger has who, how many and what, once."""
    number = propose(large)
    large.look()
    state, description = large.status
    assert (state, description) == (
        "pending",
        "waits for acme/risk or bob to approve: 12 changes at once are over `max_changes: 30%`",
    )
    assert f"`{TRAILER}: 12`" in large.comment
    large.app.hub.approve(number, by)
    large.look()
    assert large.status == ("success", "12 changes, all allowed")
    assert f"and {by} approved that" in large.comment
    commit = large.app.hub.pulls[number].head
    large.app.hub.merge(number, by="ada")
    for _ in range(2):
        large.app.another().converge()
    assert moved(large) == COUNT
    (facts,) = allowances(large)
    assert (facts["commit"], facts["allowed"], facts["changes"], facts["limit"], facts["by"]) == (commit, 12, 12, "30%", by)
    assert facts["revision"] == large.app.git.head
    assert facts["pull_request"] == large.app.hub.pulls[number].url


def test_allowed_by_who_merges(large: PullRequestApp) -> None:
    """Without an approval before."""
    number = propose(large)
    large.app.hub.merge(number, by="bob")
    large.app.converge()
    assert moved(large) == COUNT


@pytest.mark.parametrize(
    ("approve", "merge", "why"),
    [
        ("", "ada", "neither approved nor merged by acme/risk or bob"),
        ("eve", "ada", "neither approved nor merged by acme/risk or bob"),
        ("ada", "ada", "neither approved nor merged by acme/risk or bob"),
    ],
    ids=["nobody", "somebody else", "its author"],
)
def test_not_allowed(large: PullRequestApp, approve: str, merge: str, why: str) -> None:
    """Whoever is not named allows nothing: the revision is refused, and it is said who may."""
    number = propose(large)
    if approve:
        large.app.hub.approve(number, approve)
    large.look()
    assert large.status[0] == "pending"
    large.app.hub.merge(number, by=merge)
    large.app.converge()
    assert moved(large) == 0
    assert why in (large.app.revisions.refusal_reason or "")
    assert not allowances(large)


def test_an_author_who_is_named_allows_nothing_by_an_approval(large: PullRequestApp) -> None:
    """Two people are needed, but for who merges."""
    number = propose(large)
    thread = large.app.hub.threads[number]
    thread.pull = thread.pull.__class__(**{**thread.pull.__dict__, "author": "bob"})
    large.app.hub.approve(number, "bob")
    large.look()
    assert large.status[0] == "pending"


def test_an_approval_of_an_earlier_commit(large: PullRequestApp) -> None:
    """It is no approval of what came after it."""
    number = propose(large)
    large.app.hub.approve(number, "bob")
    large.app.git.push({"registry.yaml": registry(stated(2))}, trailers={TRAILER: "12"}, branch="change")
    large.look()
    assert large.status[0] == "pending"
    large.app.hub.merge(number, by="ada")
    large.app.converge()
    assert moved(large) == 0


@pytest.mark.parametrize("changes", ["11", "0", "-1", "1e9", "all", "", "99999999999999999999", "12.5", "١٢"])
def test_a_number_that_is_none_or_too_small(large: PullRequestApp, changes: str) -> None:
    """A failure, in words; approved and merged, nothing moves."""
    number = propose(large, changes)
    large.app.hub.approve(number, "bob")
    large.look()
    assert large.status[0] == "failure"
    expected = "allows fewer" if changes == "11" else f"`{TRAILER}: NUMBER`"
    assert expected in large.comment
    large.app.hub.merge(number, by="bob")
    large.app.converge()
    assert moved(large) == 0
    assert expected in (large.app.revisions.refusal_reason or "")


def test_who_may_is_said_where_nobody_asks(large: PullRequestApp) -> None:
    """Status and refusal name the trailer and the people."""
    large.propose(stated(2))
    large.look()
    assert large.status[0] == "failure"
    assert f"`{TRAILER}: NUMBER` on a commit of a pull request that acme/risk or bob approves or merges" in large.comment


def test_the_base_says_who_may(large: PullRequestApp) -> None:
    """A pull request that names its author in a rule allows itself nothing; nor does a rule that gates no alias."""
    files = {
        "registry.yaml": registry(stated(2)),
        "policies/reviewed.yaml": REVIEWED.replace(b"bob", b"eve"),
        "policies/unused.yaml": REVIEWED.replace(b"bob", b"eve"),
    }
    large.app.git.push(files, trailers={TRAILER: "12"}, branch="change")
    large.number = large.app.hub.opened("change")
    large.app.hub.approve(large.number, "eve")
    large.look()
    assert large.status[0] == "pending"
    large.app.hub.merge(large.number, by="eve")
    large.app.converge()
    assert moved(large) == 0


def test_no_rule_names_anybody(large: PullRequestApp) -> None:
    """The trailer counts for nothing then, and it is said why."""
    large.app.commit(stated(1), reviewed=b"version: 1\nrules: [{review: {at_least: 1}}]\n")
    large.app.converge()
    number = propose(large)
    large.app.hub.approve(number, "bob")
    large.look()
    assert large.status[0] == "failure"
    assert "counts for nothing" in large.comment
    large.app.hub.merge(number, by="bob")
    large.app.converge()
    assert moved(large) == 0


def test_pushed_without_a_pull_request(large: PullRequestApp) -> None:
    """Nobody stands behind it that the forge knows: waited for at first, since forges may know late, and then refused."""
    app = large.app
    app.git.push({"registry.yaml": registry(stated(2))}, trailers={TRAILER: "12"}, author="bob <bob@example.org>")
    with pytest.raises(TransientError, match="no pull request brought it so far"):
        app.revisions.refresh_head()
    assert app.revisions.is_head_in_force, "the last good one goes on"
    app.time.pass_time(days=1)
    assert "it was pushed without a pull request" in (app.revisions.refresh_head().refused or "")
    assert moved(large) == 0


def test_a_forge_that_does_not_answer(large: PullRequestApp) -> None:
    """Nothing of it moves and nothing is decided until it does; a restart meanwhile has the last good revision."""
    number = propose(large)
    app = large.app
    app.hub.approve(number, "bob")
    app.hub.merge(number, by="ada")
    app.mlflow.place("m", "a0", 2)

    def gone(call: str) -> None:
        if call == "brought":
            raise TransientError("Fake", "gone")

    app.hub.on = gone
    for again in (app, app.another()):
        watch = again.converge()
        assert "is not known" in watch.health.current_problems["forge"]
        assert moved(large) == 0, "and drift is put back"
    app.hub.on = lambda _call: None
    app.another().converge()
    assert moved(large) == COUNT
    assert len(allowances(large)) == 1


def test_it_counts_once(large: PullRequestApp) -> None:
    """The next large change is held against the limit; a small one on top meanwhile does not stop what is left of it."""
    app = large.app
    number = propose(large, 13, stated(2, ", late: 2"))
    app.hub.approve(number, "bob")
    app.hub.merge(number, by="ada")
    app.converge()
    assert moved(large) == COUNT + 1
    app.commit(stated(1, ", late: 2"))
    app.converge()
    assert moved(large) == COUNT + 1
    assert "over `safety.max_changes" in (app.revisions.refusal_reason or "")


def test_what_is_left_of_it_goes_on(large: PullRequestApp) -> None:
    """A crash right after the revision is in force, then a small commit and a restart: the rest of it still moves."""
    app = large.app
    number = propose(large)
    app.hub.approve(number, "bob")
    app.hub.merge(number, by="ada")
    app.revisions.refresh_head()  # and the process ends here
    app.commit(stated(2, ", small: 1"))
    again = app.another()
    again.revisions.refresh_head()
    last = app.another()
    last.converge()
    assert moved(large) == COUNT
    app.time.pass_time(days=8)
    assert last.revisions.declaration_in_force is not None
    assert last.revisions.declaration_in_force.find_allowance(app.time.now()) is None, "it ends"
    assert len(allowances(large)) == 1


def test_the_forge_is_not_asked_without_need(large: PullRequestApp) -> None:
    """A trailer on a change within the limit, and a plan that is read twice, cost no call."""
    propose(large, 12, stated(1, ", small: 2"))
    large.look()
    assert large.status == ("success", "1 change, all allowed")
    plans = PullPlanUpdater(large.app.hub, large.app.git, large.planner, large.app.revisions, large.app.keys, "main")
    plans.update_plan(large.number)
    assert "origin" not in {call[0] for call in large.app.hub.calls}


def test_promoter_apply_without_a_daemon(large: PullRequestApp) -> None:
    """It finds and records the allowance itself, and carries all of it out."""
    app = large.app
    number = propose(large)
    app.hub.approve(number, "bob")
    app.hub.merge(number, by="ada")
    again = app.another()
    declaration = again.documents.parse_declaration(again.git.read_sources(again.git.head), again.git.head)
    assert again.plan_applier(declaration, "apply").view.plan.refused, "without it"
    for _ in range(2):
        allowed = again.revisions.allow_changes(declaration)
    applied = again.plan_applier(allowed, "apply")
    assert (applied.view.plan.refused, applied.failed, moved(large)) == (None, {}, COUNT)
    assert "bob approved or merged it" in applied.view.plan.notes[0]
    assert len(allowances(large)) == 1
