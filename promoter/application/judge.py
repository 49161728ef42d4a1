"""Judge: from questions to decisions, on evidence that is gathered for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from promoter.application.evidence import EvidenceGatherer, PolicyQuestion, ObservationsByVersion
from promoter.application.ports import Ledger, Registry
from promoter.domain.evaluate import evaluate_policy, hinges_on_loading
from promoter.domain.evidence import Evidence
from promoter.domain.verdict import Decision, DecisionPurpose


class QuestionJudge:
    """Makes decisions. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._gather = EvidenceGatherer(registry, ledger)

    def __call__(
        self, questions: Iterable[PolicyQuestion], at: datetime, sights: ObservationsByVersion
    ) -> dict[PolicyQuestion, Decision]:
        """One decision a question. Artifacts are loaded only where nothing else stands in the way."""
        evidence = self._gather(questions, at, sights)
        return {question: self._decide_question(question, evidence[question]) for question in evidence}

    def _decide_question(self, question: PolicyQuestion, evidence: Evidence) -> Decision:
        name = question.observed.name
        decision = self._evaluate_question(question, evidence)
        version = question.observed.versions.get(question.version)
        if version is None or not hinges_on_loading(question.policy, decision):
            return decision
        loading = self._registry.check_loading(name, version)
        return self._evaluate_question(question, replace(evidence, candidate=replace(evidence.candidate, loading=loading)))

    def _evaluate_question(self, question: PolicyQuestion, evidence: Evidence) -> Decision:
        decision = evaluate_policy(question.policy, question.observed.name, question.alias, evidence)
        return replace(decision, purpose=question.purpose, gate=question.purpose is DecisionPurpose.GATE)
