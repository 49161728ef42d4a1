"""What one look at a model's proposals goes by, and what it wants to be open."""

from __future__ import annotations

from dataclasses import dataclass

from promoter.application.ports import PullRequest, Sources
from promoter.application.proposals.sites import ProposalBranch
from promoter.application.survey import ModelSnapshot, RegistrySnapshot
from promoter.domain.desired import AliasIntent, ProposalSettings
from promoter.domain.observed import ObservedModel
from promoter.domain.override import Override
from promoter.domain.policy import Policy
from promoter.domain.proposal import Proposal


@dataclass(frozen=True)
class ProposalContext:
    """The head of the watched branch, its files, and a survey of the model against it. `seen` None: git does not manage it."""

    model: str
    base: str
    sources: Sources
    view: RegistrySnapshot
    snapshot: ModelSnapshot | None

    def find_declared_intent(self, alias: str) -> AliasIntent | None:
        """Git's own word on the alias, without overrides."""
        intent = self.view.declaration.desired.find_model_intent(self.model)
        return intent.aliases.get(alias) if intent else None

    def find_override(self, alias: str) -> Override | None:
        """The one that stands in for git's word."""
        intent = self.snapshot.intent.aliases.get(alias) if self.snapshot else None
        return intent.override if intent else None

    def find_policy(self, alias: str) -> Policy | None:
        """The one that gates the alias."""
        declared = self.find_declared_intent(alias)
        return self.view.declaration.policies.get(declared.policy) if declared and declared.policy else None

    @property
    def observed_model(self) -> ObservedModel:
        """The model in the registry; without versions where it is not there."""
        return (self.snapshot.observed if self.snapshot else None) or ObservedModel(self.model)

    @property
    def proposal_settings(self) -> ProposalSettings:
        """What pull requests carry."""
        return self.snapshot.intent.proposals if self.snapshot else ProposalSettings()


@dataclass(frozen=True)
class DesiredPullRequest:
    """What is to be open, and the `registry.yaml` that it asks for. `last`: the newest pull request, where none is open."""

    site: ProposalBranch
    proposal: Proposal
    content: bytes
    last: PullRequest | None = None
