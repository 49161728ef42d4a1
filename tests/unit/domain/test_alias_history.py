"""The past: what the ledger says of a moment is true, or it says that it does not know."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind, is_alias_move
from promoter.domain.history import (
    AliasPeriod,
    AliasStateAt,
    Certainty,
    IntentTimes,
    build_alias_period,
    build_alias_spans,
    build_alias_state_at,
    collect_intent_times,
    find_alias_state_at,
)
from tests.support.strategies.plans import NOW

NINE = "2026-11-23 12:09:00 UTC"
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "person", "promote", "crash", "fail"]), st.sampled_from([None, 1, 2, 3, 4]), st.integers(1, 4)
    ),
    max_size=14,
)


def minute(number: float) -> datetime:
    """That many minutes from now."""
    return NOW + timedelta(minutes=number)


class SimulatedAlias:
    """One alias, who really held it when, and the records that a ledger gets to see of it."""

    def __init__(self) -> None:
        """Nobody holds it, and nobody has looked."""
        self.minute = 0
        self.truth: list[tuple[int, int | None]] = [(0, None)]
        self.records: list[AuditRecord] = []
        self.looked: datetime | None = None
        self.unseen = False

    @property
    def held(self) -> int | None:
        """Who holds it."""
        return self.truth[-1][1]

    def really(self, number: float) -> int | None:
        """Who held it at that minute."""
        return next(version for since, version in reversed(self.truth) if since <= number)

    def step(self, what: str, version: int | None, minutes: int) -> None:
        """One thing happens. Nobody moves it twice between two looks: that, nobody could know."""
        self.minute += minutes
        if what == "look":
            self.look()
        elif what == "person" and not self.unseen:
            self.truth.append((self.minute, version))
            self.unseen = True
        elif what in ("promote", "crash", "fail"):
            self.look()
            if self.held != version:
                self.write(what, version, minutes)

    def look(self) -> None:
        """As a survey does."""
        known = next((each.fact.to_version for each in reversed(self.records) if is_alias_move(each)), None)
        if self.held != known:
            seen = self.looked if any(map(is_alias_move, self.records)) else None
            self.record(RecordKind.OBSERVED, known, self.held, None, not_before=seen)
        self.looked, self.unseen = minute(self.minute), False
        self.minute += 1

    def write(self, what: str, version: int | None, minutes: int) -> None:
        """Intent, write, outcome."""
        was = self.held
        self.record(RecordKind.CHANGE, was, version, ChangeOutcome.INTENDED)
        intent = self.records[-1].id
        self.minute += 1
        if what != "fail":
            self.truth.append((self.minute, version))
        self.minute += minutes
        outcome = {"promote": ChangeOutcome.APPLIED, "crash": ChangeOutcome.RECOVERED, "fail": ChangeOutcome.FAILED}[what]
        self.record(RecordKind.CHANGE, was, version, outcome, intent)
        self.minute += 1

    def record(
        self,
        kind: RecordKind,
        was: int | None,
        now: int | None,
        outcome: ChangeOutcome | None,
        intent: int | None = None,
        **told: Any,
    ) -> None:
        """One more."""
        fact = NewAuditRecord(minute(self.minute), kind, "fraud", "champion", was, now, outcome=outcome, **told)
        self.records.append(AuditRecord(len(self.records) + 1, fact, intent))


def lived(steps: list[tuple[str, int | None, int]]) -> SimulatedAlias:
    """A world in which that happened."""
    world = SimulatedAlias()
    for step in steps:
        world.step(*step)
    world.look()
    return world


@given(STEPS, st.booleans())
def test_what_is_certain_is_true_and_what_is_not_is_among_what_it_may_have_been(
    steps: list[tuple[str, int | None, int]], old: bool
) -> None:
    """At every moment. A ledger from before `not_before` was recorded is certain of less, and of nothing that is wrong."""
    world = lived(steps)
    records = world.records
    if old:
        records = [replace(each, fact=replace(each.fact, not_before=None)) for each in records]
    moves = [each for each in records if is_alias_move(each)]
    for half in range(2 * world.minute):
        found, really = find_alias_state_at(records, minute(half / 2)), world.really(half / 2)
        if found.known is Certainty.NO:
            assert not moves or minute(half / 2) < moves[0].fact.at
        else:
            assert really in found.versions
            assert moves[0].fact.at <= minute(half / 2)
        assert (found.known is Certainty.YES) == (len(found.versions) == 1)
        assert (found.known is Certainty.EITHER) == (found.doubt is not None) == bool(found.doubt and found.uncertainty_notes)


@given(STEPS)
def test_doubt_lasts_from_a_look_to_a_record(steps: list[tuple[str, int | None, int]]) -> None:
    """It ends with the record, and begins no earlier than the last look before it."""
    world = lived(steps)
    for each in filter(is_alias_move, world.records):
        found = find_alias_state_at(world.records, each.fact.at)
        assert found.versions[0] == each.fact.to_version
        assert found.doubt is None or found.doubt.record.id > each.id
        if each.fact.not_before:
            before = find_alias_state_at(world.records, each.fact.not_before - timedelta(seconds=1))
            assert before.doubt is None or before.doubt.record is not each


@given(STEPS, st.integers(-2, 60), st.integers(1, 40))
def test_a_period_agrees_with_each_of_its_moments(steps: list[tuple[str, int | None, int]], begin: int, length: int) -> None:
    """And needs no more of the records than those from the last before it to the first after it."""
    records = lived(steps).records
    since, until = minute(begin), minute(begin + length)
    found = build_alias_period(records, since, until)
    assert found == _from_few(records, since, until)
    for half in range(2 * length):
        moment = since + timedelta(minutes=half / 2)
        then = find_alias_state_at(records, moment)
        covering = [
            span for span in found.spans if (span.since or since) <= moment and (span.until is None or moment < span.until)
        ]
        assert covering == ([then.span] if then.span else [])
        assert [each for each in found.doubts if each.covers_moment(moment)] == ([then.doubt] if then.doubt else [])
        assert (found.first is not None and moment < found.first.fact.at) == (then.known is Certainty.NO and bool(then.first))
        assert then == _from_two(records, moment)


def _from_few(records: list[AuditRecord], since: datetime, until: datetime) -> AliasPeriod:
    """As the application asks for them."""
    moves = list(filter(is_alias_move, records))
    last = [each for each in moves if each.fact.at <= since][-1:]
    then = [each for each in moves if each.fact.at >= until][:1]
    inside = [each for each in records if since <= each.fact.at < until]
    few = {each.id: each for each in (*last, *inside, *then)}
    return build_alias_period([few[number] for number in sorted(few)], since, until, _asked_for(records))


def _from_two(records: list[AuditRecord], moment: datetime) -> AliasStateAt:
    moves = list(filter(is_alias_move, records))
    last = next((each for each in reversed(moves) if each.fact.at <= moment), None)
    then = next((each for each in moves if each.fact.at > moment), None)
    return build_alias_state_at(moment, last, then, _asked_for(records))


def _asked_for(records: list[AuditRecord]) -> IntentTimes:
    return collect_intent_times(records)


def seen(number: int, was: int | None, now: int | None, not_before: float | None = None) -> AuditRecord:
    """A move that Promoter did not make, of that minute."""
    since = None if not_before is None else minute(not_before)
    return AuditRecord(number, NewAuditRecord(minute(number), RecordKind.OBSERVED, "m", "champion", was, now, not_before=since))


@pytest.mark.parametrize(
    ("records", "known", "told", "notes"),
    [
        ([], Certainty.NO, "unknown", "unknown: there is no record of it"),
        ([seen(9, None, 6)], Certainty.NO, "unknown", f"the first record of it, of {NINE}, when it was first seen, at v6"),
        ([seen(9, 6, None)], Certainty.NO, "unknown", "which left v6; since when it was there is not recorded"),
        ([seen(1, None, 6)], Certainty.YES, "v6", ""),
        ([seen(1, None, 6), seen(2, 6, None)], Certainty.YES, "none", ""),
        ([seen(1, None, 6), seen(9, 6, 7, 4)], Certainty.EITHER, "v6 or v7",
         f"v6 or v7: somebody moved it between 2026-11-23 12:04:00 UTC and {NINE}, when it was seen"),
        ([seen(1, None, 6), seen(9, 6, 7, 6)], Certainty.YES, "v6", ""),
        ([seen(1, None, 6), seen(9, 6, None)], Certainty.EITHER, "v6 or none", f"UTC and {NINE}, and nobody recorded when"),
        ([seen(1, None, 6), seen(9, 5, 7, 8)], Certainty.EITHER, "v6 or v5 or v7", "moved it between 2026-11-23 12:01"),
        ([seen(1, None, 6), seen(9, 6, 6)], Certainty.YES, "v6", ""),
    ],
    ids=["no record", "first seen later", "left later", "since", "gone", "unwatched", "watched", "an old record", "a hole",
         "no move"],
)  # fmt: skip
def test_each_answer_in_words(records: list[AuditRecord], known: Certainty, told: str, notes: str) -> None:
    """Of the fifth minute."""
    found = find_alias_state_at(records, minute(5))
    assert (found.known, found.version_text) == (known, told)
    assert notes in " ".join(found.uncertainty_notes)
    assert bool(notes) == bool(found.uncertainty_notes)
    assert found.certain_version == (found.versions[0] if known is Certainty.YES else None)


def change(number: int, outcome: ChangeOutcome, intent: int | None = None) -> AuditRecord:
    """A move of Promoter's from v1 to v2, of that minute."""
    return AuditRecord(
        number, NewAuditRecord(minute(number), RecordKind.CHANGE, "m", "champion", 1, 2, outcome=outcome), intent
    )


