"""Rotation by pull request: at most one open for an alias, that says what is wanted now."""

from __future__ import annotations

import pytest

from promoter.application.comments import LEFT_ALONE, NOTE
from promoter.domain.errors import PermanentError, TransientError
from tests.support.app import App
from tests.support.fakes.repository import PROMOTER
from tests.support.proposals import BRANCH, RULES, aliases, only, propose, says, settle, told, writes


@pytest.fixture
def proposed(app: App) -> App:
    """Version 2 is better than the champion, and proposed."""
    return propose(app, 0.8, 0.9)


def test_opened(proposed: App) -> None:
    """From the branch of the alias, with one commit of Promoter's; the alias and the watched branch stay as they are."""
    pull = only(proposed)
    assert (pull.branch, pull.title, pull.base) == (BRANCH, "Rotate m@champion from v1 to v2", "main")
    assert "auc beats champion by 0.005" in pull.body
    assert (told(pull).version, told(pull).alias) == (2, "champion")
    assert says(proposed, pull)["version"] == 2
    assert proposed.git.read_commit(pull.head).trailers["Promoter-Aim"] == "rotate"
    assert proposed.git.subjects == ["By hand"]
    assert proposed.aliases() == {"champion": 1}


def test_nothing_new_writes_nothing(proposed: App) -> None:
    """However often it is looked at, also by a process that has just started, and however much time has passed."""
    before = writes(proposed)
    proposed.time.pass_time(hours=3)
    proposed.propose()
    again = proposed.another()
    again.time.pass_time(days=2)
    again.propose()
    assert writes(proposed) == before


def test_merged(proposed: App) -> None:
    """Reconcile moves the alias, the branch goes, and nothing is proposed any more."""
    proposed.hub.merge(only(proposed).number, delete_branch=False)
    settle(proposed)
    assert proposed.aliases() == {"champion": 2}
    assert (proposed.hub.open, [*proposed.git.heads]) == ([], ["main"])


def test_squashed(proposed: App) -> None:
    """The commit that the forge makes is not the branch's: what counts is what the files say."""
    proposed.hub.merge(only(proposed).number, squash=True, delete_branch=False)
    settle(proposed)
    assert proposed.aliases() == {"champion": 2}
    assert [*proposed.git.heads] == ["main"]


def test_a_better_candidate(proposed: App) -> None:
    """The same pull request says the other version; the branch is made anew on the watched branch's head."""
    first = only(proposed)
    proposed.mlflow.version("m", auc=0.95, p99=30.0)
    proposed.propose()
    pull = only(proposed)
    assert (pull.number, pull.title) == (first.number, "Rotate m@champion from v1 to v3")
    assert says(proposed, pull)["version"] == 3
    assert proposed.git.nodes[pull.head].parents == (proposed.git.head,)


def test_a_worse_candidate_changes_nothing(proposed: App) -> None:
    """Not even the picture, which ends with the version that is proposed."""
    before = writes(proposed)
    proposed.mlflow.version("m", auc=0.1, p99=30.0)
    proposed.propose()
    assert writes(proposed) == before


def test_evidence_that_changes(proposed: App) -> None:
    """The body is revised, and the branch, whose content is the same, is not."""
    head = only(proposed).head
    run = proposed.mlflow.all_runs["m-2"]
    proposed.mlflow.all_runs["m-2"] = type(run)(run.run_id, run.status, {**run.metrics, "auc": 0.91})
    proposed.propose()
    assert only(proposed).head == head
    assert "0.91" in only(proposed).body


def test_the_watched_branch_moves_on(proposed: App) -> None:
    """Elsewhere in the file: the branch merges as it is, and is kept. At the same line: it is made anew."""
    head = only(proposed).head
    proposed.commit(aliases(), head="safety: {max_changes: 5}\n")
    proposed.propose()
    assert only(proposed).head == head
    proposed.commit(aliases(more=", quarantine: [7]"))
    proposed.propose()
    assert only(proposed).head != head
    assert says(proposed, only(proposed)) == {"version": 2, "quarantine": [7], "hold": None}


def test_a_body_that_somebody_edits(proposed: App) -> None:
    """His words stay, as long as there is nothing new to say."""
    thread = proposed.hub.threads[1]
    thread.pull = type(thread.pull)(**{**vars(thread.pull), "body": thread.pull.body + "\n- [x] seen\n"})
    before = writes(proposed)
    proposed.propose()
    assert writes(proposed) == before


def test_a_commit_of_a_person(proposed: App) -> None:
    """The branch is his now: nothing is pushed or rewritten, whatever is found; one comment says so, once."""
    proposed.git.push({"notes.md": b"wait"}, branch=BRANCH)
    head = proposed.git.heads[BRANCH]
    proposed.mlflow.version("m", auc=0.95, p99=30.0)
    for _ in range(3):
        proposed.propose()
    pull = only(proposed)
    assert (pull.head, pull.title) == (head, "Rotate m@champion from v1 to v2")
    assert proposed.hub.bodies(1) == [f"{NOTE}\n{LEFT_ALONE}"]
    proposed.commit(aliases(more=", hold: {reason: audit, by: bob}"))
    proposed.propose()
    assert only(proposed).head == head


