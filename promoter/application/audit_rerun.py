"""Rerun decisions: make recorded ones again from the evidence and the policies in the ledger, which is all that is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from promoter.application.ports import DeclarationDocuments, Ledger
from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import DecisionPurpose
from promoter.domain.errors import Faults, PermanentError
from promoter.domain.evidence import Evidence
from promoter.domain.folder import REGISTRY_FILE
from promoter.domain.ledger.chain import digest_bytes
from promoter.domain.ledger.checkpoints import EvidenceRetention, find_last_retention
from promoter.domain.ledger.rerun import DecisionRerun, RerunOutcome, compare_decision_trees, rerun_decision
from promoter.domain.policy.document import Policy

_EMPTY_REGISTRY = b"version: 1\nmodels: {}\n"
_POLICY_CACHE_SIZE = 256


class _RerunImpossible(Exception):  # noqa: N818  # one of the ways in which a rerun ends
    def __init__(self, ending: RerunOutcome, why: str) -> None:
        super().__init__(why)
        self.ending, self.why = ending, why


@dataclass(frozen=True)
class _RecordedPolicy:
    """A policy as a decision names it."""

    name: str
    """Its name."""
    policy: str
    """The digest of its text."""
    approvers: str | None
    """The digest of approvers.yaml; None where there was none."""


class DecisionRerunner:
    """Makes recorded decisions again; each policy is parsed once."""

    def __init__(self, ledger: Ledger, documents: DeclarationDocuments) -> None:
        self._ledger = ledger
        self._documents = documents
        self._cached_policy = lru_cache(maxsize=_POLICY_CACHE_SIZE)(self._read_policy)

    def rerun_decision(self, number: int) -> DecisionRerun:
        """Rerun the decision of that number, or the one behind that record. Raises `PermanentError` where there is none."""
        recorded = self._ledger.find_decision(number)
        if recorded is None:
            fix = "`promoter audit list` shows records: those of gated changes have a decision behind them"
            raise PermanentError("ledger", f"entry {number} is no decision, and no record with a decision behind it", fix)
        return self._rerun_or_explain(recorded)

    def rerun_all_decisions(self) -> Iterator[DecisionRerun]:
        """Rerun every decision in the ledger, oldest first, one at a time."""
        for recorded in self._ledger.iterate_decisions():
            yield self._rerun_or_explain(recorded)

    def _rerun_or_explain(self, recorded: RecordedDecision) -> DecisionRerun:
        try:
            return self._rerun_recorded(recorded)
        except _RerunImpossible as unmade:
            return DecisionRerun(recorded, unmade.ending, why=unmade.why)

    def _rerun_recorded(self, recorded: RecordedDecision) -> DecisionRerun:
        evidence = self._load_evidence(recorded)
        policy = self._find_policy(recorded)
        if isinstance(policy, str):
            raise _RerunImpossible(RerunOutcome.BROKEN, policy)
        try:
            decision = rerun_decision(recorded, policy, evidence)
            found = compare_decision_trees(recorded.tree, decision)
        except ValueError as error:
            raise _RerunImpossible(RerunOutcome.BROKEN, f"it cannot be made again: {error}") from None
        return DecisionRerun(recorded, RerunOutcome.DIFFERENT if found else RerunOutcome.SAME, decision, found)

    def _load_evidence(self, recorded: RecordedDecision) -> Evidence:
        """Load the evidence. Raises `_RerunImpossible` where it is missing, was altered, or cannot be read."""
        recorded_evidence, digest = recorded.evidence, recorded.evidence_digest
        if digest is not None and recorded_evidence is None:
            dropped = self._last_retention
            if dropped and recorded.at < dropped.before:
                raise _RerunImpossible(RerunOutcome.DROPPED, f"its evidence was dropped by {dropped}; its digest is {digest}")
            raise _RerunImpossible(
                RerunOutcome.BROKEN, f"its evidence is not there, and no retention dropped it (its digest is {digest})"
            )
        if recorded_evidence is None or recorded.purpose is None or recorded.purpose not in set(DecisionPurpose):
            raise _RerunImpossible(RerunOutcome.OLDER, "it was recorded before Promoter kept what a rerun takes")
        if digest_bytes(json.dumps(recorded_evidence, sort_keys=True, separators=(",", ":")).encode()) != digest:
            raise _RerunImpossible(RerunOutcome.BROKEN, f"its evidence was altered: it does not have the digest {digest}")
        try:
            return Evidence.from_json(recorded_evidence)
        except ValueError:
            raise _RerunImpossible(
                RerunOutcome.BROKEN, "its evidence is in a form that this version of Promoter cannot read"
            ) from None

    @cached_property
    def _last_retention(self) -> EvidenceRetention | None:
        return find_last_retention(self._ledger.find_lifecycle_events())

    def _find_policy(self, recorded: RecordedDecision) -> Policy | str | None:
        """Find the policy; None for a decision that no policy made, a message where its text is missing or cannot be read."""
        name, digest = recorded.tree.get("policy"), recorded.tree.get("policy_digest")
        if name is None or digest is None:
            return None
        return self._cached_policy(_RecordedPolicy(str(name), str(digest), recorded.approvers))

    def _read_policy(self, recorded: _RecordedPolicy) -> Policy | str:
        texts = {REGISTRY_FILE: _EMPTY_REGISTRY}
        for file, digest in ((f"policies/{recorded.name}.yaml", recorded.policy), ("approvers.yaml", recorded.approvers)):
            if digest is None:
                continue
            text = self._ledger.find_blob_text(digest)
            if text is None:
                return f"the text of {file} is not there (its digest is {digest})"
            if digest_bytes(text.encode()) != digest:
                return f"the text of {file} was altered: it does not have the digest {digest}"
            texts[file] = text.encode()
        try:
            return self._documents.parse_declaration(texts, None).policies[recorded.name]
        except Faults as faults:
            return f"this version of Promoter does not take its files: {faults}"
