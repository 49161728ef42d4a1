"""The past, asked of a real ledger in each kind of database: moments, times, and the whole registry."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.application.history import find_alias_at, find_alias_between, find_registry_at
from promoter.application.responses.registry import AliasAtResponse
from promoter.domain.audit import RecordFilter
from promoter.domain.decision import Decision
from promoter.domain.history import Certainty, build_alias_period, find_alias_state_at
from tests.support import ledger_week
from tests.support.ledger_week import DECISION, MODEL, NOW, on, seen

MOMENTS = [on(1) + number * timedelta(minutes=215) for number in range(42)]


@pytest.fixture
def week(ledger: SqlLedger) -> SqlLedger:
    """The ledger of a week."""
    ledger_week.write(ledger)
    return ledger


@pytest.mark.parametrize("alias", [(MODEL, "champion"), ("churn", "champion"), (MODEL, "challenger")])
def test_every_moment_agrees_with_all_of_the_records(week: SqlLedger, alias: tuple[str, str]) -> None:
    """Two records are enough to say where it stood, and the records of a time what happened in it."""
    records = list(week.find_audit_records(RecordFilter(*alias, limit=1_000)))
    for moment in MOMENTS:
        assert find_alias_at(week, *alias, moment, NOW).state == find_alias_state_at(records, moment)
    for begin, end in zip(MOMENTS[::3], MOMENTS[2::4], strict=False):
        if begin < end:
            assert find_alias_between(week, *alias, begin, end, NOW).period == build_alias_period(records, begin, min(end, NOW))


def test_the_registry_at_a_moment_agrees_with_each_of_its_aliases(week: SqlLedger) -> None:
    """Those that were certainly absent are left out; of one model where asked."""
    for moment in MOMENTS:
        found = find_registry_at(week, moment, NOW)
        told = {(each.model, each.alias): each.state for each in found.aliases}
        for place in ((MODEL, "champion"), ("churn", "champion")):
            alone = find_alias_at(week, *place, moment, NOW)
            if alone.state.is_certainly_absent:
                assert place not in told
            else:
                assert (told[place].known, told[place].versions) == (alone.state.known, alone.state.versions)
                assert alone.state.known is Certainty.NO or found.gap == alone.gap
        assert [each.model for each in find_registry_at(week, moment, NOW, [MODEL]).aliases] == [MODEL]


def test_the_auditors_question(week: SqlLedger) -> None:
    """Who served on 3 October at 14:05, which commit and whose review put it there, what was decided on which numbers."""
    found = find_alias_at(week, MODEL, "champion", on(3, 14, 5), NOW)
    assert (found.state.certain_version, found.notes) == (7, ())
    assert found.placing_record is not None
    assert found.placing_record.fact == week.find_audit_records(RecordFilter(MODEL))[-4].fact
    assert (found.placing_record.fact.revision, found.placing_record.fact.review) == (ledger_week.COMMIT, ledger_week.REVIEW)
    assert found.placing_record.hash is not None
    assert found.decision is not None
    assert found.decision.tree == DECISION.to_json()
    assert Decision.from_json(found.decision.tree).to_json() == DECISION.to_json()
    told = AliasAtResponse.from_value(found).to_json()
    assert (told["decision"]["id"], told["record"]["id"]) == (found.decision.id, told["span"]["record"])


@pytest.mark.parametrize(
    ("moment", "gap"),
    [
        (on(1, 12), None),
        (on(3, 16, 30), None),
        (on(4), (on(3, 16, 30), on(5, 10))),
        (on(5, 9, 59), (on(3, 16, 30), on(5, 10))),
        (on(6), None),
        (on(7, 12, 10), None),
    ],
)
def test_whether_somebody_watched(week: SqlLedger, moment: datetime, gap: tuple[datetime, datetime] | None) -> None:
    """A gap is told from its beginning to its end, however far that is from the moment."""
    found = find_alias_at(week, MODEL, "champion", moment, NOW).gap
    assert (found and (found.since, found.until)) == gap


def test_a_gap_of_months_is_told_whole(ledger: SqlLedger) -> None:
    """Up to now where nobody ever came back; and for ever where nobody ever was there."""
    ledger.record_observed_moves([seen(on(1), "m", None, 1)])
    assert "at any time" in find_alias_at(ledger, "m", "champion", on(2), NOW).notes[0]
    ledger_week.watch(ledger, "a", on(1), on(1, 3), stops=True)
    much_later = on(1) + timedelta(days=500)
    found = find_alias_at(ledger, "m", "champion", on(20), much_later).gap
    assert found is not None
    assert (found.since, found.until) == (on(1, 3), None)
    ledger_week.watch(ledger, "b", much_later - timedelta(days=9), much_later, stops=False)
    for moment in (on(2), on(20), on(1) + timedelta(days=200)):
        found = find_alias_at(ledger, "m", "champion", moment, much_later).gap
        assert found is not None
        assert (found.since, found.until) == (on(1, 3), much_later - timedelta(days=9))
    assert len(find_alias_between(ledger, "m", "champion", on(1), much_later, much_later).gaps) == 1


def test_a_time_that_ends_in_the_future_ends_now(week: SqlLedger) -> None:
    """And one that ends with a record knows that record."""
    found = find_alias_between(week, MODEL, "champion", on(6), on(30), NOW)
    assert found.period.end == NOW
    exact = find_alias_between(week, MODEL, "champion", on(4), on(5, 10, 0, 5), NOW)
    assert [(span.version, span.until) for span in exact.period.spans] == [(7, on(5, 10, 0, 5))]
    assert len(exact.period.doubts) == 1


def test_nothing_is_known_of_what_no_record_names(week: SqlLedger) -> None:
    """At no moment, the first of all included; and a ledger without records knows no registry."""
    ever = datetime.min.replace(tzinfo=NOW.tzinfo)
    for moment in (ever, on(3)):
        found = find_alias_at(week, "nobody", "champion", moment, NOW)
        assert (found.state.known, found.notes) == (Certainty.NO, ("unknown: there is no record of it",))
    assert find_alias_between(week, "nobody", "champion", ever, NOW, NOW).period.spans == ()
    assert find_alias_between(week, MODEL, "champion", ever, NOW, NOW).gaps[0].since is None
    assert find_registry_at(week, ever, NOW).gap is None
    assert find_registry_at(week, on(3), NOW, ["nobody"]).aliases == ()


def test_a_replica_whose_clock_is_ahead_changes_no_answer(ledger: SqlLedger) -> None:
    """The record behind the last one counts, though an earlier one has a later time."""
    ledger.record_observed_moves(
        [seen(on(1), "m", None, 1), seen(on(1, 5), "m", 1, 2, on(1, 5)), seen(on(1, 4), "m", 2, 3, on(1, 4))]
    )
    ledger.record_observed_moves([seen(on(2), "m", 3, 4, on(1, 20))])
    found = find_alias_at(ledger, "m", "champion", on(1, 4, 30), NOW).state
    assert found.span is not None
    assert (found.versions, found.span.until) == ((3,), on(2))
