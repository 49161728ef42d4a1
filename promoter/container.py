"""The composition root: the use cases, each constructed with the adapters that it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

from promoter.application.allowances import ChangeAllowances
from promoter.application.apply import PlanExecutor
from promoter.application.controller import Controller, Heartbeat, PullRequestWork
from promoter.application.notifications import ChannelNotifier, DeliveryTerms
from promoter.application.planner import Planner, WithholdAlias
from promoter.application.proposals.commits import BranchOpener, OpenedProposal, ProposalCommitter, RotationProposer
from promoter.application.provenance import ClonedProvenance, GitProvenance
from promoter.application.reconciler import ModelReconciler, PlanApplier, VersionCopier
from promoter.application.registry_binding import RegistryBinding, RepositoryBinding
from promoter.application.revisions import RevisionTracker
from promoter.application.work_items import enqueue_affected_models
from promoter.configured_adapters import ConfiguredAdapters
from promoter.domain.errors import ExternalError, Faults

if TYPE_CHECKING:
    from promoter.application.audit import CheckpointSigner
    from promoter.application.holds import HoldWriter
    from promoter.application.proposals.reconciler import ProposalReconciler
    from promoter.application.refusals import RefusalReconsiderer
    from promoter.application.rollback import AliasRollback
    from promoter.domain.proposal import Proposal


_CHANNEL_PATIENCE = 0.5
"""How many seconds a channel's lock is waited for. Another replica that serves the channel may hold it for long."""


