"""Rerun: a recorded decision is made again from what the ledger kept of it, and must come out the same in every field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import Decision, DecisionPurpose
from promoter.domain.evidence import Evidence
from promoter.domain.ledger.chain import encode_canonical
from promoter.domain.policy.document import Policy
from promoter.domain.policy.evaluate import evaluate_policy, evaluate_readiness
from promoter.domain.rotation import add_rank_finding

SHOWN_DIFFERENCES = 100
"""How many differences are told of one decision at most."""


class RerunOutcome(StrEnum):
    """How a rerun ended.

    SAME: the tree is the recorded one. DIFFERENT: it is not. DROPPED: retention has dropped its evidence since. OLDER: it was
    recorded before Promoter kept all that a rerun takes. BROKEN: what it stood on is missing, altered, or cannot be read.
    """

    SAME = "same"
    DIFFERENT = "different"
    DROPPED = "dropped"
    OLDER = "older"
    BROKEN = "broken"

    @property
    def is_alarming(self) -> bool:
        """Whether something is wrong with the ledger, or with how this version of Promoter decides."""
        return self in (RerunOutcome.DIFFERENT, RerunOutcome.BROKEN)


@dataclass(frozen=True)
class RerunDifference:
    """A field of the tree: what was recorded, and what comes out now, as JSON; None where the field is not there."""

    field: str
    recorded: str | None
    now: str | None


@dataclass(frozen=True)
class DecisionRerun:
    """What came of it. `decision` is None where it could not be made again: `why` says it."""

    recorded: RecordedDecision
    ending: RerunOutcome
    decision: Decision | None = None
    differences: tuple[RerunDifference, ...] = ()
    why: str = ""


def rerun_decision(recorded: RecordedDecision, policy: Policy | None, evidence: Evidence) -> Decision:
    """The decision, made anew on that evidence, at its moment. Raises ValueError where the policy cannot have made it."""
    tree, purpose = recorded.tree, DecisionPurpose(recorded.purpose or "")
    model, alias = str(tree["model"]), tree["alias"]
    if purpose is DecisionPurpose.READINESS:
        return evaluate_readiness(model, alias, evidence)
    asked = policy.guard_policy if policy and purpose is DecisionPurpose.GUARD else policy
    if asked is None:
        raise ValueError("the policy has no guards" if policy else "no policy is known")
    decision = evaluate_policy(asked, model, alias, evidence)
    return add_rank_finding(asked, decision) if purpose is DecisionPurpose.CANDIDATE else decision


def compare_decision_trees(recorded: Mapping[str, Any], decision: Decision) -> tuple[RerunDifference, ...]:
    """Where the tree differs from the recorded one, in its order. Both are told as the ledger tells them."""
    now = json.loads(encode_canonical(decision.to_json()))
    return tuple(islice(_walk_differences("", dict(recorded), now), SHOWN_DIFFERENCES))


def _walk_differences(where: str, recorded: Any, now: Any) -> Iterator[RerunDifference]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*recorded, *now]):
            yield from _walk_differences(
                f"{where}.{key}".lstrip("."), recorded.get(key, _ABSENT_FIELD), now.get(key, _ABSENT_FIELD)
            )
    elif isinstance(recorded, list) and isinstance(now, list):
        for index in range(max(len(recorded), len(now))):
            yield from _walk_differences(f"{where}[{index + 1}]", _item_or_absent(recorded, index), _item_or_absent(now, index))
    elif _to_canonical_text(recorded) != _to_canonical_text(now):
        yield RerunDifference(where, _to_canonical_text(recorded), _to_canonical_text(now))


_ABSENT_FIELD = object()


def _item_or_absent(found: Sequence[Any], index: int) -> Any:
    return found[index] if index < len(found) else _ABSENT_FIELD


def _to_canonical_text(value: Any) -> str | None:
    """As canonical JSON, in which 1 and 1.0 are one number, and `true` is none."""
    if value is _ABSENT_FIELD:
        return None
    return json.dumps(json.loads(encode_canonical({"value": value}))["value"], ensure_ascii=False, sort_keys=True)
