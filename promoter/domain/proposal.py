"""A proposal: a change of `registry.yaml`, and the message it is committed with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.desired import Hold, ModelIntent
from promoter.domain.fields import find_model_name_flaw, format_utc_minute
from promoter.domain.plan import ModelComparison
from promoter.domain.policy.rules.review import describe_within_pull_request
from promoter.domain.text import disarm_commit_text, escape_invisible, escape_lines, version_label

IDENTITY_TRAILER = "Promoter-Identity"
"""The trailer of a commit that names the identity of the proposed version, since its number may be another one's later."""


QUARANTINE_TRAILER = "Promoter-Quarantine"
"""The trailer of a commit that names the version that it puts into quarantine, or takes out of it."""


class ProposalReason(StrEnum):
    """Why a proposal exists. A person asks for rollbacks, holds and quarantines; Promoter finds the others by itself."""

    ROTATE = "rotate"
    GUARD = "guard"
    ROLL_BACK = "rollback"
    HOLD = "hold"
    RELEASE = "release"
    QUARANTINE = "quarantine"
    LIFT_QUARANTINE = "lift-quarantine"
    ADOPT = "adopt"
    PUT_BACK = "put-back"
    """Git goes back to what the registry has, since what git states was merged without the reviews that its policy asks for."""

    @property
    def is_requested(self) -> bool:
        """Return whether a person asked for it."""
        return self is ProposalReason.ROLL_BACK or self.moves_nothing

    @property
    def moves_nothing(self) -> bool:
        """Return whether a person asks for a hold or a quarantine alone, or for the end of one: no alias gets a version."""
        aims = (ProposalReason.HOLD, ProposalReason.RELEASE, ProposalReason.QUARANTINE, ProposalReason.LIFT_QUARANTINE)
        return self in aims


@dataclass(frozen=True)
class RegistryEdit:
    """An edit of `registry.yaml`: the version of one alias, its hold, and versions that are added to its quarantine."""

    model: str
    """The registered model."""
    alias: str
    """The alias whose entry is edited."""
    version: int | None
    """The version that the alias gets; None leaves the version as it is."""
    hold: Hold | None = None
    """The hold that the alias gets, in place of one that it has."""
    quarantine: tuple[int, ...] = ()
    """Versions that are added to the quarantine."""
    release: bool = False
    """Whether the present hold is removed."""
    lifted: int | None = None
    """A version that is taken out of the quarantine."""

    @property
    def quarantined(self) -> int | None:
        """The one version that a person puts into quarantine, or takes out of it; None where the edit is about none or more."""
        return self.lifted or (self.quarantine[0] if len(self.quarantine) == 1 else None)


