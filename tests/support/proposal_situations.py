"""What may be going on when a look at proposals stops, or when two of them meet; and what must be so in the end."""

from __future__ import annotations

from datetime import timedelta

from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.desired import Hold
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from tests.support.app import App
from tests.support.proposals import BRANCH, aliases, only, says, settle, told

BACK = Proposal(
    RegistryEdit("m", "champion", 2, Hold(reason="because", by="alice"), (1,)),
    1,
    None,
    ProposalReason.ROLL_BACK,
    by="alice",
    reason="because",
)
SETTINGS = "proposals: {labels: [ml], reviewers: [bob], auto_merge: true}, "


def opening(app: App) -> None:
    """A first candidate is found."""
    app.mlflow.version("m", auc=0.9, p99=30.0, live=0.9)
    app.commit(aliases(model=SETTINGS))


def standing(app: App) -> None:
    """It is open, and there is nothing new."""
    opening(app)
    settle(app)


def updating(app: App) -> None:
    """A better one, after it."""
    opening(app)
    settle(app)
    app.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)


def resetting(app: App) -> None:
    """Labels and reviewers are asked for, of what is open already."""
    app.mlflow.version("m", auc=0.9, p99=30.0, live=0.9)
    settle(app)
    app.commit(aliases(model=SETTINGS))


def closing(app: App) -> None:
    """What is open is overtaken."""
    opening(app)
    settle(app)
    app.commit(aliases(more=", quarantine: [2]", model=SETTINGS))


def declining(app: App) -> None:
    """A person said no."""
    opening(app)
    settle(app)
    app.hub.decline(1)


def leaving(app: App) -> None:
    """A person committed."""
    opening(app)
    settle(app)
    app.git.push({"notes.md": b"wait"}, branch=BRANCH)
    app.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)


def asking(app: App) -> None:
    """A person's rollback: the branch is pushed, and no more."""
    updating(app)
    app.git.protected = True
    edited = app.documents.edit_registry_file(app.git.read_sources(app.git.head)["registry.yaml"], BACK.edit)
    app.git.push_proposal(BRANCH, app.git.heads[BRANCH], app.git.head, edited, BACK.commit_message)


def overriding(app: App) -> None:
    """A person's rollback that could not wait: the ledger alone knows of it."""
    app.mlflow.version("m", auc=0.7, p99=30.0, live=0.9)
    at = app.time.now()
    until = at + timedelta(hours=24)
    record = NewAuditRecord(at, RecordKind.OVERRIDE, "m", "champion", 1, 2, actor="alice", reason="because", until=until)
    app.ledger.record_override(record)


def answering(app: App) -> None:
    """And its pull request is closed by a person."""
    overriding(app)
    settle(app)
    app.hub.decline(1)


def ending(app: App) -> None:
    """It has ended, as nobody decided: the ledger alone knows of that, too."""
    overriding(app)
    settle(app)
    (override,) = app.ledger.find_open_overrides()
    app.ledger.end_override(override.id, app.time.now(), "expired: nobody decided in time; v1 returns")


def after_ending(app: App) -> None:
    """Git's word counts; the pull request is open, says what is so, and has one comment on what happened."""
    assert app.aliases() == {"champion": 1}
    assert told(only(app)).override is None
    (said,) = app.hub.bodies(only(app).number)
    assert "has ended: nobody decided.** So **v1 returns**." in said
    assert len(app.hub.threads) == 1


def after_asking(app: App) -> None:
    """The open one says what the person asks for."""
    assert told(only(app)).aim is ProposalReason.ROLL_BACK
    assert says(app, only(app)) == {"version": 2, "quarantine": [1], "hold": "because"}
    assert len(app.hub.threads) == 1


def after_answering(app: App) -> None:
    """Git's word counts, and nobody is asked again."""
    assert app.ledger.find_open_overrides() == []
    assert app.aliases() == {"champion": 1}
    after_declining(app)


def after_opening(app: App) -> None:
    """One, with all that belongs to it."""
    assert told(only(app)).version == 2
    assert says(app, only(app))["version"] == 2
    thread = app.hub.threads[only(app).number]
    assert (thread.labels, thread.reviewers, thread.auto_merge) == ({"ml"}, {"bob"}, True)
    assert len(app.hub.threads) == 1


def after_updating(app: App) -> None:
    """The same one says the better version."""
    assert told(only(app)).version == 3
    assert says(app, only(app))["version"] == 3
    assert len(app.hub.threads) == 1


def after_closing(app: App) -> None:
    """Closed, once, with one comment, and by Promoter."""
    assert app.hub.open == []
    assert [*app.git.heads] == ["main"]
    assert told(app.hub.pulls[1]).withdrawn
    assert len(app.hub.bodies(1)) == 1
    assert len(app.hub.threads) == 1


def after_declining(app: App) -> None:
    """Nothing is open, or opened again."""
    assert app.hub.open == []
    assert [*app.git.heads] == ["main"]
    assert len(app.hub.threads) == 1


def after_leaving(app: App) -> None:
    """His commit is there; one comment."""
    assert app.git.nodes[app.git.heads[BRANCH]].files["notes.md"] == b"wait"
    assert len(app.hub.bodies(1)) == 1
    assert told(only(app)).version == 2


SCENES = [
    (opening, after_opening),
    (updating, after_updating),
    (resetting, after_opening),
    (closing, after_closing),
    (declining, after_declining),
    (leaving, after_leaving),
    (asking, after_asking),
    (overriding, after_asking),
    (answering, after_answering),
    (ending, after_ending),
]
