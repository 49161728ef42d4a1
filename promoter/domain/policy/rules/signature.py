"""`signature`: what the model takes and gives. A change of inputs is what breaks those who call it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, model_validator

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import AliasName, Document, LiteralTrue, require_exactly_one
from promoter.domain.observed import Unreadable, VersionSignature
from promoter.domain.policy.rules.base import BaseRule, RuleContext
from promoter.domain.text import format_count

SHOWN_DIFFERENCES = 5


class SignatureTerms(Document):
    """Either that there is one, or that it equals that of an alias's holder."""

    model_config = ConfigDict(json_schema_extra=require_exactly_one("present", "equals"))

    present: LiteralTrue | None = None
    equals: AliasName | None = None

    @model_validator(mode="after")
    def _check_one_term(self) -> SignatureTerms:
        if (self.present is None) == (self.equals is None):
            raise ValueError("`signature` says exactly one of `present: true` and `equals: ALIAS`")
        return self


class SignatureRule(BaseRule):
    """`{signature: {present: true}}`, or `{signature: {equals: champion}}`: inputs, outputs, parameters, each with its type."""

    kind: ClassVar[str] = "signature"

    signature: SignatureTerms

    def __str__(self) -> str:
        return f"signature equals {self.signature.equals}" if self.signature.equals else "signature present"

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the signature, and the holder's."""
        del context
        return Need(signature=True, holders=frozenset({self.signature.equals} if self.signature.equals else ()))

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return fail for an artifact without a signature, error for one that cannot be read, also the holder's."""
        del context
        alias, ours = self.signature.equals, evidence.candidate.signature
        if isinstance(ours, Unreadable):
            return self.build_finding(Verdict.ERROR, None, f"a signature that can be read: {ours.reason}")
        if alias is None:
            seen = _summarize_signature(ours)
            return self.build_finding(Verdict.PASS if ours else Verdict.FAIL, seen, "a signature in the artifact")
        if alias not in evidence.holders:
            return self.build_finding(Verdict.ERROR, None, f"who holds {alias} to be known")
        holder = evidence.holders[alias]
        if ours is None:
            return self.build_finding(Verdict.FAIL, None, f"the signature of {alias}")
        if holder is None:
            return self.build_finding(
                Verdict.PASS, _summarize_signature(ours), f"the signature of {alias} (nobody else holds it)"
            )
        return self._compare_signatures(ours, holder.signature, f"{alias} v{holder.version}")

    def _compare_signatures(
        self, ours: VersionSignature, theirs: VersionSignature | Unreadable | None, whom: str
    ) -> RuleFinding:
        if not isinstance(theirs, VersionSignature):
            reason = theirs.reason if theirs else "it has none"
            return self.build_finding(
                Verdict.ERROR, _summarize_signature(ours), f"the signature of {whom}, which cannot be compared: {reason}"
            )
        differences = ours.describe_differences(theirs)
        if not differences:
            return self.build_finding(Verdict.PASS, _summarize_signature(ours), f"the signature of {whom}")
        more = f"; and {len(differences) - SHOWN_DIFFERENCES} more" if len(differences) > SHOWN_DIFFERENCES else ""
        return self.build_finding(Verdict.FAIL, "; ".join(differences[:SHOWN_DIFFERENCES]) + more, f"the signature of {whom}")


def _summarize_signature(signature: VersionSignature | None) -> str | None:
    if signature is None:
        return None
    counts: dict[str, int] = {}
    for name in signature.fields:
        counts[name.split(" ")[0]] = counts.get(name.split(" ")[0], 0) + 1
    return ", ".join(format_count(count, part) for part, count in sorted(counts.items())) or "an empty one"