@dataclass(frozen=True)
class Proposal:
    """One proposed change of `registry.yaml`."""

    edit: RegistryEdit
    """The change."""
    replaces: int | None
    """The version that holds the alias now."""
    decision: Decision | None
    """The decision that supports the change."""
    aim: ProposalReason = ProposalReason.ROTATE
    """Why the proposal exists; the marker of a pull request stores it."""
    by: str | None = None
    """The person who asked for it; None where nobody did."""
    reason: str | None = None
    """What that person gave as the reason."""
    goes_past: bool = False
    """Whether it may take the place of another person's rollback that waits on its branch."""

    @property
    def identity(self) -> str | None:
        """The identity of the version that rotation proposes; None for other proposals, and where it is not known."""
        return self.decision.identity if self.decision and self.aim is ProposalReason.ROTATE else None

    @property
    def subject_line(self) -> str:
        """Return the first line of the commit message, which is also the title of the pull request."""
        edit = self.edit
        name = disarm_commit_text(escape_invisible(f"{edit.model}@{edit.alias}"))
        was, to = version_label(self.replaces), f"v{edit.version}"
        if self.aim.moves_nothing:
            return self._render_hold_subject(name)
        match self.aim:
            case ProposalReason.ADOPT:
                return f"Adopt {to} as {name}, from {was}"
            case ProposalReason.ROTATE:
                return f"Rotate {name} from {was} to {to}"
            case ProposalReason.PUT_BACK:
                return f"Put git back to {to} for {name}, from {was}"
            case _:
                return f"Roll back {name} from {was} to {to}"

    def _render_hold_subject(self, name: str) -> str:
        match self.aim:
            case ProposalReason.HOLD:
                return f"Hold {name} at v{self.replaces}" if self.replaces else f"Hold {name}"
            case ProposalReason.RELEASE:
                return f"Release {name}"
            case ProposalReason.QUARANTINE:
                return f"Quarantine v{self.edit.quarantined} for {name}"
            case _:
                return f"Take v{self.edit.quarantined} out of quarantine for {name}"

    @property
    def effect(self) -> str:
        """What follows from a hold, a quarantine, or the end of one, in a sentence without its full stop; else empty."""
        alias, bad = self.edit.alias, f"v{self.edit.quarantined}"
        match self.aim:
            case ProposalReason.HOLD:
                until = self.edit.hold.until if self.edit.hold else None
                end = f"until {format_utc_minute(until)}" if until else "until a person lifts it"
                return f"The hold keeps rotation and guards away from {alias} {end}"
            case ProposalReason.RELEASE:
                return f"The hold on {alias} is lifted: rotation may move it again"
            case ProposalReason.QUARANTINE:
                return f"{bad} is in quarantine: rotation never proposes it for {alias}, and no rollback returns to it"
            case ProposalReason.LIFT_QUARANTINE:
                return f"{bad} is out of quarantine: rotation may propose it for {alias} again, and a rollback may return to it"
            case _:
                return ""

    @property
    def unchecked_note(self) -> str:
        """Return the sentence that the artifact of the version is not checked, without its full stop; empty where it is."""
        hold, version = self.edit.hold, self.edit.version
        if hold is None or version is None or hold.without_artifact_check != version:
            return ""
        return f"v{version} held the alias before, and returns without a check of its artifact, on the word of {hold.by}"

    @property
    def commit_message(self) -> CommitMessage:
        """Return the commit message: what changes, why, and on which evidence. No forge obeys what stands in it."""
        trailers = "\n".join(map(escape_invisible, self._build_trailers()))
        text = disarm_commit_text("\n\n".join([self.subject_line, *map(escape_lines, self._build_body()), trailers])) + "\n"
        return CommitMessage(text, self)

    def _build_body(self) -> list[str]:
        edit, decision = self.edit, self.decision
        if self.aim.moves_nothing:
            return [*([self.reason] if self.reason else []), f"{self.effect}."]
        if self.aim is ProposalReason.ADOPT:
            return ["Somebody moved the alias in the registry, and `on_drift: adopt` asks whether that is to stay."]
        if self.aim is ProposalReason.PUT_BACK:
            was = version_label(self.replaces)
            merged = f"{was} was merged without the reviews that its policy asks for: the alias never moved."
            return [f"{merged}\nGit states what the registry has again, and rotation may propose {was} anew."]
        if self.aim is ProposalReason.ROLL_BACK:
            bad = ", ".join(f"v{each}" for each in edit.quarantine)
            stays = f"; {bad} is in quarantine" if bad else ""
            lines = [self.reason or "", f"The hold keeps rotation away until a person lifts it{stays}."]
            return [*lines, f"{self.unchecked_note}."] if self.unchecked_note else lines
        if decision is None:
            return []
        findings = decision.findings if decision.verdict is Verdict.PASS else describe_within_pull_request(decision.findings)
        evidence = "\n".join(line for finding in findings for line in _render_finding_lines(finding, 0))
        return [self._explain_decision(decision), "Evidence:\n" + evidence]

    def _build_trailers(self) -> list[str]:
        edit, decision = self.edit, self.decision
        trailers = [f"Promoter-Aim: {self.aim}", f"Promoter-Model: {edit.model}", f"Promoter-Alias: {edit.alias}"]
        trailers += [f"Promoter-Version: {edit.version}"] if edit.version else []
        trailers += [f"Promoter-By: {' '.join(self.by.split())}"] if self.by else []
        if self.aim.moves_nothing:
            trailers += [f"{QUARANTINE_TRAILER}: {edit.quarantined}"] if edit.quarantined else []
            trailers += [f"Promoter-Reason: {' '.join(self.reason.split())}"] if self.reason else []
        if decision is None or self.aim not in (ProposalReason.ROTATE, ProposalReason.GUARD):
            return trailers
        trailers += [f"Promoter-Policy: {decision.policy}", f"Promoter-Decision: {decision.compute_digest()}"]
        trailers += [f"{IDENTITY_TRAILER}: {self.identity}"] if self.identity else []
        candidate = decision.evidence.candidate if decision.evidence else None
        trailers += [f"Promoter-Run: {candidate.run_id}"] if candidate and candidate.run_id else []
        return trailers + ([f"Promoter-Copy-Of: {candidate.copied_from}"] if candidate and candidate.copied_from else [])

    def _explain_decision(self, decision: Decision) -> str:
        edit = self.edit
        under = f"policy `{decision.policy}`\n({decision.policy_digest}), as of {decision.at:%Y-%m-%dT%H:%M:%SZ}."
        if edit.hold is None and decision.verdict is Verdict.PASS:
            return f"Version {edit.version} is the best candidate that passes {under}"
        if edit.hold is None:
            return f"Version {edit.version} is the best candidate. It waits for nothing but reviews under {under}"
        bad = ", ".join(f"v{each}" for each in edit.quarantine)
        return (
            f"Version {decision.version} no longer holds what the guards say of {under}\n{edit.hold.reason}.\n"
            f"The hold keeps rotation away until a person lifts it; {bad} is in quarantine."
        )


