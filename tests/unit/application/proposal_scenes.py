"""What may be going on when a look at proposals stops, or when two of them meet; and what must be so in the end."""

from __future__ import annotations

from datetime import timedelta

from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.desired import Hold
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from tests.unit.application.conftest import Office
from tests.unit.application.proposing import BRANCH, aliases, only, says, settle, told

BACK = Proposal(
    RegistryEdit("m", "champion", 2, Hold(reason="because", by="alice"), (1,)),
    1,
    None,
    ProposalReason.ROLL_BACK,
    by="alice",
    reason="because",
)
SETTINGS = "proposals: {labels: [ml], reviewers: [bob], auto_merge: true}, "


def opening(office: Office) -> None:
    """A first candidate is found."""
    office.mlflow.version("m", auc=0.9, p99=30.0, live=0.9)
    office.commit(aliases(model=SETTINGS))


def standing(office: Office) -> None:
    """It is open, and there is nothing new."""
    opening(office)
    settle(office)


def updating(office: Office) -> None:
    """A better one, after it."""
    opening(office)
    settle(office)
    office.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)


def resetting(office: Office) -> None:
    """Labels and reviewers are asked for, of what is open already."""
    office.mlflow.version("m", auc=0.9, p99=30.0, live=0.9)
    settle(office)
    office.commit(aliases(model=SETTINGS))


def closing(office: Office) -> None:
    """What is open is overtaken."""
    opening(office)
    settle(office)
    office.commit(aliases(more=", quarantine: [2]", model=SETTINGS))


def declining(office: Office) -> None:
    """A person said no."""
    opening(office)
    settle(office)
    office.hub.decline(1)


def leaving(office: Office) -> None:
    """A person committed."""
    opening(office)
    settle(office)
    office.git.push({"notes.md": b"wait"}, branch=BRANCH)
    office.mlflow.version("m", auc=0.95, p99=30.0, live=0.9)


def asking(office: Office) -> None:
    """A person's rollback: the branch is pushed, and no more."""
    updating(office)
    office.git.protected = True
    edited = office.documents.edit_registry_file(office.git.read_sources(office.git.head)["registry.yaml"], BACK.edit)
    office.git.push_proposal(BRANCH, office.git.heads[BRANCH], office.git.head, edited, BACK.commit_message)


def overriding(office: Office) -> None:
    """A person's rollback that could not wait: the ledger alone knows of it."""
    office.mlflow.version("m", auc=0.7, p99=30.0, live=0.9)
    at = office.time.now()
    until = at + timedelta(hours=24)
    record = NewAuditRecord(at, RecordKind.OVERRIDE, "m", "champion", 1, 2, actor="alice", reason="because", until=until)
    office.ledger.record_override(record)


def answering(office: Office) -> None:
    """And its pull request is closed by a person."""
    overriding(office)
    settle(office)
    office.hub.decline(1)


def after_asking(office: Office) -> None:
    """The open one says what the person asks for."""
    assert told(only(office)).aim is ProposalReason.ROLL_BACK
    assert says(office, only(office)) == {"version": 2, "quarantine": [1], "hold": "because"}
    assert len(office.hub.threads) == 1


def after_answering(office: Office) -> None:
    """Git's word counts, and nobody is asked again."""
    assert office.ledger.find_open_overrides() == []
    assert office.aliases() == {"champion": 1}
    after_declining(office)


def after_opening(office: Office) -> None:
    """One, with all that belongs to it."""
    assert told(only(office)).version == 2
    assert says(office, only(office))["version"] == 2
    thread = office.hub.threads[only(office).number]
    assert (thread.labels, thread.reviewers, thread.auto_merge) == ({"ml"}, {"bob"}, True)
    assert len(office.hub.threads) == 1


def after_updating(office: Office) -> None:
    """The same one says the better version."""
    assert told(only(office)).version == 3
    assert says(office, only(office))["version"] == 3
    assert len(office.hub.threads) == 1


def after_closing(office: Office) -> None:
    """Closed, once, with one comment, and by Promoter."""
    assert office.hub.open == []
    assert [*office.git.heads] == ["main"]
    assert told(office.hub.pulls[1]).withdrawn
    assert len(office.hub.bodies(1)) == 1
    assert len(office.hub.threads) == 1


def after_declining(office: Office) -> None:
    """Nothing is open, or opened again."""
    assert office.hub.open == []
    assert [*office.git.heads] == ["main"]
    assert len(office.hub.threads) == 1


def after_leaving(office: Office) -> None:
    """His commit is there; one comment."""
    assert office.git.nodes[office.git.heads[BRANCH]].files["notes.md"] == b"wait"
    assert len(office.hub.bodies(1)) == 1
    assert told(only(office)).version == 2


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
]
