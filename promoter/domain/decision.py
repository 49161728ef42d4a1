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
from promoter.domain.text import escape_invisible, format_number, shorten_figures

FindingValue = str | int | float | bool | None


class Verdict(StrEnum):
    """What a rule or a policy concludes: only PASS lets a change through.

    PENDING is not known yet; ERROR is evidence that cannot be trusted.
    """

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    PENDING = "pending"
    ERROR = "error"


def combine_all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Strong Kleene conjunction (S. C. Kleene, 1952): one FAIL decides; otherwise ERROR comes before PENDING."""
    return _first_present(set(verdicts), (Verdict.FAIL, Verdict.ERROR, Verdict.PENDING), Verdict.PASS)


def combine_any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Strong Kleene disjunction: one PASS decides; otherwise ERROR comes before PENDING."""
    return _first_present(set(verdicts), (Verdict.PASS, Verdict.ERROR, Verdict.PENDING), Verdict.FAIL)


def negate_verdict(verdict: Verdict) -> Verdict:
    """Exchange PASS and FAIL. PENDING and ERROR stay."""
    return {Verdict.PASS: Verdict.FAIL, Verdict.FAIL: Verdict.PASS}.get(verdict, verdict)


def _first_present(present: set[Verdict], order: tuple[Verdict, ...], otherwise: Verdict) -> Verdict:
    return next((verdict for verdict in order if verdict in present), otherwise)


@dataclass(frozen=True)
class AppliedWaiver:
    """A waiver that let a rule pass."""

    verdict: Verdict
    """What the rule found by itself."""
    waiver: str
    """The waiver, in words."""


@dataclass(frozen=True)
class ConfidenceInterval:
    """A confidence interval from `low` to `high`."""

    low: float
    high: float
    level: float
    """How often such an interval covers the true value: 0.9 means nine times in ten."""

    def __str__(self) -> str:
        return f"{format_number(round(100 * self.level, 10))} % interval [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class RuleFinding:
    """What one rule found."""

    rule: str
    """The rule's text."""
    verdict: Verdict
    value: FindingValue
    """The value that it saw; None: none."""
    expected: str
    """What it expects, in words."""
    children: tuple[RuleFinding, ...] = ()
    """The findings of rules or terms inside it."""
    interval: ConfidenceInterval | None = None
    waived: AppliedWaiver | None = None
    """The waiver that lets it pass."""

    def __post_init__(self) -> None:
        """Make every character of evidence visible: nobody's tag may paint over a terminal, a page or a commit message."""
        for name in ("rule", "value", "expected"):
            text = getattr(self, name)
            if isinstance(text, str) and not text.isprintable():
                object.__setattr__(self, name, escape_invisible(text))

    @property
    def extra_notes(self) -> tuple[str, ...]:
        """Its interval and its waiver, in words."""
        waived = f"{self.waived.waiver} (it was {self.waived.verdict})" if self.waived else ""
        return tuple(note for note in (str(self.interval or ""), waived) if note)

    @property
    def shown_figures(self) -> tuple[str | None, str]:
        """The value and what is expected, as people read them: six significant digits, and all where fewer would mislead."""
        value = self.value
        if isinstance(value, float) and math.isfinite(value):
            return shorten_figures(value, self.expected)
        return None if value is None else str(value), self.expected

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
    """What a decision was made for, since that decides how a policy is applied.

    GATE: a change that git states. CANDIDATE: one of several versions that rotation compares by rank; COPY: its only
    candidate, since it comes from elsewhere. GUARD: whether a holder still meets the guards. READINESS: a version that returns
    under a hold, which no policy judges.
    """

    GATE = "gate"
    CANDIDATE = "candidate"
    COPY = "copy"
    GUARD = "guard"
    READINESS = "readiness"


@dataclass(frozen=True)
class DecisionBasis:
    """The texts that a decision rests on."""

    policy: str
    """The text of the policy's file."""
    approvers: str | None = None
    """The text of approvers.yaml at the same revision; None: there is no such file."""


@dataclass(frozen=True)
class Decision:
    """Whether one version may hold one alias under one policy, at one moment, on this evidence."""

    model: str
    alias: str | None
    """The alias; None where a version was evaluated on its own."""
    version: int
    policy: str | None
    """The policy's name; None for the readiness of a version that returns under a hold."""
    policy_digest: str | None
    """The SHA-256 of the policy's file."""
    verdict: Verdict
    findings: tuple[RuleFinding, ...]
    """One finding a rule, limit and freeze, in the order of the policy."""
    at: datetime
    evidence: Evidence | None = None
    """What it was decided on; None where it was read back without."""
    enforcement: Literal["enforce", "audit"] = "enforce"
    basis: DecisionBasis | None = None
    """The texts of the files that it rests on."""
    gate: bool = False
    """Whether a change that git states waits for it."""
    purpose: DecisionPurpose | None = None
    """What it was made for; None for a decision that nobody records."""
    identity: str | None = None
    """The text of the identity of the version; None where it is not known."""

    @property
    def lets_through(self) -> bool:
        """Whether the change may go ahead: it passes, or its policy only watches (`enforcement: audit`)."""
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
        """The verdict, and the first rules that did not pass with the value that they saw, in one line."""
        if self.verdict is Verdict.PASS:
            waived = f", {len(self.waived_findings)} waived" if self.waived_findings else ""
            return f"passes {self.policy or 'readiness'}{waived}"
        unmet = "; ".join(f"{f.rule} is {f.verdict} ({_describe_seen_value(f)})" for f in self.unmet_findings[:3])
        more = len(self.unmet_findings) - 3
        return unmet + (f"; and {more} more" if more > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """Return the decision as the ledger keeps and hashes it: these names and values never change.

        `identity` is there only where it is known.
        """
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
            **({"identity": self.identity} if self.identity else {}),
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
            identity=tree.get("identity"),
        )

    def compute_digest(self) -> str:
        """Return the SHA-256 of what was decided, without the time: equal digests mean equal decisions."""
        tree = self.to_json()
        del tree["at"]
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _describe_seen_value(finding: RuleFinding) -> str:
    seen, expected = finding.shown_figures
    return "nothing seen" if seen is None else f"saw {seen}, expected {expected}"
