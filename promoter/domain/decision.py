"""Verdicts, and the tree of findings that a decision consists of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from promoter.domain.evidence import Evidence
from promoter.domain.text import escape_invisible

FindingValue = str | int | float | bool | None


class Verdict(StrEnum):
    """Only PASS lets a change through: PENDING is not known yet, ERROR is evidence that cannot be trusted."""

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    PENDING = "pending"
    ERROR = "error"


def combine_all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Strong Kleene conjunction (S. C. Kleene, 1952): one FAIL settles it; else ERROR, then PENDING, are what is left open."""
    return _first_present(set(verdicts), (Verdict.FAIL, Verdict.ERROR, Verdict.PENDING), Verdict.PASS)


def combine_any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Strong Kleene disjunction: one PASS settles it; else ERROR, then PENDING, are what is left open."""
    return _first_present(set(verdicts), (Verdict.PASS, Verdict.ERROR, Verdict.PENDING), Verdict.FAIL)


def negate_verdict(verdict: Verdict) -> Verdict:
    """PASS and FAIL change places. What is not known stays not known."""
    return {Verdict.PASS: Verdict.FAIL, Verdict.FAIL: Verdict.PASS}.get(verdict, verdict)


def _first_present(present: set[Verdict], order: tuple[Verdict, ...], otherwise: Verdict) -> Verdict:
    return next((verdict for verdict in order if verdict in present), otherwise)


@dataclass(frozen=True)
class AppliedWaiver:
    """A waiver acted: what the rule found by itself, and the waiver in words."""

    verdict: Verdict
    waiver: str


@dataclass(frozen=True)
class ConfidenceInterval:
    """A confidence interval: from `low` to `high`, at that level (0.9: nine times in ten it covers the true value)."""

    low: float
    high: float
    level: float

    def __str__(self) -> str:
        """For people."""
        return f"{100 * self.level:g} % interval [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class RuleFinding:
    """What one rule found: the rule as written, the value seen, and the expectation in words."""

    rule: str
    verdict: Verdict
    value: FindingValue
    expected: str
    children: tuple[RuleFinding, ...] = ()
    interval: ConfidenceInterval | None = None
    waived: AppliedWaiver | None = None

    def __post_init__(self) -> None:
        """What is told of evidence is visible: nobody's tag may paint over a terminal, a page or a commit message."""
        for name in ("rule", "value", "expected"):
            text = getattr(self, name)
            if isinstance(text, str) and not text.isprintable():
                object.__setattr__(self, name, escape_invisible(text))

    @property
    def extra_notes(self) -> tuple[str, ...]:
        """What else there is to tell of it, in words: its interval, and the waiver that acted."""
        waived = f"{self.waived.waiver} (it was {self.waived.verdict})" if self.waived else ""
        return tuple(note for note in (str(self.interval or ""), waived) if note)

    @property
    def json_value(self) -> FindingValue:
        """The value as JSON has it: NaN and infinities become text."""
        value = self.value
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    def to_json(self) -> dict[str, Any]:
        """Return the finding as the ledger keeps it; `rules`, `interval` and `waived` are there only where there are such."""
        row: dict[str, Any] = {"rule": self.rule, "verdict": self.verdict.value, "value": self.json_value}
        row["expected"] = self.expected
        if self.children:
            row["rules"] = [child.to_json() for child in self.children]
        if self.interval:
            row["interval"] = {"low": self.interval.low, "high": self.interval.high, "level": self.interval.level}
        if self.waived:
            row["waived"] = {"verdict": self.waived.verdict.value, "waiver": self.waived.waiver}
        return row

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> RuleFinding:
        """Read what `to_json` wrote. NaN stays the text that it became."""
        interval, waived = tree.get("interval"), tree.get("waived")
        return cls(
            tree["rule"],
            Verdict(tree["verdict"]),
            tree["value"],
            tree["expected"],
            tuple(cls.from_json(child) for child in tree.get("rules", ())),
            ConfidenceInterval(interval["low"], interval["high"], interval["level"]) if interval else None,
            AppliedWaiver(Verdict(waived["verdict"]), waived["waiver"]) if waived else None,
        )


