"""Checkpoints, and other witnesses of a chain: what they find, and what of them proves nothing."""

from __future__ import annotations

import pytest

from promoter.domain.approvals import SigningKey
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, seal_entry
from promoter.domain.ledger.checkpoints import LedgerCheckpoint
from promoter.domain.ledger.problems import ProblemKind
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
