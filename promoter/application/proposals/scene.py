"""What one look at a model's proposals goes by, and what it wants to be open."""

from __future__ import annotations

from dataclasses import dataclass

from promoter.application.ports import PullRequest, Sources
from promoter.application.proposals.sites import Site
from promoter.application.survey import ModelView, View
from promoter.domain.desired import AliasIntent, ProposalSettings
from promoter.domain.observed import ObservedModel
from promoter.domain.override import Override
from promoter.domain.policy import Policy
from promoter.domain.proposal import Proposal


@dataclass(frozen=True)
class Scene:
    """The head of the watched branch, its files, and a survey of the model against it. `seen` None: git does not manage it."""

    model: str
    base: str
    sources: Sources
    view: View
    seen: ModelView | None

    def said(self, alias: str) -> AliasIntent | None:
        """Git's own word on the alias, without overrides."""
        intent = self.view.declaration.desired.intent(self.model)
        return intent.aliases.get(alias) if intent else None

    def override(self, alias: str) -> Override | None:
        """The one that stands in for git's word."""
        intent = self.seen.intent.aliases.get(alias) if self.seen else None
        return intent.override if intent else None

    def policy(self, alias: str) -> Policy | None:
        """The one that gates the alias."""
        said = self.said(alias)
        return self.view.declaration.policies.get(said.policy) if said and said.policy else None

    @property
    def observed(self) -> ObservedModel:
        """The model in the registry; without versions where it is not there."""
        return (self.seen.observed if self.seen else None) or ObservedModel(self.model)

    @property
    def settings(self) -> ProposalSettings:
        """What pull requests carry."""
        return self.seen.intent.proposals if self.seen else ProposalSettings()


@dataclass(frozen=True)
class Wanted:
    """What is to be open, and the `registry.yaml` that it asks for. `last`: the newest pull request, where none is open."""

    site: Site
    proposal: Proposal
    content: bytes
    last: PullRequest | None = None
