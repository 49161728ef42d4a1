"""`approval`: signatures of people over what the policy decides on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field

from promoter.domain.approvals import Approval, ApprovalSubject, Approver, build_approval_tag_key, parse_approval_tag_key
from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import ApproverName, Document, format_utc
from promoter.domain.observed import Unreadable
from promoter.domain.policy.rules.base import BaseRule, ReplayGap, RuleContext

APPROVAL_CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of Promoter's clock that of an approver may be."""
OTHERS_SHOWN = 10
_EXPECTED_APPROVAL = "an approval that counts"
_APPROVAL_GAP = ReplayGap("approval", "whether this very policy was approved for it then", lambda known: known.was_judged)


class ApprovalTerms(Document):
    """How many people, and whose word counts: names of approvers, or of their groups."""

    at_least: int = Field(default=1, ge=1, le=100)
    from_: tuple[ApproverName, ...] = Field(alias="from", min_length=1, max_length=100, strict=False)


@dataclass(frozen=True)
class WeighedApproval:
    """One person's approval, and whether it counts."""

    name: str
    groups: tuple[str, ...]
    """The groups of the person that the rule names."""
    counts: bool
    message: str
    """When it was given, or why it does not count."""

    @property
    def finding(self) -> RuleFinding:
        """A child of the rule's finding. Pending where it does not count: the person may approve anew."""
        who = f"{self.name} ({', '.join(self.groups)})" if self.groups else self.name
        return RuleFinding(who, Verdict.PASS if self.counts else Verdict.PENDING, self.message, _EXPECTED_APPROVAL)


class ApprovalRule(BaseRule):
    """`{approval: {at_least: 2, from: [risk, ml-leads]}}`.

    Counts people, not groups: a name or a member of a group in `from` with a key in `approvers.yaml`, whose signature is over
    this version, this policy as it is, and the metrics of the version that the policy uses as they are. What holders of
    other aliases have, and the version's other tags, are not signed.
    """

    kind: ClassVar[str] = "approval"
    guard_objection: ClassVar[str | None] = (
        "an approval cannot guard: it does not fail, and says nothing of how a version serves"
    )
    approver_keys: ClassVar[tuple[str, ...]] = ("approval", "from")
    is_dated: ClassVar[bool] = True

    approval: ApprovalTerms

    def __str__(self) -> str:
        return f"approval at_least {self.approval.at_least} from [{', '.join(self.approval.from_)}]"

    @property
    def replay_gap(self) -> ReplayGap:
        """The approval: it is of a policy as it was, and nobody approved under another one."""
        return _APPROVAL_GAP

    def used_tags(self) -> None:
        """Return None: approvals are tags, and their keys depend on approvers.yaml."""

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the sources of the metrics that the policy uses, since those are signed. Rules on all steps ask for them."""
        sources = {ref.source for ref in context.used}
        return Need(run="run" in sources, logged_model="logged_model" in sources)

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for too few: somebody may yet approve. A bad tag counts for nothing, and is never an error.

        Work is bounded by `approvers.yaml`: only signatures of people that the rule names are verified.
        """
        terms = self.approval
        expected = f"{terms.at_least} of [{', '.join(terms.from_)}] to approve"
        logged_model = evidence.candidate.logged_model
        if isinstance(logged_model, Unreadable) and self.needed_evidence(context).logged_model:
            return self.build_finding(
                Verdict.ERROR, None, f"{expected}, and its logged model to be readable: {logged_model.reason}"
            )
        try:
            subject = ApprovalSubject.from_evidence(evidence, context.policy, context.digest, context.used)
        except ValueError:
            missing_facts = "and to know the version's model, its registration, its metrics and the policy"
            return self.build_finding(Verdict.ERROR, None, f"{expected}, {missing_facts}")
        weighed = self.weigh_approvals(evidence, context, subject)
        count = sum(each.counts for each in weighed)
        children = [each.finding for each in weighed] + list(self._list_other_approvals(evidence, context))
        possible = len(context.approvers.find_matching_names(terms.from_))
        if possible < terms.at_least:
            expected += f", of which approvers.yaml has {possible or 'none'}"
        verdict = Verdict.PASS if count >= terms.at_least else Verdict.PENDING
        return RuleFinding(str(self), verdict, f"{count} of {terms.at_least} approve", expected, tuple(children))

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return who may sign it, and with which command."""
        if finding.verdict is not Verdict.PENDING:
            return None
        return f"have {finding.expected}, each by `promoter approve {model}/{version} --by NAME --key KEY.pem`"

    def weigh_approvals(
        self, evidence: Evidence, context: RuleContext, subject: ApprovalSubject
    ) -> tuple[WeighedApproval, ...]:
        """Return the approvals of the people that the rule names. `subject` is what there is to approve now."""
        found = []
        owners: dict[bytes, str] = {}
        for name in sorted(context.approvers.find_matching_names(self.approval.from_)):
            approver, value = (
                context.approvers.known[name],
                evidence.candidate.tags.get(build_approval_tag_key(context.policy, name)),
            )
            if value is not None:
                groups = tuple(group for group in approver.groups if group in self.approval.from_)
                approval = Approval.parse_tag_value(value)
                objection = _find_approval_objection(approval, name, approver, subject, evidence.at)
                if objection is None and (owner := owners.setdefault(approver.raw_key, name)) != name:
                    objection = f"has the same key as {owner}"
                given = f"approved {format_utc(approval.at)}" if approval and objection is None else ""
                found.append(WeighedApproval(name, groups, objection is None, objection or given))
        return tuple(found)

    def _list_other_approvals(self, evidence: Evidence, context: RuleContext) -> Iterator[RuleFinding]:
        """Yield the approvals of other people, without verifying what they signed."""
        known, called = context.approvers.known, context.approvers.find_matching_names(self.approval.from_)
        named = {parse_approval_tag_key(context.policy, key) for key in evidence.candidate.tags}
        others = sorted(name for name in named if name and name not in called)
        for name in others[:OTHERS_SHOWN]:
            message = f"not among [{', '.join(self.approval.from_)}]" if name in known else "not in approvers.yaml"
            yield RuleFinding(name, Verdict.PENDING, message, _EXPECTED_APPROVAL)
        if len(others) > OTHERS_SHOWN:
            yield RuleFinding(f"{len(others) - OTHERS_SHOWN} more", Verdict.PENDING, "not asked for", _EXPECTED_APPROVAL)


def _find_approval_objection(
    approval: Approval | None, name: str, approver: Approver, subject: ApprovalSubject, now: datetime
) -> str | None:
    """Return why the approval does not count. Only what bears the right signature is quoted."""
    if not approver.is_key_valid(now):
        return f"the key was valid until {format_utc(approver.until or now)}"
    if approval is None:
        return "not an approval that can be read"
    if not approval.verifies_with(approver.raw_key):
        return "signature is wrong"
    if approval.approver != name:
        return f"signed as {approval.approver}"
    if approval.at > now + APPROVAL_CLOCK_SKEW:
        return f"dated {format_utc(approval.at)}, which is yet to come"
    return approval.find_objection(subject)
