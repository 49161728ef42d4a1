"""Rerun: a recorded decision is made again from its recorded evidence, and must come out the same in every field."""

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
"""How many differences of one decision are reported at most."""

_INTERVAL_TOLERANCE = 1e-9
"""The share of an interval's larger end by which its ends may differ: earlier versions had fewer right digits."""


class RerunOutcome(StrEnum):
    """How a rerun ended."""

    SAME = "same"
    """The decision is the recorded one."""
    DIFFERENT = "different"
    """The decision differs from the recorded one."""
    DROPPED = "dropped"
    """Retention has dropped the evidence since."""
    OLDER = "older"
    """The decision was recorded before Promoter recorded all that a rerun takes."""
    BROKEN = "broken"
    """The evidence or the policy is missing, altered, or cannot be read."""

    @property
    def is_alarming(self) -> bool:
        """Whether something is wrong with the ledger, or with how this version of Promoter decides."""
        return self in (RerunOutcome.DIFFERENT, RerunOutcome.BROKEN)


@dataclass(frozen=True)
class RerunDifference:
    """A field of a decision in which recorded and rerun differ."""

    field: str
    """The path of the field, such as `rules[1].value`."""
    recorded: str | None
    """The recorded value as JSON; None where the field was not there."""
    now: str | None
    """The value of the rerun as JSON; None where the field is not there."""


@dataclass(frozen=True)
class DecisionRerun:
    """The result of a rerun."""

    recorded: RecordedDecision
    """The decision as it was recorded."""
    ending: RerunOutcome
    """How the rerun ended."""
    decision: Decision | None = None
    """The decision as it was made again; None where that was not possible."""
    differences: tuple[RerunDifference, ...] = ()
    """Where the two differ, up to `SHOWN_DIFFERENCES`."""
    why: str = ""
    """Why the decision could not be made again; empty where it was."""


def rerun_decision(recorded: RecordedDecision, policy: Policy | None, evidence: Evidence) -> Decision:
    """Make a decision again on its evidence. Raises ValueError where the policy cannot have made it."""
    tree, purpose = recorded.tree, DecisionPurpose(recorded.purpose or "")
    model, alias = str(tree["model"]), tree["alias"]
    if purpose is DecisionPurpose.READINESS:
        return evaluate_readiness(model, alias, evidence)
    applied = policy.guard_policy if policy and purpose is DecisionPurpose.GUARD else policy
    if applied is None:
        raise ValueError("the policy has no guards" if policy else "no policy is known")
    decision = evaluate_policy(applied, model, alias, evidence)
    return add_rank_finding(applied, decision) if purpose is DecisionPurpose.CANDIDATE else decision


def compare_decision_trees(recorded: Mapping[str, Any], decision: Decision) -> tuple[RerunDifference, ...]:
    """Compare a decision with the recorded tree, both as canonical JSON, field by field."""
    now = json.loads(encode_canonical(decision.to_json()))
    return tuple(islice(_walk_differences("", dict(recorded), now), SHOWN_DIFFERENCES))


def _walk_differences(path: str, recorded: Any, now: Any) -> Iterator[RerunDifference]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        if path.endswith(".interval") and _is_same_interval(recorded, now):
            return
        for key in dict.fromkeys([*recorded, *now]):
            yield from _walk_differences(
                f"{path}.{key}".lstrip("."), recorded.get(key, _ABSENT_FIELD), now.get(key, _ABSENT_FIELD)
            )
    elif isinstance(recorded, list) and isinstance(now, list):
        for index in range(max(len(recorded), len(now))):
            yield from _walk_differences(f"{path}[{index + 1}]", _item_or_absent(recorded, index), _item_or_absent(now, index))
    elif _to_canonical_text(recorded) != _to_canonical_text(now):
        yield RerunDifference(path, _to_canonical_text(recorded), _to_canonical_text(now))


_ABSENT_FIELD = object()


def _is_same_interval(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether both are the same confidence interval, but for the last digits of its ends."""
    try:
        ends = [(float(each["low"]), float(each["high"])) for each in (recorded, now)]
    except (KeyError, TypeError, ValueError):
        return False
    reach = _INTERVAL_TOLERANCE * max(map(abs, ends[1]))
    return (
        recorded.keys() == now.keys()
        and recorded.get("level") == now.get("level")
        and all(abs(before - after) <= reach for before, after in zip(*ends, strict=True))
    )


def _item_or_absent(items: Sequence[Any], index: int) -> Any:
    return items[index] if index < len(items) else _ABSENT_FIELD


def _to_canonical_text(value: Any) -> str | None:
    """Convert a value to canonical JSON, in which 1 and 1.0 are one number, and `true` is none."""
    if value is _ABSENT_FIELD:
        return None
    return json.dumps(json.loads(encode_canonical({"value": value}))["value"], ensure_ascii=False, sort_keys=True)
