"""`approval`: signatures of people over what the policy decides on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field

from promoter.domain.approvals import Approval, Subject, approver_of, tag_key
from promoter.domain.approvers import Approver
from promoter.domain.document import Document
from promoter.domain.evidence import Evidence, Need
from promoter.domain.moment import in_utc
from promoter.domain.names import ApproverName
from promoter.domain.observed import Unread
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Finding, Verdict

SKEW = timedelta(minutes=5)
"""How far ahead of Promoter's clock that of an approver may be."""
OTHERS_SHOWN = 10
_EXPECTED = "an approval that counts"


class ApprovalTerms(Document):
    """How many people, and whose word counts: names of approvers, or of their groups."""

    at_least: int = Field(default=1, ge=1, le=100)
    from_: tuple[ApproverName, ...] = Field(alias="from", min_length=1, max_length=100, strict=False)


@dataclass(frozen=True)
class Weighed:
    """One person's approval: whether it counts, and when it was given or why it does not, in words."""

    name: str
    groups: tuple[str, ...]
    counts: bool
    told: str

    @property
    def finding(self) -> Finding:
        """As a child of the rule's finding. Pending, where it does not count: a person may approve anew."""
        who = f"{self.name} ({', '.join(self.groups)})" if self.groups else self.name
        return Finding(who, Verdict.PASS if self.counts else Verdict.PENDING, self.told, _EXPECTED)


class ApprovalRule(BaseRule):
    """`{approval: {at_least: 2, from: [risk, ml-leads]}}`.

    Counts people, not groups: a name or a member of a group in `from` with a key in `approvers.yaml`, whose signature is over
    this version, this policy as it is, and the metrics of the version that the policy uses as they are. What holders of
    other aliases have, and the version's other tags, are not signed.
    """

    kind: ClassVar[str] = "approval"

    approval: ApprovalTerms

    def __str__(self) -> str:
        """As it is written."""
        return f"approval at_least {self.approval.at_least} from [{', '.join(self.approval.from_)}]"

    def need(self, setting: Setting) -> Need:
        """The metrics that the policy uses, for that is what is signed. Rules that look at every step ask for these."""
        sources = {ref.source for ref in setting.used}
        return Need(run="run" in sources, logged_model="logged_model" in sources)

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Too few is pending: somebody may yet approve. A bad tag counts for nothing, and is never an error.

        Work is bounded by `approvers.yaml`: no signature is verified of anybody who is not asked for.
        """
        terms = self.approval
        expected = f"{terms.at_least} of [{', '.join(terms.from_)}] to approve"
        logged_model = evidence.candidate.logged_model
        if isinstance(logged_model, Unread) and self.need(setting).logged_model:
            return self.found(Verdict.ERROR, None, f"{expected}, and its logged model to be readable: {logged_model.reason}")
        try:
            subject = Subject.of(evidence, setting.policy, setting.digest, setting.used)
        except ValueError:
            told = "and to know the version's model, its registration, its metrics and the policy"
            return self.found(Verdict.ERROR, None, f"{expected}, {told}")
        weighed = self.weighed(evidence, setting, subject)
        count = sum(each.counts for each in weighed)
        children = [each.finding for each in weighed] + list(self._others(evidence, setting))
        possible = len(setting.approvers.among(terms.from_))
        if possible < terms.at_least:
            expected += f", of which approvers.yaml has {possible or 'none'}"
        verdict = Verdict.PASS if count >= terms.at_least else Verdict.PENDING
        return Finding(str(self), verdict, f"{count} of {terms.at_least} approve", expected, tuple(children))

    def weighed(self, evidence: Evidence, setting: Setting, subject: Subject) -> tuple[Weighed, ...]:
        """The approvals of those who are asked for, by name. `subject` is what there is to approve now."""
        found = []
        owners: dict[bytes, str] = {}
        for name in sorted(setting.approvers.among(self.approval.from_)):
            approver, value = setting.approvers.known[name], evidence.candidate.tags.get(tag_key(setting.policy, name))
            if value is not None:
                groups = tuple(group for group in approver.groups if group in self.approval.from_)
                approval = Approval.parse(value)
                objection = _objection(approval, name, approver, subject, evidence.at)
                if objection is None and (owner := owners.setdefault(approver.raw_key, name)) != name:
                    objection = f"has the same key as {owner}"
                given = f"approved {in_utc(approval.at)}" if approval and objection is None else ""
                found.append(Weighed(name, groups, objection is None, objection or given))
        return tuple(found)

    def _others(self, evidence: Evidence, setting: Setting) -> Iterator[Finding]:
        """Tags of people who are not asked for: named without a look at what they signed."""
        known, asked = setting.approvers.known, setting.approvers.among(self.approval.from_)
        named = {approver_of(setting.policy, key) for key in evidence.candidate.tags}
        others = sorted(name for name in named if name and name not in asked)
        for name in others[:OTHERS_SHOWN]:
            told = f"not among [{', '.join(self.approval.from_)}]" if name in known else "not in approvers.yaml"
            yield Finding(name, Verdict.PENDING, told, _EXPECTED)
        if len(others) > OTHERS_SHOWN:
            yield Finding(f"{len(others) - OTHERS_SHOWN} more", Verdict.PENDING, "not asked for", _EXPECTED)


def _objection(approval: Approval | None, name: str, approver: Approver, subject: Subject, now: datetime) -> str | None:
    """Why it does not count. Only what bears the right signature is quoted."""
    if not approver.valid(now):
        return f"the key was valid until {in_utc(approver.until or now)}"
    if approval is None:
        return "not an approval that can be read"
    if not approval.verifies(approver.raw_key):
        return "signature is wrong"
    if approval.approver != name:
        return f"signed as {approval.approver}"
    if approval.at > now + SKEW:
        return f"dated {in_utc(approval.at)}, which is yet to come"
    return approval.objection(subject)
