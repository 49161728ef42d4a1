"""Checkpoints, and other witnesses of a chain: what they find, and what of them proves nothing."""

from __future__ import annotations

import pytest

from promoter.domain.approvals import SigningKey
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, seal_entry
from promoter.domain.ledger.checkpoints import LedgerCheckpoint
from promoter.domain.ledger.problems import LedgerProblem, ProblemKind
from promoter.domain.ledger.verify import ChainVerifier
from promoter.domain.ledger.witnesses import Witness, WitnessIndex
from tests.support.ledger_chains import NAME, SIGNER, chained, head_of, named, verified


def attested(entries: list[LedgerEntry], head: LedgerHead, **changed: object) -> list[LedgerEntry]:
    """With a checkpoint of that head at the end."""
    facts = {"event": "checkpoint", **LedgerCheckpoint.sign_head(head, SIGNER).event_facts, **changed}
    return [*entries, seal_entry(head_of(entries), "milestones", facts)]


def test_a_checkpoint_attests() -> None:
    """For what was written before it, under a key that is trusted; whoever made the chain anew could not sign it."""
    entries = chained([("records", {"version": number}) for number in range(5)])
    sound = attested(entries, head_of(entries))
    assert verified(sound) == verified(sound, trusted=frozenset({SIGNER.public_key})) == []
    other = SigningKey.from_seed(b"o" * 32).public_key
    assert named(verified(sound, trusted=frozenset({other}))) == [(ProblemKind.SIGNATURE, 7)]
    anew = chained([("records", {"version": number * 2}) for number in range(5)])
    assert named(verified(attested(anew, head_of(entries)))) == [(ProblemKind.REWRITTEN, 6)]


@pytest.mark.parametrize(
    "changed",
    [{"entry": 5}, {"hash": "0" * 64}, {"signature": "AAAA"}, {"signature": None}, {"key": "ed25519:AAAA"}, {"entry": "6"}],
)
def test_a_checkpoint_that_proves_nothing_is_named(changed: dict[str, object]) -> None:
    """A signature over something else, and no signature at all."""
    entries = chained([("records", {"version": number}) for number in range(5)])
    assert named(verified(attested(entries, head_of(entries), **changed))) == [(ProblemKind.SIGNATURE, 7)]


def test_a_checkpoint_of_what_comes_later_is_named() -> None:
    """Promoter attests what is there."""
    entries = chained([("records", {"version": number}) for number in range(5)])
    later = LedgerHead(NAME, 9, "0" * 64)
    assert named(verified(attested(entries, later))) == [(ProblemKind.SIGNATURE, 7)]


def test_witnesses_of_another_ledger_are_counted_apart() -> None:
    """A repository may have served an older ledger."""
    entries = chained([("records", {"version": 1})])
    witnesses = WitnessIndex(
        NAME, [Witness(LedgerHead("other", 2, "0" * 64), "commit 1f"), Witness(head_of(entries), "commit 2e", "commit")]
    )
    verifier = ChainVerifier(witnesses)
    verifier.verify_entries(entries)
    verifier.finish_verification()
    assert (verifier.problems, len(witnesses.foreign), len(witnesses.list_confirmed_witnesses("commit"))) == ([], 1, 1)


def test_the_name_of_the_ledger_is_part_of_it() -> None:
    """An export whose first line claims another name is not taken for that one."""
    entries = chained([("records", {"version": 1})])
    verifier = ChainVerifier(WitnessIndex("other"))
    verifier.verify_entries(entries)
    verifier.finish_verification()
    assert named(verifier.problems) == [(ProblemKind.MISFILED, 1)]


def succeeded(*behind: tuple[str, dict[str, object]]) -> list[LedgerEntry]:
    """A ledger that says that it follows another one, and what comes behind."""
    facts = {"event": "succeeded", "other": "other", "actor": "alice", "reason": "lost"}
    return chained([("records", {"version": 1}), ("milestones", facts), *behind])


FOREIGN = Witness(LedgerHead("other", 14, "0" * 64), "commit 1f", "commit")


def replaced(entries: list[LedgerEntry], *witnesses: Witness, trusted: frozenset[str] = frozenset()) -> list[LedgerProblem]:
    """What shows that the ledger took the place of another one."""
    verifier = ChainVerifier(WitnessIndex(NAME, [FOREIGN, *witnesses]), trusted=trusted)
    verifier.verify_entries(entries)
    verifier.finish_verification()
    return verifier.facts.find_replaced_ledger_problems()


def test_commits_that_vouch_for_another_ledger_are_a_problem() -> None:
    """Also where the ledger says that it follows that one, and nobody outside of it vouches for that."""
    assert named(replaced(chained([("records", {"version": 1})]))) == [(ProblemKind.REPLACED, 1)]
    entries = succeeded()
    assert named(replaced(entries)) == [(ProblemKind.REPLACED, 3)]
    before = Witness(LedgerHead(NAME, 2, entries[1].hash), "commit 2e", "commit")
    assert named(replaced(entries, before)) == [(ProblemKind.REPLACED, 3)], "a commit from before does not vouch for it"
    wrong = Witness(LedgerHead(NAME, 3, "0" * 64), "commit 3d", "commit")
    assert named(replaced(entries, wrong)) == [(ProblemKind.REPLACED, 3)]
    own = attested(entries, head_of(entries))
    assert named(replaced(own)) == [(ProblemKind.REPLACED, 3)], "anybody can make a key, and sign with it"


@pytest.mark.parametrize("kind", ["commit", "given"])
def test_a_succession_counts_once_somebody_outside_vouches_for_it(kind: str) -> None:
    """A commit or a head behind the entry."""
    entries = succeeded(("records", {"version": 2}))
    assert replaced(entries, Witness(head_of(entries), "w", kind)) == []


def test_a_trusted_key_vouches_for_a_succession() -> None:
    """And a key that signed nothing in this ledger is a problem of its own."""
    entries = succeeded()
    trusted = frozenset({SIGNER.public_key})
    assert replaced(attested(entries, head_of(entries)), trusted=trusted) == []
    assert named(replaced(entries, trusted=trusted)) == [(ProblemKind.REPLACED, 3), (ProblemKind.SIGNATURE, None)]
    wrong = attested(entries, head_of(entries), hash="0" * 64)
    assert named(replaced(wrong, trusted=trusted)) == [(ProblemKind.REPLACED, 3)]
