"""A proposal: the change of `registry.yaml` that rotation asks for, and the words that it is committed with."""

from __future__ import annotations

from dataclasses import dataclass

from promoter.domain.desired import Hold
from promoter.domain.verdict import Decision, Finding

REGISTRY_FILE = "registry.yaml"


@dataclass(frozen=True)
class Edit:
    """Say that the alias of the model is to point at that version; with a hold, and further versions in quarantine.

    A hold that is there already is replaced; a quarantine keeps what it has.
    """

    model: str
    alias: str
    version: int
    hold: Hold | None = None
    quarantine: tuple[int, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """One alias to one version, and the decision that carries it. `replaces` is who holds the alias now."""

    edit: Edit
    replaces: int | None
    decision: Decision

    @property
    def rolls_back(self) -> bool:
        """Whether it puts an earlier version back, rather than taking the next step."""
        return self.edit.hold is not None

    @property
    def message(self) -> str:
        """The commit message: what, why, and on which evidence."""
        edit, decision = self.edit, self.decision
        was = f"v{self.replaces}" if self.replaces else "nobody"
        verb = "Roll back" if self.rolls_back else "Rotate"
        subject = f"{verb} {edit.model}@{edit.alias} from {was} to v{edit.version}"
        evidence = "\n".join(line for finding in decision.findings for line in _told(finding, 0))
        run = decision.evidence.candidate.run_id if decision.evidence else None
        trailers = [f"Promoter-Model: {edit.model}", f"Promoter-Alias: {edit.alias}", f"Promoter-Version: {edit.version}"]
        trailers += [f"Promoter-Policy: {decision.policy}", f"Promoter-Decision: {decision.digest()}"]
        trailers += [f"Promoter-Run: {run}"] if run else []
        return "\n\n".join([subject, self._why(), "Evidence:\n" + evidence, "\n".join(trailers)]) + "\n"

    def _why(self) -> str:
        edit, decision = self.edit, self.decision
        under = f"policy `{decision.policy}`\n({decision.policy_digest}), as of {decision.at:%Y-%m-%dT%H:%M:%SZ}."
        if edit.hold is None:
            return f"Version {edit.version} is the best candidate that passes {under}"
        bad = ", ".join(f"v{each}" for each in edit.quarantine)
        return (
            f"Version {decision.version} no longer holds what the guards say of {under}\n{edit.hold.reason}.\n"
            f"The hold keeps rotation away until a person lifts it; {bad} is in quarantine."
        )


def _told(finding: Finding, depth: int) -> list[str]:
    seen = "" if finding.value is None else f": {finding.value}"
    notes = "".join(f"; {note}" for note in finding.notes)
    line = f"{'  ' * depth}- {finding.verdict}: {finding.rule}{seen}, expected {finding.expected}{notes}"
    return [line.replace("\n", " "), *(line for child in finding.children for line in _told(child, depth + 1))]