def test_a_branch_that_says_more(proposed: App) -> None:
    """Whatever Promoter's own account has put there: what is merged is what the pull request says, and nothing else."""
    tip = proposed.git.read_commit(only(proposed).head)
    more = proposed.git.read_sources(tip.revision)["registry.yaml"].replace(b"pull-request", b"off")
    proposed.git.push({"registry.yaml": more}, tip.subject, PROMOTER, tip.trailers, BRANCH)
    proposed.propose()
    merged = proposed.git.preview_merge(proposed.git.head, only(proposed).head).sources["registry.yaml"]
    assert merged == proposed.git.read_sources(proposed.git.head)["registry.yaml"].replace(b"version: 1, p", b"version: 2, p")


def test_a_person_s_branch_without_a_pull_request(app: App) -> None:
    """Nobody's work is overwritten: a person is told, once there is something to propose."""
    app.commit(aliases(), champion=RULES)
    app.git.push({"notes.md": b"mine"}, branch=BRANCH)
    app.mlflow.version("m", auc=0.8, p99=30.0)
    settle(app)
    app.mlflow.version("m", auc=0.9, p99=30.0)
    with pytest.raises(PermanentError, match="has commits that are not Promoter's"):
        app.propose()
    assert app.hub.open == []


def test_a_person_pushes_in_between(proposed: App) -> None:
    """His commit arrives after the look began: it is seen by compare-and-swap, and kept."""
    proposed.mlflow.version("m", auc=0.95, p99=30.0)

    def meddle(call: str) -> None:
        if call == "propose":
            proposed.git.on = lambda _: None
            proposed.git.push({"notes.md": b"wait"}, branch=BRANCH)

    proposed.git.on = meddle
    proposed.propose()
    assert proposed.git.nodes[proposed.git.heads[BRANCH]].files["notes.md"] == b"wait"
    assert only(proposed).title == "Rotate m@champion from v1 to v2"
    assert proposed.hub.bodies(1) == [f"{NOTE}\n{LEFT_ALONE}"]


def test_labels_reviewers_and_auto_merge(app: App) -> None:
    """As the settings say; changed settings are carried to what is open."""
    model = "proposals: {labels: [ml], reviewers: [acme/risk], auto_merge: true}, "
    propose(app, 0.8, 0.9)
    app.commit(aliases(model=model))
    app.propose()
    thread = app.hub.threads[1]
    assert (thread.labels, thread.reviewers, thread.auto_merge) == ({"ml"}, {"acme/risk"}, True)
    before = writes(app)
    app.propose()
    assert writes(app) == before


def test_reviews_come_with_the_pull_request(app: App) -> None:
    """A candidate for which nothing but reviews is pending is proposed, and stays open as it is."""
    propose(app, 0.8)
    app.commit(aliases(), champion=RULES.replace(b"rules:\n", b"rules:\n  - {review: {at_least: 1}}\n"))
    settle(app)
    app.mlflow.version("m", auc=0.9, p99=30.0)
    settle(app)
    assert "waits for is reviews" in only(app).body
    before = writes(app)
    app.propose()
    assert writes(app) == before


def test_without_a_revision_in_force(proposed: App) -> None:
    """A head that cannot be read proposes nothing, and closes nothing."""
    proposed.git.push({"registry.yaml": b"nonsense"})
    before = writes(proposed)
    assert proposed.propose() is False
    assert writes(proposed) == before


def test_which_models_are_looked_at(proposed: App) -> None:
    """Those with something open, by its marker; those with a branch, by its commit; a fork's never."""
    proposals = proposed.proposal_reconciler
    assert proposals is not None
    assert proposals.find_models(proposed.hub.open) == {"m"}
    assert proposals.find_models([]) == {"m"}
    del proposed.git.heads[BRANCH]
    pull = proposed.hub.threads[1].pull
    assert proposals.find_models([pull]) == {"m"}
    assert proposals.find_models([type(pull)(**{**vars(pull), "fork": True})]) == set()
    assert proposals.find_models([type(pull)(**{**vars(pull), "body": "", "branch": "promoter/n/champion"})]) == {"n"}


def test_a_branch_that_the_forge_lost(proposed: App) -> None:
    """A branch without a pull request is opened; one that nothing is wanted of goes."""
    del proposed.hub.threads[1]
    proposed.propose()
    assert only(proposed).branch == BRANCH
    proposed.hub.threads.clear()
    proposed.commit(aliases(more=", quarantine: [2]"))
    proposed.propose()
    assert (proposed.hub.open, [*proposed.git.heads]) == ([], ["main"])


def test_the_forge_is_down(proposed: App) -> None:
    """It is tried again; reconcile, which needs no forge, goes on."""

    def down(_call: str) -> None:
        raise TransientError("forge", "gone")

    proposed.hub.on = down
    with pytest.raises(TransientError):
        proposed.propose()
    proposed.mlflow.place("m", "champion", None)
    proposed.look()
    assert proposed.aliases() == {"champion": 1}


def test_a_file_that_cannot_be_edited(app: App) -> None:
    """A person is told which value stands in the way; nothing is pushed."""
    for auc in (0.8, 0.9):
        app.mlflow.version("m", auc=auc, p99=1.0)
    shared = "m: {aliases: {champion: &a {version: 1, policy: champion, rotation: pull-request}, shadow: *a}}"
    app.commit(shared, champion=RULES)
    app.look()
    with pytest.raises(PermanentError, match="shared through an anchor"):
        app.propose()
    assert [*app.git.heads] == ["main"]
