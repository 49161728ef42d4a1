"""Descriptions of versions and models: gathered where a rule needs them, and kept out of all other evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from promoter.application.evidence import EvidenceGatherer, PolicyQuestion
from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import NOT_REQUESTED, Evidence, Need
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.rules.base import BaseRule, RuleContext
from promoter.domain.policy.test_cases import VersionCase
from tests.support.fakes.registry import START, FakeRegistry


class NeedyRule(BaseRule):
    """A rule that needs descriptions, or nothing."""

    kind: ClassVar[str] = "needy"
    describe: bool = True

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return whether it needs descriptions."""
        del context
        return Need(description=self.describe)

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Pass."""
        del evidence, context
        return self.build_finding(Verdict.PASS, None, "anything")


def gather(own: str, of_model: str, *, describe: bool = True) -> Evidence:
    """Return the evidence on a version with that description, of a model with that one."""
    registry, ledger = FakeRegistry(), Any
    number = registry.version("m")
    observed = registry.models["m"]
    described = replace(observed.versions[number], description=own)
    observed = replace(observed, versions={number: described}, description=of_model)
    document = PolicyDocument.model_validate({"version": 1, "rules": [{"run": {"status": "FINISHED"}}]})
    policy = Policy("p", "d", document.model_copy(update={"rules": (NeedyRule(describe=describe),)}))
    question = PolicyQuestion(observed, None, number, policy)
    return EvidenceGatherer(registry, ledger)([question], START, {})[question]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "of_model", "expected"),
    [("of v1", "of m", "of v1"), ("", "of m", "of m"), ("of v1", "", "of v1"), ("", "", None)],
)
def test_a_version_without_a_description_has_that_of_its_model(own: str, of_model: str, expected: str | None) -> None:
    """Its own comes first; the ledger gives back what was stored, also that there is none."""
    found = gather(own, of_model)
    assert found.candidate.description == expected
    assert Evidence.from_json(found.to_json()) == found


def test_evidence_that_needs_no_description_has_none() -> None:
    """What the ledger stores of other policies stays as it is."""
    found = gather("of v1", "of m", describe=False)
    assert found.candidate.description is NOT_REQUESTED
    assert "description" not in found.to_json()["candidate"]
    assert "description" in gather("", "").to_json()["candidate"]


@pytest.mark.parametrize(("stated", "expected"), [(None, None), (" \n", None), (" Detects fraud. ", "Detects fraud.")])
def test_a_policy_test_states_a_description(stated: str | None, expected: str | None) -> None:
    """As the registry would give it."""
    case = VersionCase.model_validate({"description": stated})
    assert case.build_version_evidence(2, START).description == expected
