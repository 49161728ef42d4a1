"""What is wanted of an alias, and why an open proposal is overtaken. Pure: from a view to words."""

from __future__ import annotations

from promoter.application.markdown.marker import PullRequestMarker
from promoter.application.survey import ModelSnapshot, RegistrySnapshot
from promoter.domain.adoption import build_adoption_proposals
from promoter.domain.desired import AliasIntent
from promoter.domain.observed import ObservedModel
from promoter.domain.policy import ANY_NEWER
from promoter.domain.proposal import ProposalReason, Proposal
from promoter.domain.sources import AliasRef
from promoter.domain.verdict import Verdict


def find_pull_request_proposals(model: ModelSnapshot | None) -> dict[str, Proposal]:
    """What goes through a pull request, by alias: broken guards, rotations, and drift that is to be adopted."""
    if model is None:
        return {}
    aliases = model.intent.aliases
    through = [each for each in model.proposals if aliases[each.edit.alias].rotation == "pull-request"]
    return {each.edit.alias: each for each in (*build_adoption_proposals(model.intent, model.compared), *through)}


def find_obsolete_reason(
    view: RegistrySnapshot, model: ModelSnapshot | None, marker: PullRequestMarker, declared: AliasIntent | None
) -> str | None:
    """Why what is open is not wanted any more; None: nothing is wanted just now, and it stays open.

    `said` is git's word on the alias. What is pending, or cannot be known, is no reason: it may pass again.
    """
    alias = model.intent.aliases.get(marker.alias) if model else None
    if model is None or alias is None or declared is None:
        return "git does not manage the alias any more"
    if marker.aim is ProposalReason.RELEASE:
        return "there is no hold any more"
    if marker.version is not None and declared.version == marker.version:
        return f"git says v{marker.version} already"
    if marker.aim is ProposalReason.ADOPT:
        stays = model.intent.on_drift == "adopt"
        return f"the alias is not at v{marker.version} any more" if stays else "`on_drift` is not `adopt` any more"
    if marker.aim is ProposalReason.ROLL_BACK:
        return "nobody asks for it any more"
    return _check_settings(view, alias, marker) or _check_evidence(view, model, alias, marker)


def _check_settings(view: RegistrySnapshot, alias: AliasIntent, marker: PullRequestMarker) -> str | None:
    """What git says that speaks against it."""
    if alias.rotation != "pull-request":
        return f"the alias has `rotation: {alias.rotation}` now"
    if alias.hold and alias.hold.is_in_force(view.at):
        return f"held by {alias.hold.by}: {alias.hold.reason}"
    if marker.version in alias.quarantine:
        return f"v{marker.version} is in quarantine"
    return None


def _check_evidence(view: RegistrySnapshot, model: ModelSnapshot, alias: AliasIntent, marker: PullRequestMarker) -> str | None:
    observed = model.observed or ObservedModel(model.intent.name)
    if _is_out_of_sync(view, alias, observed) or _is_source_unreadable(view, alias):
        return None  # what is wanted shows once git and the registry agree, and everything can be read
    return _check_guard(model, marker) if marker.aim is ProposalReason.GUARD else _check_candidate(model, marker)


def _check_guard(model: ModelSnapshot, marker: PullRequestMarker) -> str | None:
    guards = next((each for each in model.guards if each.alias == marker.alias), None)
    if guards is not None and guards.broken_guards:
        return guards.reason or None
    return "no guard is broken any more"


def _check_candidate(model: ModelSnapshot, marker: PullRequestMarker) -> str | None:
    standing = next((each for each in model.rotation_statuses if each.alias == marker.alias), None)
    if standing is None:
        return "the alias does not rotate any more"
    if standing.missing is not None:
        return None  # what is to be copied first may be judged no better
    decision = next((each for each in standing.decisions if each.version == marker.version), None)
    if decision is not None:
        return f"v{marker.version}: {decision.summary_line}" if decision.verdict is Verdict.FAIL else None
    others = ", ".join(f"v{each.version}" for each in standing.decisions)
    return f"v{marker.version} is no candidate any more" + (f", {others} is" if others else f": {standing.reason}")


def _is_source_unreadable(view: RegistrySnapshot, alias: AliasIntent) -> bool:
    """Whether versions come from where nobody answers just now."""
    place = AliasRef.from_intent(alias)
    holding = view.source_aliases.get(place) if place else None
    return place is not None and (holding is None or holding.trouble is not None)


def _is_out_of_sync(view: RegistrySnapshot, alias: AliasIntent, observed: ObservedModel) -> bool:
    """Whether the alias, or the one that its candidates come from, is not where git says."""
    held = observed.aliases.get(alias.alias)
    if alias.version is not None and held != alias.version:
        return True
    policy = view.declaration.policies.get(alias.policy or "")
    candidates = policy.document.candidates if policy else None
    if candidates is None or candidates.from_ == ANY_NEWER or alias.promote_from:
        return False
    intent = view.models[alias.model].intent
    source = intent.aliases.get(candidates.from_)
    return bool(source and source.has_declared_target and source.version != observed.aliases.get(candidates.from_))
