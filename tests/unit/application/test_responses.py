"""The models of every JSON output: their order, their version, and what they leave as it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import AliasPath, BeforeValidator, ValidationError

from promoter.adapters.mlflow.webhooks import InstallResult, RegistryWebhook
from promoter.application import responses
from promoter.application.approve import ApprovalResult, ApprovalTally
from promoter.application.audit import RecordPage
from promoter.application.audit_verify import VerificationReport
from promoter.application.explain import DecisionExplanation
from promoter.application.history import AliasAt, AliasBetween, RegistryAt
from promoter.application.policy_tests import CaseResult, PolicyTestReport, PolicyTestSuite, RuleCoverage
from promoter.application.reconciler import AppliedPlan
from promoter.application.responses import (
    Answer,
    Inlined,
    Moment,
    Recorded,
    Response,
    TextOrNull,
    attribute,
    ledger,
    left_out,
    operations,
    plans,
    policies,
    registry,
)
from promoter.application.responses.ledger import RerunResponse
from promoter.application.status import AliasRow, ModelRows
from promoter.cli.doctor import DoctorCheck
from promoter.domain.audit import AuditRecord
from promoter.domain.decision import Decision
from promoter.domain.errors import Fault
from promoter.domain.history import AliasSpan, Uncertainty, WatchGap
from promoter.domain.ledger.chain import LedgerHead
from promoter.domain.ledger.problems import LedgerProblem
from promoter.domain.ledger.rerun import RerunDifference
from promoter.domain.notifications import DeliveryAttempt
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.plan import AliasDifference, BlockedTarget, Change, Plan
from promoter.domain.policy.rules.approval import WeighedApproval
from promoter.domain.policy.test_runner import VerdictMismatch
from promoter.domain.policy_diff import AliasEffect, DivergentVersion, PolicyStep
from promoter.domain.pull_plan import BroughtChange, PullPlan
from promoter.domain.replay.as_of import AliasHolder, EvidenceSource
from promoter.domain.replay.report import ModelReplay, PolicyReplay
from promoter.domain.replay.simulate import JudgedPromotion, JudgedVersion, SimulatedSpan
from promoter.domain.rollback import RollbackResult

SOURCES: dict[type[Response], type] = {
    registry.AliasAtResponse: AliasAt,
    registry.AliasBetweenResponse: AliasBetween,
    registry.AliasResponse: AliasRow,
    registry.AliasThenResponse: AliasAt,
    registry.DoubtResponse: Uncertainty,
    registry.GapResponse: WatchGap,
    registry.ModelResponse: ModelRows,
    registry.OverrideResponse: OverrideOutlook,
    registry.RegistryAtResponse: RegistryAt,
    registry.SpanResponse: AliasSpan,
    ledger.LedgerHeadResponse: LedgerHead,
    ledger.NeighboursResponse: RecordPage,
    ledger.ProblemResponse: LedgerProblem,
    ledger.RecordResponse: AuditRecord,
    ledger.RerunDifferenceResponse: RerunDifference,
    ledger.VerificationResponse: VerificationReport,
    operations.DeliveryResponse: DeliveryAttempt,
    operations.DoctorCheckResponse: DoctorCheck,
    operations.FaultResponse: Fault,
    operations.InstallResponse: InstallResult,
    operations.WebhookResponse: RegistryWebhook,
    plans.AliasEffectResponse: AliasEffect,
    plans.AppliedPlanResponse: AppliedPlan,
    plans.ApprovalResponse: ApprovalResult,
    plans.ApprovalTallyResponse: ApprovalTally,
    plans.BlockedResponse: BlockedTarget,
    plans.BroughtChangeResponse: BroughtChange,
    plans.ChangeResponse: Change,
    plans.DivergentVersionResponse: DivergentVersion,
    plans.DriftResponse: AliasDifference,
    plans.ExplanationResponse: DecisionExplanation,
    plans.OtherDecisionResponse: Decision,
    plans.PlanResponse: Plan,
    plans.PolicyStepResponse: PolicyStep,
    plans.PullPlanResponse: PullPlan,
    plans.RollbackResponse: RollbackResult,
    plans.WeighedApprovalResponse: WeighedApproval,
    policies.CaseResponse: CaseResult,
    policies.EvidenceSourceResponse: EvidenceSource,
    policies.JudgedVersionResponse: JudgedVersion,
    policies.MismatchResponse: VerdictMismatch,
    policies.ModelReplayResponse: ModelReplay,
    policies.PolicyReplayResponse: PolicyReplay,
    policies.PolicySuiteResponse: PolicyTestSuite,
    policies.PolicyTestResponse: PolicyTestReport,
    policies.PromotionResponse: JudgedPromotion,
    policies.RuleCoverageResponse: RuleCoverage,
    policies.SimulatedSpanResponse: SimulatedSpan,
    policies.StartHolderResponse: AliasHolder,
}
"""What each model is read from."""


class PartResponse(Response):
    """A part."""

    number: int
    note: str | None = left_out()


class WholeResponse(Answer):
    """A whole."""

    at: Moment = attribute("when.begin", "from")
    holder: int | None = attribute("held.number", default=None)
    text: TextOrNull
    tree: Recorded[PartResponse] | None
    parts: list[PartResponse]


@dataclass
class Value:
    """Whatever has attributes."""

    begin: Any = None
    when: Any = None
    held: Any = None
    text: str = ""
    tree: Any = None
    parts: Any = ()
    number: Any = 0
    note: Any = None


AT = datetime(2026, 11, 30, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))


def models(kind: type[Response] = Response) -> Iterator[type[Response]]:
    """Every model of that kind."""
    for each in kind.__subclasses__():
        if each.__module__.startswith(responses.__name__):
            yield each
            yield from models(each)


def test_fields_are_read_from_attributes() -> None:
    """By path, in the declared order, under the names of JSON; times keep their zone, trees their keys and their order."""
    tree = {"zebra": 1, "ant": [1.0, True, "\ud800"], "number": "no number"}
    found = WholeResponse.from_value(Value(when=Value(begin=AT), tree=tree, parts=(Value(number=3),))).to_json()
    assert list(found) == ["schema", "from", "holder", "text", "tree", "parts"]
    assert found["from"] == "2026-11-30T12:00:00.000005+02:00"
    assert (found["schema"], found["holder"], found["text"], found["parts"]) == (1, None, None, [{"number": 3}])
    assert (found["tree"], list(found["tree"])) == (tree, list(tree))
    held = WholeResponse.from_value(Value(when=Value(begin=AT), held=Value(number=7), text="x", parts=[Value(note="n")]))
    assert (held.holder, held.text, held.to_json()["parts"]) == (7, "x", [{"number": 0, "note": "n"}])


def test_an_attribute_that_is_missing_is_an_error() -> None:
    """Only a path with a default may end early."""
    with pytest.raises(ValidationError, match="when"):
        WholeResponse.from_value(Value(when=None))


def test_an_inlined_object_stands_first() -> None:
    """Behind the version; what is said again keeps its place, and takes the new value."""

    class OuterResponse(Inlined, Answer):
        """A whole with more."""

        whole: WholeResponse
        text: str
        more: int

    whole = WholeResponse.from_value(Value(when=Value(begin=datetime(2026, 1, 1, tzinfo=UTC))))
    found = OuterResponse.from_values(whole=whole, text="again", more=1).to_json()
    assert list(found) == ["schema", "from", "holder", "text", "tree", "parts", "more"]
    assert found["text"] == "again"


def test_the_version_is_said_once() -> None:
    """No answer has another one inside, but for one that is inlined."""
    for package in pkgutil.iter_modules(responses.__path__, responses.__name__ + "."):
        importlib.import_module(package.name)
    known = list(models())
    assert RerunResponse in known
    inside = []
    for model in known:
        for number, (name, field) in enumerate(model.model_fields.items()):
            kinds = [field.annotation, *get_args(field.annotation)]
            inlined = issubclass(model, Inlined) and number <= 1
            inside += [
                f"{model.__name__}.{name}"
                for kind in kinds
                if isinstance(kind, type) and issubclass(kind, Answer) and not inlined
            ]
    assert inside == []


def attribute_type(owner: Any, name: str) -> Any:
    """What the attribute of that name is declared as; AttributeError where there is none."""
    for kind in kinds_of(owner) - {NoneType}:
        member = inspect.getattr_static(kind, name, None)
        if isinstance(member, property):
            return get_type_hints(member.fget)["return"]
        hints = get_type_hints(kind)
        if name in hints:
            return hints[name]
    raise AttributeError(f"{owner} has no `{name}`")


def kinds_of(annotation: Any) -> set[Any]:
    """The members of a union, or the type itself; what a Literal or a TypeAlias stands for."""
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return {kind for each in get_args(annotation) for kind in kinds_of(each)}
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    return {type(each) for each in get_args(annotation)} if get_origin(annotation) is Literal else {annotation}


PLAIN = (bool, int, str, datetime)


@pytest.mark.parametrize("model", SOURCES, ids=lambda model: model.__name__)
def test_every_field_has_its_attribute(model: type[Response]) -> None:
    """Paths are text, which no type checker follows: what may be None there may be null here, and is of the same type."""
    for name, field in model.model_fields.items():
        place = field.validation_alias
        path = place.path if isinstance(place, AliasPath) else [name] if name != "schema_version" else []
        source: Any = SOURCES[model]
        for part in path:
            assert NoneType not in kinds_of(source) or not field.is_required(), f"{name} may end early"
            source = attribute_type(source, str(part))
        if not path or any(isinstance(each, BeforeValidator) for each in field.metadata):
            continue
        accepted = kinds_of(field.annotation)
        assert Any in accepted or NoneType not in kinds_of(source) or NoneType in accepted, f"{name} may be None"
        for kind in accepted & {*PLAIN}:
            given = [each for each in kinds_of(source) if isinstance(each, type) and each is not NoneType]
            assert given, name
            assert all(issubclass(each, kind) and (each is not bool or kind is bool) for each in given), f"{name} is {given}"