class DecisionPurpose(StrEnum):
    """What a decision was made for, since that says how a policy is applied.

    GATE: a change that git states. CANDIDATE: one of several versions that rotation compares by rank; COPY: the only one that
    it looks at, since it comes from elsewhere. GUARD: whether a holder still holds what guards say. READINESS: a version that
    returns under a hold, which no policy judges.
    """

    GATE = "gate"
    CANDIDATE = "candidate"
    COPY = "copy"
    GUARD = "guard"
    READINESS = "readiness"


@dataclass(frozen=True)
class DecisionBasis:
    """The texts that a decision stands on: its policy's file, and approvers.yaml of the same revision (None: there is none)."""

    policy: str
    approvers: str | None = None


@dataclass(frozen=True)
class Decision:
    """Whether one version may hold one alias under one policy, at one moment, on this evidence.

    `policy` is None for a decision that no policy file made (readiness of a version that returns under a hold);
    `alias` is None where a version was judged on its own. `gate`: a change that git states waits for it. `purpose` is None for
    a decision that nobody records.
    """

    model: str
    alias: str | None
    version: int
    policy: str | None
    policy_digest: str | None
    verdict: Verdict
    findings: tuple[RuleFinding, ...]
    at: datetime
    evidence: Evidence | None = None
    enforcement: Literal["enforce", "audit"] = "enforce"
    basis: DecisionBasis | None = None
    gate: bool = False
    purpose: DecisionPurpose | None = None

    @property
    def lets_through(self) -> bool:
        """Whether a change may go ahead: it passes, or its policy only watches (`enforcement: audit`)."""
        return self.verdict is Verdict.PASS or self.enforcement == "audit"

    @property
    def would_block(self) -> bool:
        """Whether only `enforcement: audit` lets it through."""
        return self.lets_through and self.verdict is not Verdict.PASS

    @property
    def waived_findings(self) -> tuple[RuleFinding, ...]:
        """The findings that pass because of a waiver."""
        return tuple(finding for finding in self.findings if finding.waived)

    @property
    def unmet_findings(self) -> tuple[RuleFinding, ...]:
        """The top-level findings that did not pass."""
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.PASS)

    @property
    def summary_line(self) -> str:
        """One line: the verdict, and the first rules that did not pass with the value seen."""
        if self.verdict is Verdict.PASS:
            waived = f", {len(self.waived_findings)} waived" if self.waived_findings else ""
            return f"passes {self.policy or 'readiness'}{waived}"
        unmet = "; ".join(f"{f.rule} is {f.verdict} ({_describe_seen_value(f)})" for f in self.unmet_findings[:3])
        more = len(self.unmet_findings) - 3
        return unmet + (f"; and {more} more" if more > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """Return the decision as the ledger keeps and hashes it: these names and values never change."""
        return {
            "model": self.model,
            "alias": self.alias,
            "version": self.version,
            "policy": self.policy,
            "policy_digest": self.policy_digest,
            "verdict": self.verdict.value,
            "enforcement": self.enforcement,
            "at": self.at.isoformat(),
            "rules": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Decision:
        """Read what `to_json` wrote; the evidence is not in it."""
        return cls(
            model=tree["model"],
            alias=tree["alias"],
            version=tree["version"],
            policy=tree["policy"],
            policy_digest=tree["policy_digest"],
            verdict=Verdict(tree["verdict"]),
            findings=tuple(RuleFinding.from_json(rule) for rule in tree["rules"]),
            at=datetime.fromisoformat(tree["at"]),
            enforcement="audit" if tree.get("enforcement") == "audit" else "enforce",
        )

    def compute_digest(self) -> str:
        """SHA-256 over what was decided, without the time: equal digests say the same."""
        tree = self.to_json()
        del tree["at"]
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _describe_seen_value(finding: RuleFinding) -> str:
    return "nothing seen" if finding.value is None else f"saw {finding.value}, expected {finding.expected}"
