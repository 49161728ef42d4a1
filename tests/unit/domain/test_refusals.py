"""Refusals as the ledger's events tell them: which stand, which were taken back, and which version is meant."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import ModelVersion, ObservedModel
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from promoter.domain.refusals import ProposalRefusal, RefusalMemory, RefusedAnswer, find_refusal

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
URL = "https://forge.example/models/pull/7"
V2 = ProposalRefusal("m", "champion", "rotate:2", 2, NOON, "carol", URL)
BACK = replace(V2, answer_key="guard:2:3")


def remember(*answers: ProposalRefusal | dict[str, object]) -> RefusalMemory:
    """A memory of these answers, in order: refusals, and the facts of what takes them back."""
    memory = RefusalMemory()
    for number, each in enumerate(answers, 1):
        event = LifecycleEventType.REFUSED if isinstance(each, ProposalRefusal) else LifecycleEventType.RECONSIDERED
        facts = each.event_facts if isinstance(each, ProposalRefusal) else each
        memory.add_events([LifecycleEvent(NOON + timedelta(hours=number), event, facts, number)])
    return memory


def keys(memory: RefusalMemory) -> list[str]:
    """What stands for the champion."""
    return [each.answer_key for each in memory.find_standing("m", "champion")]


def test_what_stands_is_what_nobody_took_back() -> None:
    """A refusal stands until it is taken back, and again once it is given again; a guard's is another than a rotation's."""
    back: dict[str, object] = {"model": "m", "alias": "champion", "version": 2, "answer_key": "rotate:2"}
    assert keys(remember(V2, BACK)) == ["guard:2:3", "rotate:2"]
    assert keys(remember(V2, BACK, back)) == ["guard:2:3"]
    assert keys(remember(V2, BACK, {**back, "answer_key": None})) == []
    assert keys(remember(V2, BACK, back, replace(V2, by="dan", at=NOON + timedelta(days=1)))) == ["guard:2:3", "rotate:2"]


def test_a_closing_is_known_again_whatever_the_clocks_say() -> None:
    """One closing is recorded once, also where the forge's clock is ahead of the ledger's; a later closing is another one."""
    ahead = replace(V2, at=NOON + timedelta(days=2))
    memory = remember(ahead, {"model": "m", "alias": "champion", "version": 2})
    assert memory.knows_answer(ahead, ahead.at)
    assert memory.knows_answer(ahead, None)
    assert not memory.knows_answer(ahead, ahead.at + timedelta(seconds=1))
    assert not memory.knows_answer(replace(ahead, pull_request=f"{URL}1"), ahead.at)
    assert memory.knows_key(replace(V2, pull_request=None))
    assert not memory.knows_key(replace(V2, alias="shadow"))


def test_the_facts_tell_it_again() -> None:
    """What was recorded is read back whole; facts that are none of a refusal are passed over."""
    event = LifecycleEvent(NOON, LifecycleEventType.REFUSED, BACK.event_facts, 1)
    assert ProposalRefusal.from_event(event) == BACK
    for broken in ({"answer_key": "rollback:2"}, {"answer_key": None}, {"alias": None}):
        facts = {**BACK.event_facts, **broken}
        memory = RefusalMemory()
        memory.add_events([LifecycleEvent(NOON, LifecycleEventType.REFUSED, facts, 1)])
        assert memory.find_of_model("m") == {}


def test_a_number_that_is_another_version_now_is_not_refused() -> None:
    """By its identity, and without one by the time: what was registered after the closing was not refused by it."""
    old = ObservedModel("m", versions={2: ModelVersion(2, NOON - timedelta(days=1))}, created_at=NOON - timedelta(days=9))
    new = replace(old, versions={2: ModelVersion(2, NOON + timedelta(days=1))})
    for refusal in (V2, replace(V2, identity=old.find_identity(2))):
        assert remember(refusal).find_of_model("m", old) == {"champion": (refusal,)}
        assert remember(refusal).find_of_model("m", new) == {}


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        ("rotate:2", RefusedAnswer(ProposalReason.ROTATE, 2)),
        ("adopt:2", RefusedAnswer(ProposalReason.ADOPT, 2)),
        ("guard:2:3", RefusedAnswer(ProposalReason.GUARD, 2, 3)),
        ("put-back:1:2", RefusedAnswer(ProposalReason.PUT_BACK, 1, 2)),
        ("guard:2", None),
        ("rotate:2:3", None),
        ("rollback:2", None),
        ("release:None", None),
        ("rotate:", None),
        ("rotate:²", None),
        (f"rotate:{'9' * 5_000}", None),
        ("<script>", None),
    ],
)
def test_keys_of_markers(key: str, parsed: RefusedAnswer | None) -> None:
    """Whoever writes into a body what is no key refuses nothing; a person's own request is answered, and not refused."""
    assert RefusedAnswer.parse(key) == parsed


def test_which_proposal_it_is_of() -> None:
    """The same aim and version; for a guard's return the version that broke, too."""
    rotate = Proposal(RegistryEdit("m", "champion", 2), 1, None)
    assert find_refusal([V2], replace(rotate, replaces=9)) == V2
    assert find_refusal([BACK], replace(rotate, aim=ProposalReason.GUARD, replaces=3)) == BACK
    assert find_refusal([BACK], replace(rotate, aim=ProposalReason.GUARD, replaces=4)) is None


def test_the_sentence() -> None:
    """It says who, what, when and where, or that this is not known."""
    assert V2.description == f"v2 was refused by carol on 2026-12-01 12:00:00 UTC ({URL})"
    assert replace(V2, by=None).description.startswith("v2 was refused by an account that the forge does not name on")
    assert BACK.description.startswith("the return from v3 to v2 was refused by carol")
    remembered = "v2 was refused in an earlier pull request; by whom and when is not known"
    assert replace(V2, pull_request=None).description == remembered
    assert V2.way_back == "promoter reconsider m@champion 2"
