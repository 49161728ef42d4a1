"""A proposal: the change of `registry.yaml` that rotation asks for, and the words that it is committed with."""

from __future__ import annotations

from dataclasses import dataclass

from promoter.domain.verdict import Decision, Finding

REGISTRY_FILE = "registry.yaml"


@dataclass(frozen=True)
class Edit:
    """Say that the alias of the model is to point at that version."""

    model: str
    alias: str
    version: int


@dataclass(frozen=True)
class Proposal:
    """One alias to one version, and the decision that carries it. `replaces` is who holds the alias now."""

    edit: Edit
    replaces: int | None
    decision: Decision

    @property
    def message(self) -> str:
        """The commit message: what, why, and on which evidence."""
        edit, decision = self.edit, self.decision
        was = f"v{self.replaces}" if self.replaces else "nobody"
        subject = f"Rotate {edit.model}@{edit.alias} from {was} to v{edit.version}"
        why = (
            f"Version {edit.version} is the best candidate that passes policy `{decision.policy}`\n"
            f"({decision.policy_digest}), as of {decision.at:%Y-%m-%dT%H:%M:%SZ}."
        )
        evidence = "\n".join(line for finding in decision.findings for line in _told(finding, 0))
        run = decision.evidence.candidate.run_id if decision.evidence else None
        trailers = [f"Promoter-Model: {edit.model}", f"Promoter-Alias: {edit.alias}", f"Promoter-Version: {edit.version}"]
        trailers += [f"Promoter-Policy: {decision.policy}", f"Promoter-Decision: {decision.digest()}"]
        trailers += [f"Promoter-Run: {run}"] if run else []
        return "\n\n".join([subject, why, "Evidence:\n" + evidence, "\n".join(trailers)]) + "\n"


def _told(finding: Finding, depth: int) -> list[str]:
    seen = "" if finding.value is None else f": {finding.value}"
    line = f"{'  ' * depth}- {finding.verdict}: {finding.rule}{seen}, expected {finding.expected}"
    return [line.replace("\n", " "), *(line for child in finding.children for line in _told(child, depth + 1))]
