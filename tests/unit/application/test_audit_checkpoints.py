"""Checkpoints are made where something was written since the last one and that is an hour old, and not of themselves."""

from __future__ import annotations

import pytest

from promoter.application.audit import CheckpointSigner
from promoter.application.audit_verify import verify_ledger
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.ledger.checkpoints import CHECKPOINT_INTERVAL, LifecycleEventType
from tests.support.app import App
from tests.support.fixtures.ledger import SIGNER


@pytest.fixture
def written(app: App) -> App:
    """A ledger with something in it."""
    app.mlflow.version("m", auc=0.8)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    return app


@pytest.fixture
def maker(written: App) -> CheckpointSigner:
    """With a key."""
    return CheckpointSigner(written.ledger, written.time, SIGNER)


def made(app: App) -> int:
    """How many there are, all of them good under the key."""
    report = verify_ledger(app.ledger, trusted=[SIGNER.public_key])
    assert report.is_sound, report.problems
    assert report.vouching["checkpoint"] == sum(report.keys.values())
    return sum(each.event is LifecycleEventType.CHECKPOINT for each in app.ledger.find_lifecycle_events())


def test_one_an_hour_where_there_is_something_new(written: App, maker: CheckpointSigner) -> None:
    """A daemon that asks every minute of a quiet day makes one, and another soon after something happens."""
    for _ in range(200):
        maker.sign_when_due()
        written.time.pass_time(minutes=1)
    assert made(written) == 1
    written.mlflow.version("m", auc=0.9)
    written.commit("m: {aliases: {champion: 2}}")
    written.converge()
    maker.sign_when_due()
    assert made(written) == 2
    written.commit("m: {aliases: {champion: 1}}")
    written.converge()
    maker.sign_when_due()
    assert made(written) == 2, "the last one is not old enough"
    written.time.pass_time(seconds=CHECKPOINT_INTERVAL.total_seconds() + 1)
    maker.sign_when_due()
    assert made(written) == 3


def test_one_at_once_for_whoever_asks(written: App, maker: CheckpointSigner) -> None:
    """Of the head as it is, whatever was signed a moment ago."""
    head = written.ledger.read_chain_head()
    number, checkpoint = maker.sign_checkpoint()
    assert (number, checkpoint.head) == (head.entry + 1, head)
    assert checkpoint.has_valid_signature
    assert maker.sign_checkpoint()[1].head.entry == number
    assert made(written) == 2


def test_two_replicas_make_one_each_at_most(written: App, maker: CheckpointSigner) -> None:
    """The second sees the first one's."""
    other = written.another()
    maker.sign_when_due()
    CheckpointSigner(other.ledger, written.time, SIGNER).sign_when_due()
    assert made(written) == 1
    other.close()


def test_a_ledger_that_cannot_be_had_stops_nobody(
    written: App, maker: CheckpointSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next tick tries again."""
    with monkeypatch.context() as gone:

        def refuse() -> None:
            raise TransientError("ledger", "database is locked")

        gone.setattr(written.ledger, "read_chain_head", refuse)
        maker.sign_when_due()
    maker.sign_when_due()
    assert made(written) == 1


def test_an_empty_ledger_is_not_vouched_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that does not say its name."""
    from promoter.domain.ledger.chain import LedgerHead

    monkeypatch.setattr(app.ledger, "read_chain_head", LedgerHead)
    maker = CheckpointSigner(app.ledger, app.time, SIGNER)
    maker.sign_when_due()
    with pytest.raises(PermanentError, match="does not say what it is called"):
        maker.sign_checkpoint()