def test_a_move_of_promoters_own_is_in_doubt_from_its_intent_on() -> None:
    """A crash makes that long, and then it is told; without the intent nobody knows when a recovered one began."""
    opened, first = change(4, ChangeOutcome.INTENDED), seen(1, None, 1)
    recovered, applied = change(9, ChangeOutcome.RECOVERED, 4), change(9, ChangeOutcome.APPLIED, 4)
    assert find_alias_state_at([first, opened, recovered], minute(3)).versions == (1,)
    found = find_alias_state_at([first, opened, recovered], minute(5))
    assert found.uncertainty_notes == (
        f"v1 or v2: Promoter moved it between 2026-11-23 12:04:00 UTC and {NINE}; a crash kept it from recording when",
    )
    assert found.span
    assert find_alias_state_at([first, opened, recovered], minute(10)).span.not_before == minute(4)  # type: ignore[union-attr]
    assert find_alias_state_at([first, recovered], minute(3)).known is Certainty.EITHER
    assert find_alias_state_at([first, opened, applied], minute(5)).known is Certainty.EITHER
    assert find_alias_state_at([first, applied], minute(5)).known is Certainty.YES
    assert build_alias_period([first, opened, applied], minute(2), minute(10)).uncertainty_notes
    quick = replace(opened, fact=replace(opened.fact, at=minute(8.9)))
    assert not build_alias_period([first, quick, applied], minute(2), minute(10)).uncertainty_notes, (
        "every write takes some time"
    )