class CommitMessage(str):
    """The text of a commit's message, and the proposal that it is for: names and reasons are altered in the text alone."""

    __slots__ = ("proposal",)

    def __new__(cls, text: str, proposal: Proposal) -> Self:
        """Make the text, which is an ordinary one but for what it knows."""
        made = super().__new__(cls, text)
        made.proposal = proposal
        return made

    proposal: Proposal


@dataclass(frozen=True)
class CommitRequest:
    """A commit that Promoter made because a person asked for it, as the ledger records it."""

    revision: str
    """The commit."""
    model: str
    alias: str
    version: int | None
    """The version that it gives the alias; None where it moves nothing."""
    by: str
    """The person."""
    reason: str | None
    """Why the person asked for it."""
    aim: str
    """A `ProposalReason`."""

    @classmethod
    def from_message(cls, message: str, revision: str) -> CommitRequest | None:
        """Build it for a commit with that message; None where no person asked for it, or the message is of no proposal."""
        proposal = message.proposal if isinstance(message, CommitMessage) else None
        if proposal is None or not proposal.by or not proposal.aim.is_requested:
            return None
        edit = proposal.edit
        who = (proposal.by, proposal.reason, proposal.aim.value)
        return cls(revision, edit.model, edit.alias, edit.version, *who)

    @classmethod
    def from_event_facts(cls, facts: Mapping[str, Any]) -> CommitRequest | None:
        """Read the facts of a lifecycle event; None where they do not name a person."""
        revision, model, alias, by, aim = (facts.get(name) for name in ("revision", "model", "alias", "by", "aim"))
        if not (revision and model and alias and by and aim):
            return None
        version, reason = facts.get("version"), facts.get("reason")
        number = version if isinstance(version, int) else None
        return cls(str(revision), str(model), str(alias), number, str(by), str(reason) if reason else None, str(aim))

    @property
    def event_facts(self) -> dict[str, Any]:
        """The facts of the lifecycle event that records it."""
        return dict(vars(self))


def _render_finding_lines(finding: RuleFinding, depth: int) -> list[str]:
    value, expected = finding.shown_figures
    seen = "" if value is None else f": {value}"
    notes = "".join(f"; {note}" for note in finding.extra_notes)
    line = f"{'  ' * depth}- {finding.verdict}: {finding.rule}{seen}, expected {expected}{notes}"
    return [line.replace("\n", " "), *(line for child in finding.children for line in _render_finding_lines(child, depth + 1))]


def build_adoption_proposals(intent: ModelIntent, compared: ModelComparison) -> tuple[Proposal, ...]:
    """Return a proposal for each drift that `on_drift: adopt` is to bring into git. `replaces` is the version in git.

    An alias that somebody deleted is only reported: git cannot state "nobody" for an alias that goes on rotating, and
    `absent` would state far more than what happened.
    """
    if intent.on_drift != "adopt" or find_model_name_flaw(intent.name):
        return ()
    return tuple(
        Proposal(RegistryEdit(each.model, each.alias, each.from_version), each.to_version, None, ProposalReason.ADOPT)
        for each in compared.reported
        if each.from_version is not None
    )
