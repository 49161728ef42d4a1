"""Guards: what must keep holding while a version has the alias, and which version to return to when it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from promoter.domain.audit import AuditRecord, NewAuditRecord, RecordKind
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.desired import AliasIntent, Hold
from promoter.domain.fields import find_model_name_flaw
from promoter.domain.identity import PresentVersion, RememberedVersion
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import ChangeCause
from promoter.domain.policy.rules.base import DEFAULT_CHECK_INTERVAL, BaseRule
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit


@dataclass(frozen=True)
class GuardCheck:
    """What a guard found at one moment. The ledger keeps failures, and the pass that ends them."""

    model: str
    alias: str
    version: int
    rule: str
    verdict: Verdict
    at: datetime
    identity: str | None = None
    """The identity of the version, as `VersionIdentity.text` writes it; None: unknown."""

    @property
    def checked_version(self) -> RememberedVersion:
        """The version that was checked."""
        return RememberedVersion(self.version, self.identity, self.at)


@dataclass(frozen=True)
class GuardCount:
    """A guard, and how many of its checks in a row failed."""

    finding: RuleFinding
    """What it found last."""
    failed: int
    needed: int
    """How many failures in a row break it."""

    @property
    def is_broken(self) -> bool:
        """Whether it failed often enough to propose a rollback."""
        return self.failed >= self.needed

    def __str__(self) -> str:
        return f"{self.finding.rule}: {self.finding.verdict}, {self.failed} of {self.needed} in a row failed"


@dataclass(frozen=True)
class GuardStatus:
    """The state of the guards of one alias."""

    model: str
    alias: str
    version: int
    decision: Decision
    """What they found now."""
    rows: tuple[GuardCount, ...]
    checks: tuple[GuardCheck, ...] = ()
    """The checks that are to be recorded."""
    proposal: Proposal | None = None
    """The rollback that they propose; None: none."""
    reason: str = ""
    """Why a broken guard proposes nothing, or what the proposal says."""

    @property
    def broken_guards(self) -> tuple[GuardCount, ...]:
        """The guards that are broken."""
        return tuple(row for row in self.rows if row.is_broken)


def evaluate_guards(decision: Decision, rules: Sequence[BaseRule], known: Iterable[GuardCheck]) -> GuardStatus:
    """Count failures. `decision` has one finding a rule; `known` are the earlier checks, the oldest first.

    Only a failure counts, and only a pass ends a row of failures: what is not known shows neither that a version is bad nor
    that it is good. Checks that lie closer together than the guard's `every` (events come in bursts) count once.
    """
    alias = decision.alias or ""
    rows, checks = [], []
    present = _find_decided_version(decision)
    past = [each for each in known if each.version == decision.version and each.checked_version.is_still(present)]
    for rule, finding in zip(rules, decision.findings, strict=True):
        row = _failures_since_pass(each for each in past if each.rule == finding.rule)
        count, last = len(row), row[-1].at if row else None
        check = GuardCheck(
            decision.model, alias, decision.version, finding.rule, finding.verdict, decision.at, decision.identity
        )
        needed = rule.for_ or 1
        if finding.verdict is Verdict.PASS:
            checks += [check] if row else []
            count = 0
        elif (
            finding.verdict is Verdict.FAIL
            and count < needed
            and (last is None or decision.at - last >= (rule.every or DEFAULT_CHECK_INTERVAL))
        ):
            checks.append(check)
            count += 1
        rows.append(GuardCount(finding, count, needed))
    return GuardStatus(decision.model, alias, decision.version, decision, tuple(rows), tuple(checks))


def _find_decided_version(decision: Decision) -> PresentVersion | None:
    created_at = decision.evidence.candidate.created_at if decision.evidence else None
    return PresentVersion(decision.version, created_at, decision.identity) if created_at else None


def _failures_since_pass(checks: Iterable[GuardCheck]) -> list[GuardCheck]:
    row: list[GuardCheck] = []
    for check in checks:
        row = [*row, check] if check.verdict is Verdict.FAIL else []
    return row


def find_earlier_versions(intent: AliasIntent, observed: ObservedModel, moves: Iterable[AuditRecord], bad: int) -> list[int]:
    """Return the versions that held the alias in good standing before `bad`, the latest first: there, ready, not in quarantine.

    In good standing: Promoter put it there because git said so, or it was there when the ledger began; not what somebody else
    put there past git.
    """
    good = dict.fromkeys(each.number for each in list_good_versions(moves) if each.number and observed.still_has(each))
    usable = (each for each in good if each in observed.versions and observed.versions[each].ready)
    return [each for each in usable if each != bad and each not in intent.quarantine]


def list_good_versions(moves: Iterable[AuditRecord]) -> list[RememberedVersion]:
    """Return every version that held the alias in good standing (see `find_earlier_versions`), the latest first.

    One that a revert took away is not among them, until it is put there again; one that a rollback took away is in quarantine.
    Whether its number still stands for that version is for the caller to find out.
    """
    good: list[RememberedVersion] = []
    for fact in (each.fact for each in moves if each.fact.kind is RecordKind.CHANGE or each.fact.from_version is None):
        gone = (fact.origin, fact.target) if is_revert(fact) else (fact.target,)
        good = [each for each in good if not any(each.may_be(other) for other in gone)]
        good += [fact.target] if fact.to_version is not None else []
    return good[::-1]


def is_revert(fact: NewAuditRecord) -> bool:
    """Return whether the change brought an earlier version back without a hold: readiness gated it, and no policy did."""
    by_commit = fact.kind is RecordKind.CHANGE and fact.cause == ChangeCause.COMMIT
    return by_commit and fact.hold is None and fact.verdict is not None and fact.policy is None


def is_return_to_good_standing(
    intent: AliasIntent, observed: ObservedModel, version: int, moves: Iterable[AuditRecord]
) -> bool:
    """Return whether the version held the alias directly before its holder, by git's word, and the alias's policy passed it.

    `moves` are the alias's, oldest first. Not where it is in quarantine, where a rollback took it away, or where its number
    stands for another version now.
    """
    held = observed.aliases.get(intent.alias)
    stated = [each.fact for each in moves if each.fact.kind is RecordKind.CHANGE and each.fact.cause != ChangeCause.DRIFT]
    line = [number for number, _ in groupby(fact.to_version if observed.still_has(fact.target) else None for fact in stated)]
    if version in intent.quarantine or line[-2:] != [version, held]:
        return False
    taken = next(fact for fact in reversed(stated) if fact.from_version != held)
    rolled_back = taken.hold is not None or taken.cause == ChangeCause.OVERRIDE
    passed = any(
        fact.to_version == version and fact.policy and fact.verdict == Verdict.PASS and observed.still_has(fact.target)
        for fact in stated
    )
    return passed and not rolled_back


def find_rollback_obstacle(intent: AliasIntent, observed: ObservedModel, now: datetime) -> str | None:
    """Return why a broken guard of this alias proposes nothing; None where it may."""
    if flaw := find_model_name_flaw(intent.model):
        return flaw
    if intent.hold and intent.hold.is_in_force(now):
        return f"held by {intent.hold.by}: a person decides"
    if intent.version is not None and observed.aliases.get(intent.alias) != intent.version:
        return "git and the registry are out of step: that comes first"
    if intent.rotation == "off":
        return "`rotation: off`: a person decides"
    return None


def add_rollback_proposal(status: GuardStatus, target: int) -> GuardStatus:
    """Return the status with the proposal: the earlier version, a hold, and the bad version in quarantine."""
    reason = "; ".join(f"guard {row.finding.rule} failed {row.failed} times in a row" for row in status.broken_guards)
    hold = Hold(reason=reason[:1_000], by="Promoter")
    edit = RegistryEdit(status.model, status.alias, target, hold, (status.version,))
    return replace(status, proposal=Proposal(edit, status.version, status.decision, ProposalReason.GUARD), reason=reason)
