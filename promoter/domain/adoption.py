"""Adoption: what would make git say where somebody has moved an alias by hand."""

from __future__ import annotations

from promoter.domain.desired import ModelIntent
from promoter.domain.plan import ModelComparison
from promoter.domain.proposal import ProposalReason, RegistryEdit, Proposal


def build_adoption_proposals(intent: ModelIntent, compared: ModelComparison) -> tuple[Proposal, ...]:
    """A proposal for each drift that `on_drift: adopt` asks about. `replaces` is what git says.

    An alias that somebody deleted is only reported: git has no way to say "nobody" of an alias that goes on rotating, and
    `absent` would be far more than what happened.
    """
    if intent.on_drift != "adopt":
        return ()
    return tuple(
        Proposal(RegistryEdit(each.model, each.alias, each.from_version), each.to_version, None, ProposalReason.ADOPT)
        for each in compared.reported
        if each.from_version is not None
    )
