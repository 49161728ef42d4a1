"""Approve a version: build what a person signs, and write the signature as a tag. Nothing else is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from promoter.application.ports import Clock, Registry
from promoter.domain.approvals import ABSENT_METRIC, ApprovalSubject, Approver, SigningKey, build_approval_tag_key
from promoter.domain.decision import Decision
from promoter.domain.desired import Declaration
from promoter.domain.errors import PermanentError
from promoter.domain.observed import Unreadable
from promoter.domain.policy.document import Policy
from promoter.domain.policy.rules.approval import ApprovalRule, WeighedApproval

JudgeVersion = Callable[[str, int, str], Decision]
"""The decision, with its evidence, on a version of a model under the policy of that name. Raises `PermanentError`."""
_FILE = "approvers.yaml"


@dataclass(frozen=True)
class ApprovalDraft:
    """What is to be signed, and by whom. Nothing is signed yet."""

    declaration: Declaration
    """The files in force."""
    policy: Policy
    """The policy that asks for the approval."""
    name: str
    """The approver's name."""
    approver: Approver
    """The approver."""
    subject: ApprovalSubject
    """What the approval is about."""
    decision: Decision
    """The decision on the version without this approval."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences that whoever signs should read."""
        notes = []
        if self.declaration.revision is None:
            notes.append(
                "the files differ from the last commit: this approves the policy as these very bytes, "
                f"SHA-256 {self.policy.digest[:12]}; any other edit of it makes the approval void"
            )
        if not isinstance(self.subject.metrics, str):
            missing = [str(each.metric_ref) for each in self.subject.metrics if each.value == ABSENT_METRIC]
            notes += [f"{name} is absent: once it is logged, this approval is void" for name in missing]
        return tuple(notes)


@dataclass(frozen=True)
class ApprovalTally:
    """The state of one approval rule."""

    rule: ApprovalRule
    """The rule."""
    weighed: tuple[WeighedApproval, ...]
    """Each approval, and whether it counts."""

    @property
    def count(self) -> int:
        """Return how many approvals count."""
        return sum(each.counts for each in self.weighed)

    def __str__(self) -> str:
        return f"{self.rule}: {self.count} of {self.rule.approval.at_least}"


@dataclass(frozen=True)
class ApprovalResult:
    """A tag that was written and read back."""

    draft: ApprovalDraft
    """What was signed."""
    key: str
    """The key of the tag."""
    value: str
    """The value of the tag."""
    decision: Decision
    """The decision with the approval."""
    tallies: tuple[ApprovalTally, ...]
    """The state of each rule that asks for the approver."""
    counts: bool
    """Whether the approval counts in every such rule."""
    why: str
    """Why it does not."""

    @property
    def tag(self) -> dict[str, str]:
        """The tag that was written, by `key` and `value`."""
        return {"key": self.key, "value": self.value}


class ApprovalWriter:
    """Drafts, signs and writes approvals."""

    def __init__(self, registry: Registry, judged: JudgeVersion, clock: Clock) -> None:
        self._registry = registry
        self._judged = judged
        self._clock = clock

    def draft_approval(
        self, declaration: Declaration, model: str, version: int, policy: str | None, name: str
    ) -> ApprovalDraft:
        """Return what that person would sign. Raises `PermanentError` where the approval would never count.

        A signature that no rule asks for is refused rather than warned of: it looks like an approval and can never become one,
        since adding a rule to the policy makes the signature void.
        """
        chosen = _choose_policy(declaration, model, policy)
        approver = self._require_entitled_approver(chosen, name)
        decision = self._judged(model, version, chosen.name)
        return ApprovalDraft(declaration, chosen, name, approver, _build_subject(chosen, decision), decision)

    def __call__(self, draft: ApprovalDraft, signer: SigningKey) -> ApprovalResult:
        """Sign the draft, write the tag, and decide again on what the registry then has. Raises `PermanentError`."""
        require_matching_key(draft.approver, draft.name, signer)
        subject, policy = draft.subject, draft.policy
        value = signer.sign_approval(subject, draft.name, self._clock.now()).to_tag_value()
        key = build_approval_tag_key(policy.name, draft.name)
        self._registry.set_version_tag(subject.model, subject.version, key, value)
        decision = self._judged(subject.model, subject.version, policy.name)
        now = _build_subject(policy, decision)
        tallies = tuple(
            ApprovalTally(rule, _weigh_approvals(rule, policy, decision, now)) for rule in find_approval_rules(policy)
        )
        own = [each for tally in tallies for each in tally.weighed if each.name == draft.name]
        why = next((each.message for each in own if not each.counts), "" if own else "the tag is gone again")
        return ApprovalResult(draft, key, value, decision, tallies, not why, why)

    def _require_entitled_approver(self, policy: Policy, name: str) -> Approver:
        approver = policy.approvers.known.get(name)
        if approver is None:
            known = ", ".join(sorted(policy.approvers.known)[:20]) or "nobody"
            fix = f"it has {known}; `promoter approve --new-key FILE --by {name}` makes a key and prints the line to commit"
            raise PermanentError(_FILE, f"there is no approver `{name}`", fix)
        asked = [word for rule in find_approval_rules(policy) for word in rule.approval.from_]
        if not policy.approvers.find_matching_names(tuple(asked)) & {name}:
            wanted = ", ".join(dict.fromkeys(asked))
            fix = f"put {name} into one of these groups in {_FILE}; an edit of the policy would void what was signed before"
            raise PermanentError("policies", f"`{policy.name}` does not ask `{name}`, but [{wanted}]", fix)
        if not approver.is_key_valid(self._clock.now()):
            raise PermanentError(
                _FILE, f"the key of {name} was valid until {approver.until:%Y-%m-%d %H:%M %Z}", "commit a new one"
            )
        return approver


