"""A person's rollback and release of one champion, on an app of fakes."""

from __future__ import annotations

from typing import Any

from promoter.application.holds import HoldWriter
from promoter.application.proposals.commits import BranchOpener, Opener, ProposalCommitter
from promoter.application.proposals.reconciler import ProposalOpener
from promoter.application.rollback import AliasRollback
from promoter.domain.audit import RecordKind
from promoter.domain.desired import AliasIntent
from promoter.domain.proposal import ProposalReason
from promoter.domain.rollback import HoldRequest, RollbackRequest, RollbackResult
from tests.support.app import App

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
"""
ROTATING = "m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}"
REASON = "bad recall"
BRANCH = "promoter/m/champion"


def opener(app: App, *, forge: bool = True) -> Opener:
    """What pushes a proposal's branch in that app, and opens its pull request where there is a forge."""
    push = BranchOpener(app.repository, app.documents)
    proposals = app.proposal_reconciler
    return ProposalOpener(push, proposals) if forge and proposals else push


def committer(app: App) -> ProposalCommitter:
    """What commits a proposal in that app."""
    return ProposalCommitter(app.repository, app.documents, app.revisions)


def back(app: App, *, forge: bool = True, **asked: Any) -> RollbackResult:
    """Alice rolls the champion back."""
    rollback = AliasRollback(
        registry=app.registry,
        ledger=app.ledger,
        clock=app.clock,
        locks=app.locks,
        revisions=app.revisions,
        model_reconciler=app.model_reconciler,
        binding=app.registry_binding,
        committer=committer(app),
        open_proposal=opener(app, forge=forge),
        has_forge=lambda: forge,
    )
    return rollback(RollbackRequest("m", "champion", **{"reason": REASON, "by": "alice", **asked}))


def release(app: App, *, forge: bool = True, by: str = "bob") -> RollbackResult:
    """Bob lifts the hold."""
    return ask_hold(app, ProposalReason.RELEASE, forge=forge, by=by)


def ask_hold(app: App, act: ProposalReason, *, forge: bool = True, alias: str = "champion", **asked: Any) -> RollbackResult:
    """Carol holds the champion, keeps a version out of it, or takes that back."""
    write = HoldWriter(
        registry=app.registry,
        ledger=app.ledger,
        clock=app.clock,
        revisions=app.revisions,
        committer=committer(app),
        open_proposal=opener(app, forge=forge),
    )
    return write(HoldRequest(act, "m", alias, **{"by": "carol", **asked}))


def git(app: App, revision: str | None = None) -> AliasIntent:
    """What git says of the champion."""
    sources = app.git.read_sources(revision or app.git.head)
    intent = app.documents.parse_declaration(sources, None).desired.find_model_intent("m")
    assert intent
    return intent.aliases["champion"]


def overrides(app: App) -> list[int]:
    """The versions of the overrides that were ever recorded."""
    found = [each for each in app.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent is None]
    return [each.fact.to_version or 0 for each in found]
