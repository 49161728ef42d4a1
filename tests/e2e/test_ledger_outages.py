"""The ledger locked, gone or without room: no alias moves before its intent is durable, and all goes on by itself afterwards.

Where it can be written again, the same process finishes what it had begun; meanwhile `/readyz` says what is wrong.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import ChangeOutcome, RecordKind, RevisionState, is_alias_move
from tests.e2e.conftest import MakeStage
from tests.support.fixtures.postgres import SharedPostgres, new_database
from tests.support.kills.checks import broken_links
from tests.support.kills.kill_run import KillStage
from tests.support.stage.ledger_outages import Outage, Patient, held, moved_away, no_room, small_disk, stopped, tables_held
from tests.support.stage.proxy import AliasWrite, Proxy, ProxyFault, alias_writes
from tests.support.stage.stage import assert_one_outcome_each, assert_unbroken, until

pytestmark = pytest.mark.slow

MODEL = "{model}: {{aliases: {{champion: {number}}}}}"
LOCKED = "stayed locked by another program for 10 s"
OUTAGES: dict[str, tuple[Outage, str]] = {
    "sqlite-held": (held, LOCKED),
    "sqlite-moved": (moved_away, "was moved or replaced while in use"),
    "sqlite-full": (no_room, "promoter.db: "),
    "postgresql-held": (held, LOCKED),
    "postgresql-tables-held": (tables_held, LOCKED),
    "postgresql-stopped": (stopped, "postgresql://127.0.0.1:"),
}


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path | None, SharedPostgres | None]]:
    """A database with nothing in it; the small disk that it lies on, or the server that keeps it."""
    with contextlib.ExitStack() as stack:
        if str(request.getfixturevalue("name")).startswith("sqlite"):
            disk = stack.enter_context(small_disk(tmp_path / "disk"))
            yield f"sqlite:///{tmp_path / 'disk' / 'promoter.db'}", disk, None
        else:
            server = request.getfixturevalue("postgres_server")
            yield stack.enter_context(new_database(server.url())), None, server


class OutageCase:
    """A model with three versions, and a daemon that has brought its champion to the first."""

    def __init__(self, stage: KillStage, proxy: Proxy, model: str) -> None:
        """Starts it."""
        self.stage, self.proxy, self.model = stage, proxy, model
        for auc in (0.8, 0.9, 0.95):
            stage.version(model, auc)
        self.state(1)
        mirror = str(stage.folder / "mirror.git")  # not on the ledger's disk, which is to be full
        self.daemon = stage.daemon(PROMOTER_MIRROR=mirror, MLFLOW_HTTP_REQUEST_TIMEOUT="60")
        self.until_at(1)

    @property
    def writes(self) -> list[AliasWrite]:
        """What Promoter wrote to the registry."""
        return [write for write in self.proxy.writes if write.model == self.model]

    def state(self, number: int) -> str:
        """Commit that version; the revision."""
        return self.stage.commit(MODEL.format(model=self.model, number=number))

    def until_at(self, number: int) -> None:
        """Wait until registry and ledger agree with git, and the daemon is ready."""
        self.stage.until_at(self.model, {"champion": number}, self.daemon.log)
        self.daemon.until_ready()

    @contextmanager
    def look_held_up(self, number: int) -> Iterator[None]:
        """Inside, that version is in force, and a look reads the registry before its intent; afterwards it goes on."""
        before, found = self.stage.head(), threading.Event()

        def in_force(_method: str, _path: str) -> bool:
            if not found.is_set():
                ledger = SqlLedger.open(self.stage.database, read_only=True)
                if ledger.find_last_revision(RevisionState.APPLIED) != before:
                    found.set()
                ledger.close_connections()
            return found.is_set()

        with self.proxy.broken(ProxyFault.LATE, in_force):
            self.state(number)
            until(lambda: self.proxy.hits, "the look is under way", told=self.daemon.log)
            yield

    @contextmanager
    def write_held_up(self, number: int) -> Iterator[None]:
        """Inside, that version is stated, and the write is on its way to the registry; afterwards it arrives."""
        with self.proxy.broken(ProxyFault.LATE, alias_writes):
            self.state(number)
            until(lambda: self.proxy.hits, "the write is on its way", told=self.daemon.log)
            yield

    def outcomes(self) -> list[ChangeOutcome | None]:
        """Of all that was to be done, in order."""
        return [each.fact.outcome for each in self.stage.records(self.model)]

    def assert_accounted(self) -> None:
        """What Promoter wrote is what its ledger says that it moved, and the chain holds."""
        records = self.stage.records(self.model)
        assert_one_outcome_each(records)
        assert_unbroken(self.stage.moves(self.model, "champion"))
        told = [each.fact.to_version for each in records if is_alias_move(each) and each.fact.kind is RecordKind.CHANGE]
        assert told == [write.version for write in self.writes]
        ledger = SqlLedger.open(self.stage.database, read_only=True)
        assert list(broken_links(ledger)) == []
        ledger.close_connections()


@pytest.mark.parametrize("name", OUTAGES)
def test_ledger_out_of_order(
    name: str,
    home: tuple[str, Path | None, SharedPostgres | None],
    make_stage: MakeStage,
    proxy: Proxy,
    fresh_name: str,
) -> None:
    """A look that comes to its intent meanwhile writes nothing; a write under way is closed by what the registry shows."""
    outage, said = OUTAGES[name]
    database, disk, server = home
    stage = make_stage()
    case = OutageCase(KillStage(stage, database, proxy.url), proxy, fresh_name)
    try:
        patient = Patient(case.daemon, database, disk, server)
        with contextlib.ExitStack() as stack:
            with case.look_held_up(2):
                stack.enter_context(outage(patient))
            assert said in case.daemon.until_trouble("ledger")
            assert case.stage.aliases(fresh_name) == {"champion": 1}
            assert case.daemon.ask("/healthz")[0] == 200
        case.until_at(2)

        with contextlib.ExitStack() as stack:
            with case.write_held_up(3):
                assert case.outcomes()[-1] is ChangeOutcome.INTENDED, "it was sent before its intent could be seen"
                stack.enter_context(outage(patient))
            assert said in case.daemon.until_trouble("ledger")
            assert case.stage.aliases(fresh_name) == {"champion": 3}
        case.until_at(3)

        assert case.daemon.process.poll() is None
        # A write that comes to its record only once the outage is over needs no second look: another thread told of the outage.
        assert case.outcomes()[-1] in (ChangeOutcome.RECOVERED, ChangeOutcome.APPLIED)
        assert case.outcomes()[-2] is ChangeOutcome.INTENDED
        assert [write.version for write in case.writes] == [1, 2, 3]
        case.assert_accounted()
    finally:
        case.daemon.kill()