def require_matching_key(approver: Approver, name: str, signer: SigningKey) -> None:
    """Raise `PermanentError` where the private key is not the approver's."""
    if signer.raw_public_key != approver.raw_key:
        fix = f"use the key whose public half is {approver.key}, or commit the line `{render_approver_line(name, signer)}`"
        raise PermanentError(_FILE, f"the key of {name} is another one than that which is to sign", fix)


def render_approver_line(name: str, signer: SigningKey) -> str:
    """Return the line of `approvers.yaml` for that key, quoted, since YAML reads some names as other values."""
    return f'"{name}": {{key: "{signer.public_key}", groups: []}}'


def find_approval_rules(policy: Policy) -> tuple[ApprovalRule, ...]:
    """Return the rules of the policy that ask for approvals, also those inside others."""
    return tuple(each for rule in policy.document.rules for each in rule.walk_rules() if isinstance(each, ApprovalRule))


def _choose_policy(declaration: Declaration, model: str, named: str | None) -> Policy:
    if named is not None:
        policy = declaration.policies.get(named)
        if policy is None:
            known = ", ".join(sorted(declaration.policies)) or "none"
            raise PermanentError("policies", f"there is no policy `{named}`", f"known: {known}")
        if not find_approval_rules(policy):
            fix = f"add {{approval: {{from: [GROUP]}}}} to policies/{named}.yaml first: that edit voids what was signed before"
            raise PermanentError("policies", f"`{named}` has no approval rule: an approval would count for nothing", fix)
        return policy
    asking = sorted(set(_find_asking_policies(declaration, model)))
    if len(asking) == 1:
        return declaration.policies[asking[0]]
    problem = f"several policies of the aliases of `{model}` ask" if asking else f"no policy of the aliases of `{model}` asks"
    every = asking or sorted(name for name, policy in declaration.policies.items() if find_approval_rules(policy))
    fix = "give one of them: " + ", ".join(f"--policy {name}" for name in every) if every else "no policy has an approval rule"
    raise PermanentError("registry.yaml", f"{problem} for approvals", fix)


def _find_asking_policies(declaration: Declaration, model: str) -> Iterator[str]:
    intent = declaration.desired.find_model_intent(model)
    for alias in intent.aliases.values() if intent else ():
        policy = declaration.policies.get(alias.policy or "")
        if policy and find_approval_rules(policy):
            yield policy.name


def _build_subject(policy: Policy, decision: Decision) -> ApprovalSubject:
    evidence, setting = decision.evidence, policy.rule_context
    if evidence is None:
        raise PermanentError("MLflow", f"there is no evidence on v{decision.version} of `{decision.model}`")
    unread = evidence.candidate.logged_model
    if isinstance(unread, Unreadable) and policy.needed_evidence.logged_model:
        raise PermanentError("MLflow", f"the logged model of v{decision.version} cannot be read: {unread.reason}")
    try:
        return ApprovalSubject.from_evidence(evidence, setting.policy, setting.digest, setting.used)
    except ValueError:
        raise PermanentError("MLflow", f"what it says of v{decision.version} of `{decision.model}` cannot be signed") from None


def _weigh_approvals(
    rule: ApprovalRule, policy: Policy, decision: Decision, subject: ApprovalSubject
) -> tuple[WeighedApproval, ...]:
    return rule.weigh_approvals(decision.evidence, policy.rule_context, subject) if decision.evidence else ()