class Container(ConfiguredAdapters):
    """The use cases, on top of the adapters. Each is made on first use."""

    @cached_property
    def planner(self) -> Planner:
        """What compares, decides and plans; it asks where changes come from where there is a repository."""
        provenance = self.provenance if self.settings.repo or "repository" in self.ports else None
        return Planner(self.registry, self.ledger, self.clock, provenance, self.version_copies)

    @cached_property
    def provenance(self) -> GitProvenance:
        """What finds the commit and the pull request behind a change."""
        return GitProvenance(self.repository, self.documents, self.ledger, self.clock, lambda: self._configured_forge)

    @cached_property
    def reading_planner(self) -> Planner:
        """The planner for commands that write nothing, not even a database."""
        provenance = ClonedProvenance(self._find_merged_provenance)
        return Planner(self.registry, self.reading_ledger, self.clock, provenance, self.version_copies)

    def _find_merged_provenance(self, revision: str) -> GitProvenance | None:
        return self._clone_provenance if self._local_clone.has_merged(self.settings.branch, revision) else None

    @cached_property
    def _clone_provenance(self) -> GitProvenance:
        return GitProvenance(self._local_clone, self.documents, self.reading_ledger, self.clock, lambda: self._configured_forge)

    @cached_property
    def revisions(self) -> RevisionTracker:
        """What follows the branch, and knows the revision in force."""
        return RevisionTracker(
            repository=self.repository,
            documents=self.documents,
            ledger=self.ledger,
            planner=self.planner,
            clock=self.clock,
            locks=self.locks,
            announce=partial(enqueue_affected_models, self._enqueue_work),
            allowances=ChangeAllowances(self.repository, self.provenance, self.ledger, self.clock),
            binding=self.repository_binding,
        )

    @cached_property
    def plan_applier(self) -> PlanApplier:
        """What carries out the plan of a revision: `promoter apply`."""
        return PlanApplier(self.planner, self.model_reconciler, self.ledger, self.clock)

    def build_tree_applier(self, withhold: WithholdAlias) -> PlanApplier:
        """Return what applies a working tree instead of the branch, except the aliases for which `withhold` has a reason."""
        planner = Planner(self.registry, self.ledger, self.clock, None, self.version_copies, withhold)
        return PlanApplier(planner, self._build_model_reconciler(planner), self.ledger, self.clock)

    @cached_property
    def model_reconciler(self) -> ModelReconciler:
        """What brings one model to where git wants it."""
        return self._build_model_reconciler(self.planner)

    def _build_model_reconciler(self, planner: Planner) -> ModelReconciler:
        return ModelReconciler(
            planner=planner,
            executor=PlanExecutor(self.registry, self.provenance, self.ledger, planner, self.clock, self.locks),
            copier=VersionCopier(self.version_copies),
            proposer=RotationProposer(self.repository, self.documents),
            revisions=self.revisions,
            ledger=self.ledger,
            locks=self.locks,
            binding=self.registry_binding,
        )

    @cached_property
    def registry_binding(self) -> RegistryBinding:
        """What keeps every write of this ledger in the one registry that the ledger is about."""
        return RegistryBinding(self.registry, self.ledger, self.clock)

    @cached_property
    def repository_binding(self) -> RepositoryBinding:
        """What keeps every write of this ledger to what one folder of one repository states."""
        return RepositoryBinding(self.repository, self.ledger, self.clock)

    @cached_property
    def reading_registry_binding(self) -> RegistryBinding:
        """What compares the ledger's registry with this one, for commands that write nothing, not even a database."""
        return RegistryBinding(self.registry, self.reading_ledger, self.clock)

    @cached_property
    def proposal_reconciler(self) -> ProposalReconciler | None:
        """What keeps Promoter's own pull requests; None where no forge is configured."""
        from promoter.application.proposals.reconciler import ProposalReconciler

        forge = self._configured_forge
        if forge is None:
            return None
        return ProposalReconciler(
            forge=forge,
            repository=self.repository,
            documents=self.documents,
            ledger=self.ledger,
            locks=self.locks,
            clock=self.clock,
            planner=self.planner,
            revisions=self.revisions,
            registry=self.registry,
            pages=self.page_addresses,
        )

    @property
    def alias_rollback(self) -> AliasRollback:
        """What carries out a person's rollback."""
        from promoter.application.rollback import AliasRollback

        return AliasRollback(
            registry=self.registry,
            ledger=self.ledger,
            clock=self.clock,
            locks=self.locks,
            revisions=self.revisions,
            model_reconciler=self.model_reconciler,
            binding=self.registry_binding,
            committer=self._proposal_committer,
            open_proposal=self._open_proposal,
            has_forge=lambda: self._configured_forge is not None,
            poll_interval=timedelta(seconds=self.settings.poll_interval),
            report_step=self._report_step,
        )

    @property
    def hold_writer(self) -> HoldWriter:
        """What carries out a person's hold, quarantine, or the end of one."""
        from promoter.application.holds import HoldWriter

        return HoldWriter(
            registry=self.registry,
            ledger=self.ledger,
            clock=self.clock,
            revisions=self.revisions,
            committer=self._proposal_committer,
            open_proposal=self._open_proposal,
            report_step=self._report_step,
        )

    @cached_property
    def reconsider_refusal(self) -> RefusalReconsiderer:
        """What takes back a person's no to a version."""
        from promoter.application.refusals import RefusalReconsiderer

        return RefusalReconsiderer(
            self.ledger, self.clock, self.registry, self.repository_folder, lambda: self._configured_forge
        )

    @property
    def _proposal_committer(self) -> ProposalCommitter:
        return ProposalCommitter(self.repository, self.documents, self.revisions)

    def _open_proposal(self, proposal: Proposal) -> OpenedProposal:
        """The forge is built when it is needed: wrong settings of it must not keep an alias from moving."""
        from promoter.application.proposals.reconciler import ProposalOpener

        push = BranchOpener(self.repository, self.documents)
        try:
            proposals = self.proposal_reconciler
        except (Faults, ExternalError) as error:
            return replace(push(proposal), next_step=f"the forge cannot be used: {error}", done=False)
        return (ProposalOpener(push, proposals) if proposals else push)(proposal)

    @cached_property
    def pull_request_work(self) -> PullRequestWork | None:
        """What works on pull requests; None where no forge is configured."""
        from promoter.application.merge_results import MergeResultReporter
        from promoter.application.pull_planner import PullPlanner
        from promoter.application.pull_plans import PullPlanUpdater

        forge, proposals = self._configured_forge, self.proposal_reconciler
        if forge is None or proposals is None:
            return None
        planner = PullPlanner(self.registry, self.ledger, self.repository, self.documents, self.clock, self.provenance)
        branch, pages = self.settings.branch, self.page_addresses
        plans = PullPlanUpdater(forge, self.repository, planner, self.revisions, self.locks, branch, pages)
        results = MergeResultReporter(
            forge=forge,
            repository=self.repository,
            documents=self.documents,
            ledger=self.ledger,
            revisions=self.revisions,
            provenance=self.provenance,
            locks=self.locks,
            clock=self.clock,
            pages=pages,
        )
        return PullRequestWork(forge, proposals, plans, results)

    @cached_property
    def heartbeat(self) -> Heartbeat:
        """What records that this daemon runs."""
        from promoter.adapters.system import LocalHost

        return Heartbeat(self.ledger, self.clock, self.planner, LocalHost())

    @cached_property
    def checkpoint_signer(self) -> CheckpointSigner | None:
        """What signs checkpoints; None where no key is configured. Raises `PermanentError` where the key cannot be used."""
        from promoter.adapters.system import read_unattended_key
        from promoter.application.audit import CheckpointSigner

        key = self.settings.checkpoint_key
        return CheckpointSigner(self.ledger, self.clock, read_unattended_key(key)) if key else None

    def build_controller(self, backoff: Callable[[int], float]) -> Controller:
        """Return what the daemon runs; further work goes to `enqueue_work`."""
        return Controller(
            self.model_reconciler,
            self.revisions,
            self.clock,
            backoff,
            self._enqueue_work,
            self.pull_request_work,
            timedelta(seconds=self.settings.poll_interval),
        )

    @cached_property
    def notifier(self) -> ChannelNotifier:
        """What sends events to the channels."""
        pages = self.page_addresses
        return ChannelNotifier(
            self.notification_channels,
            DeliveryTerms(timedelta(seconds=self.settings.notifications_patience), pages.promoter, pages.mlflow),
            outbox=self.event_outbox,
            locks=self._build_locks("channels", _CHANNEL_PATIENCE),
            clock=self.clock,
        )