def test_what_ends_when_a_period_begins_is_no_part_of_it() -> None:
    """Nor what begins when it ends."""
    records = [seen(1, None, 1), seen(5, 1, 2, 4), seen(9, 2, 3, 8)]
    assert [span.version for span in build_alias_period(records, minute(5), minute(9)).spans] == [2]
    assert [doubt.versions for doubt in build_alias_period(records, minute(5), minute(9)).doubts] == [(2, 3)]


def test_a_clock_that_went_back_confuses_nobody() -> None:
    """The later record is the one that counts, whatever the clocks of two replicas say."""
    records = [
        seen(1, None, 1),
        replace(seen(2, 1, 2), fact=seen(8, 1, 2, 8).fact),
        replace(seen(3, 2, 3), fact=seen(5, 2, 3, 5).fact),
    ]
    assert find_alias_state_at(records, minute(6)).versions == (3,)
    assert [span.version for span in build_alias_spans(records)] == [1, 2, 3]


def test_what_was_before_the_first_record_is_told_and_certain_to_nobody() -> None:
    """The span that it left has no beginning; a period over it names the first record."""
    records = [seen(5, 6, 7)]
    found = find_alias_state_at(records, minute(1))
    assert found.span is not None
    assert (found.known, found.versions, found.span.version, found.span.since) == (Certainty.NO, (), 6, None)
    period = build_alias_period(records, minute(1), minute(3))
    assert [span.version for span in period.spans] == [6]
    assert period.first is records[0]
    assert "which left v6" in period.uncertainty_notes[0]
    assert build_alias_period(records, minute(6), minute(7)).uncertainty_notes == ()
    assert build_alias_period([], minute(6), minute(7)).uncertainty_notes == ("unknown: there is no record of it",)
