"""Replay: who would have held the alias when, on which evidence, and what would have been blocked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.audit import RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.evidence import AliasPast
from promoter.domain.policy.evaluate import evaluate_policy
from promoter.domain.replay.as_of import AliasTimeline, EvidenceLog, ReplayHistory, ReplayPolicy
from promoter.domain.replay.simulate import CandidateOutcome as Fate
from promoter.domain.replay.simulate import RotationSimulation, SimulatedSpan, judge_past_promotions, simulate_rotation
from tests.support.strategies.plans import NOW
from tests.support.strategies.replays import (
    BEATS,
    CHALLENGER,
    END,
    ENOUGH,
    evidence,
    history,
    holding,
    hours,
    lens,
    lives,
    record,
)


def spans(found: RotationSimulation) -> list[tuple[int, float, float | None]]:
    """Version, since and until in hours."""
    told = []
    for span in found.spans:
        until = (span.until - NOW) / timedelta(hours=1) if span.until else None
        told.append((span.version, (span.since - NOW) / timedelta(hours=1), until))
    return told


@pytest.mark.parametrize(
    ("seen", "policy", "expected"),
    [
        (history({1: (0, 0.5), 2: (1, 0.4), 3: (2, 0.6)}), lens(), [(1, 0, 2), (3, 2, None)]),
        (history({1: (0, 0.5), 2: (1, None), 3: (2, float("nan"))}), lens(), [(1, 0, None)]),
        (
            history({1: (-9, 0.5), 2: (-5, 0.7), 3: (2, 0.6), 4: (3, 0.8)}, champion=[(-8, None, 1), (-4, 1, 2)]),
            lens(),
            [(2, 0, 3), (4, 3, None)],
        ),
        (history({1: (-9, 0.5), 2: (-5, 0.7), 3: (2, 0.6)}, champion=[(-8, None, 1)]), lens(), [(1, 0, 0), (2, 0, None)]),
        (history({1: (-9, 0.5), 2: (2, 0.4)}, now=1), lens(), [(1, 0, None)]),
        (history({1: (-9, 0.5), 2: (2, 0.4), 3: (3, 0.6)}, now=3), lens(), [(2, 2, 3), (3, 3, None)]),
        (
            history({1: (0, 0.5), 2: (1, 0.6), 3: (2, 0.8), 4: (3, 0.7), 5: (7, 0.9)}),
            lens(limits={"cooldown": "6h"}),
            [(1, 0, 6), (3, 6, 12), (5, 12, None)],
        ),
        (
            history({1: (0, 0.5), 2: (1, 0.6), 3: (2, 0.8), 4: (30, 0.9)}),
            lens(limits={"max_per_day": 2}),
            [(1, 0, 1), (2, 1, 24), (3, 24, 30), (4, 30, None)],
        ),
        (
            history({1: (0, 0.5), 2: (1, 0.6), 3: (13, 0.7)}),
            lens(freeze=[{"cron": "0 12 * * *", "duration": "8h"}]),
            [(2, 8, 13), (3, 13, None)],
        ),
        (history({1: (0, 0.5), 2: (1, 0.6)}), lens(BEATS, {"age": {"at_least": "5h"}}), [(1, 5, 6), (2, 6, None)]),
        (history({1: (0, 0.5), 2: (98, 0.6)}), lens(BEATS, {"age": {"at_least": "5h"}}), [(1, 5, None)]),
        (
            history({1: (0, 0.5), 2: (1, 0.6)}),
            lens(BEATS, {"soak": {"alias": "challenger", "at_least": "3h"}}),
            [(1, 3, 4), (2, 4, None)],
        ),
        (
            history({1: (0, 0.5), 2: (1, 0.6), 3: (2, 0.7)}, challenger=[(0, None, 1), (5, 1, 3)]),
            lens(candidates=CHALLENGER),
            [(1, 0, 5), (3, 5, None)],
        ),
        (
            history({1: (0, 0.5), 2: (1, 0.6), 3: (2, 0.7)}, challenger=[(0, None, 1), (1, 1, 2), (2, 2, 3)]),
            lens(BEATS, {"soak": {"alias": "challenger", "at_least": "2h"}}, candidates=CHALLENGER),
            [(3, 4, None)],
        ),
        (
            history({1: (0, 0.5), 2: (1, 0.6)}, challenger=[(0, None, 1), (9, 1, None)]),
            lens({"metric": "auc", "beats": "challenger", "order": "highest"}, BEATS),
            [(2, 1, None)],
        ),
        (
            history({1: (0, 0.5), 2: (1, 0.9), 3: (2, 0.6)}, challenger=[(1, None, 2), (9, 2, 1)]),
            lens({"metric": "auc", "beats": "challenger", "order": "highest"}),
            [(1, 0, 9), (2, 9, 9), (3, 9, None)],
        ),
        (history({1: (0, 0.9), 2: (0, 0.8)}), lens(ENOUGH), [(1, 0, 0), (2, 0, None)]),
        (history({}), lens(), []),
    ],
    ids=[
        "the better one takes it", "no metric, or NaN", "the ledger knows who held it", "what was there before is a candidate",
        "who holds it now was there before", "who holds it now came later", "cooldown", "max_per_day", "freeze", "age",
        "age not over at the end", "soak is supposed", "from the alias by the ledger", "soak by the ledger",
        "another alias is beaten while somebody holds it", "another alias moved", "one after the other", "no version",
    ],
)  # fmt: skip
def test_who_would_have_held_it(
    seen: ReplayHistory, policy: ReplayPolicy, expected: list[tuple[int, float, float | None]]
) -> None:
    """Histories, each with the spans that its policy gives."""
    assert spans(simulate_rotation(seen, policy, NOW, END)) == expected


def test_what_is_learnt_of_the_holder_later() -> None:
    """Where the holder turns out to be worse than it seemed, whoever was turned down for it passes from then on."""
    memory = EvidenceLog()
    for hour, auc in ((1, 0.9), (5, 0.3)):
        memory.add_decision(record(hour, evidence(1, (0, auc))))
    seen = history({1: (0, 0.9), 2: (2, 0.5)}, memory=memory)
    assert spans(simulate_rotation(seen, lens(), NOW, END)) == [(1, 0, 5), (2, 5, None)]


def test_what_became_of_every_version() -> None:
    """Held, turned down by a rule, passed over for a better one, waiting for a limit, and not a candidate at all."""
    seen = history({1: (0, 0.5), 2: (1, 0.4), 3: (2, 0.6), 4: (3, 0.7), 5: (97, 0.9), 6: (98, 0.8)})
    seen = replace(seen, versions={**seen.versions, 6: replace(seen.versions[6], ready=False)})
    policy = lens({"metric": "auc", "at_least": 0.45}, limits={"cooldown": "96h"}, candidates={"from": "any"})
    found = simulate_rotation(seen, policy, NOW, END)
    assert {each.version: each.outcome for each in found.judged} == {
        1: Fate.HELD,
        2: Fate.TURNED_DOWN,
        3: Fate.PASSED_OVER,
        4: Fate.HELD,
        5: Fate.TURNED_DOWN,
    }
    assert found.judged[4].decision.unmet_findings[0].rule == "cooldown 4d"
    assert found.never == (6,)


def test_past_promotions() -> None:
    """Each is judged against who really held the alias then, and the rules that did not pass are named."""
    seen = history({1: (0, 0.5), 2: (1, 0.6), 3: (2, 0.4)}, champion=[(0.5, None, 1), (1.5, 1, 2), (2.5, 2, 3), (9, 3, None)])
    found = judge_past_promotions(seen, lens(limits={"cooldown": "1h"}), NOW, END)
    told = [
        (each.from_version, each.to_version, [rule.rule for rule in each.decision.unmet_findings]) for each in found.promotions
    ]
    assert told == [(None, 1, []), (1, 2, []), (2, 3, ["metric auc beats champion"])]
    soaked = replace(seen, holdings={**seen.holdings, "challenger": holding([(0, None, 2), (8, 2, 3)], seen.versions)})
    found = judge_past_promotions(soaked, lens({"soak": {"alias": "challenger", "at_least": "2h"}}), hours(1), hours(2))
    assert [each.is_blocked for each in found.promotions] == [True], "it held it for long, but not yet then"
    closer = judge_past_promotions(seen, lens(limits={"cooldown": "2h"}), hours(1), hours(2))
    assert [[rule.rule for rule in each.decision.unmet_findings] for each in closer.promotions] == [["cooldown 2h"]]


@pytest.mark.parametrize(
    ("told", "promotions", "ungated"),
    [
        ({"kind": RecordKind.OBSERVED, "outcome": None, "verdict": None, "policy": None}, 1, 0),
        ({"verdict": None, "policy": None, "actor": "Promoter"}, 0, 2),
        ({"policy": None, "actor": "ada <a@b>"}, 0, 2),
        ({"verdict": None, "policy": None, "actor": "ada <a@b>"}, 2, 0),
    ],
    ids=["first seen, then moved by hand", "drift put back", "returned under a hold", "no policy then"],
)
def test_which_moves_are_promotions(told: dict[str, Any], promotions: int, ungated: int) -> None:
    """Moves that were decisions, whoever made them."""
    seen = history({1: (0, 0.5), 2: (1, 0.6)})
    own = holding([(1, None, 1), (2, 1, 2)], seen.versions, **told)
    found = judge_past_promotions(replace(seen, holdings={**seen.holdings, "champion": own}), lens(), NOW, END)
    assert (len(found.promotions), found.ungated) == (promotions, ungated)


def test_a_freeze_that_a_commit_overrode() -> None:
    """The ledger knows the override with the decision, so that the promotion is not told as blocked."""
    memory = EvidenceLog()
    memory.add_decision(record(1, evidence(1, (0, 0.5)), past=AliasPast(override="urgent")))
    seen = history({1: (0, 0.5)}, memory=memory)
    fact = holding([(1, None, 1)], seen.versions).moves[0]
    own = AliasTimeline([replace(fact, decision=1_010)], 1, seen.versions)
    frozen = lens(freeze=[{"cron": "0 12 * * *", "duration": "8h"}])
    for number, blocked in ((1_010, False), (7, True)):
        own = AliasTimeline([replace(fact, decision=number)], 1, seen.versions)
        found = judge_past_promotions(replace(seen, holdings={**seen.holdings, "champion": own}), frozen, NOW, END)
        assert [each.is_blocked for each in found.promotions] == [blocked]


def assert_passed(
    seen: ReplayHistory, policy: ReplayPolicy, span: SimulatedSpan, held: int | None, moves: list[datetime]
) -> None:
    """Asked anew, the version passes at the beginning of its span, its limits too, against who held the alias before it."""
    asked, of = seen.build_evidence_as_of(policy, span.version, span.since, held, AliasPast(tuple(moves)))
    decision = evaluate_policy(policy.assume_unknown(of.unknown), "m", "champion", asked)
    assert decision.verdict is Verdict.PASS, decision.summary_line
    assert seen.versions[span.version].created_at <= span.since


@given(lives())
def test_spans(life: tuple[ReplayHistory, ReplayPolicy]) -> None:
    """Spans are in order and never overlap, and every simulated holder passed at its time; each version has one fate."""
    seen, policy = life
    found = simulate_rotation(seen, policy, NOW, END)
    held, moves = None, list(seen.replayed_timeline.list_gated_moves(NOW))
    for index, span in enumerate(found.spans):
        after = found.spans[index + 1] if index + 1 < len(found.spans) else None
        assert (span.until, span.replaced_by) == ((after.since, after.version) if after else (None, None))
        assert NOW <= span.since <= (span.until or END) <= END
        assert span.judged is not None or index == 0
        if span.judged is not None:
            assert_passed(seen, policy, span, held, moves)
            moves.append(span.since)
        held = span.version
    fates = {each.version: each.outcome for each in found.judged}
    assert not fates.keys() & set(found.never)
    assert {version for version, fate in fates.items() if fate is Fate.HELD} <= {span.version for span in found.spans}


@given(lives(), st.randoms())
def test_the_order_in_which_it_is_told_does_not_matter(life: tuple[ReplayHistory, ReplayPolicy], chance: Any) -> None:
    """The same versions in any order give the same spans."""
    seen, policy = life
    versions = list(seen.versions.items())
    chance.shuffle(versions)
    assert simulate_rotation(replace(seen, versions=dict(versions)), policy, NOW, END) == simulate_rotation(
        seen, policy, NOW, END
    )
