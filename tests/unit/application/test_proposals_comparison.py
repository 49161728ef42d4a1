"""The version against the one that it replaces: read in bulk, and only what the pull request shows."""

from __future__ import annotations

from promoter.application.proposals.comparison import ComparisonSubject, VersionComparer
from promoter.domain.comparison import MetricHistory, MetricRow, VersionComparison
from promoter.domain.observed import LoggedModel, MetricRef, MetricValue, Unreadable, VersionSignature
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from tests.support.fakes.registry import FakeRegistry


def policy(source: str = "run") -> Policy:
    """Ranks by auc, and looks at p99."""
    document = {
        "version": 1,
        "metrics": {"source": source},
        "candidates": {"from": "any", "rank": {"metric": "auc", "order": "highest"}},
        "rules": [{"metric": "p99", "at_most": 50}],
    }
    return Policy("p", "d", PolicyDocument.model_validate(document))


def proposal(version: int | None = 30, replaces: int | None = 2) -> Proposal:
    """Of m@champion."""
    return Proposal(RegistryEdit("m", "champion", version), replaces, None, ProposalReason.ADOPT)


def registry() -> FakeRegistry:
    """Forty versions, of which one has no figure, and one none that is a number."""
    made = FakeRegistry()
    for number in range(1, 41):
        made.version("m", **({} if number == 28 else {"auc": float("nan") if number == 29 else number / 100, "other": 1.0}))
    return made


def compared(made: FakeRegistry, asked: Proposal, under: Policy | None) -> VersionComparison | None:
    """The one comparison."""
    (found,) = VersionComparer(made)([ComparisonSubject(asked, under, made.models["m"])])
    return found


def test_the_comparison() -> None:
    """The policy's metrics first; the picture ends with the version, whatever newer ones there are."""
    made = registry()
    made.all_signatures = {("m", 30): VersionSignature({"input a": "long"}), ("m", 2): VersionSignature({"input a": "double"})}
    made.all_requirements = {("m", 30): ("a==2",), ("m", 2): ("a==1",)}
    found = compared(made, proposal(), policy())
    assert found is not None
    assert found.metrics == (MetricRow("auc", 0.3, 0.02, "highest"), MetricRow("p99", None, None, "lowest"))
    assert found.other_metrics == (MetricRow("other", 1.0, 1.0),)
    assert found.signature == ("input a is long, was double",)
    assert found.requirements == ("a is ==2, was ==1",)
    numbers = [number for number in range(11, 31) if number not in (28, 29)]
    assert found.past == MetricHistory(MetricRef("auc"), tuple((number, number / 100) for number in numbers))
    assert [str(call[0]) for call in made.calls] == ["runs", "signatures", "requirements"]


def test_what_is_not_there() -> None:
    """Nobody to compare with, no policy, no such version, nothing that can be read: each is told, none is guessed."""
    made = registry()
    first = compared(made, proposal(replaces=None), policy())
    assert first is not None
    assert (first.signature, first.requirements, first.metrics[0].was) == (None, None, None)
    assert [str(call[0]) for call in made.calls] == ["runs"]
    bare = compared(made, proposal(), None)
    assert bare is not None
    assert (bare.past, bare.signature, bare.requirements) == (None, (), ())
    assert bare.metrics == ()
    assert [row.metric for row in bare.other_metrics] == ["auc", "other"]
    made.all_signatures = {("m", 30): Unreadable("no answer"), ("m", 2): VersionSignature({"input a": "double"})}
    made.all_requirements = {("m", 2): ("a==1",)}
    torn = compared(made, proposal(), policy())
    assert torn is not None
    assert (torn.signature, torn.requirements) == (Unreadable("no answer"), ("it lists none any more",))
    gone = compared(made, proposal(99), policy())
    assert gone is not None
    assert [row.value for row in gone.metrics] == [None, None]
    assert compared(made, proposal(None, None), policy()) is None


def test_metrics_of_logged_models() -> None:
    """Read where the policy says so, for all in the picture in one call."""
    made = registry()
    made.all_logged_models = {
        ("m", number): LoggedModel(f"m-{number}", (MetricValue("auc", number / 10),)) for number in (2, 29, 30)
    }
    found = compared(made, proposal(), policy("logged_model"))
    assert found is not None
    assert found.metrics[0] == MetricRow("auc of the logged model", 3.0, 0.2, "highest")
    assert found.past == MetricHistory(MetricRef("auc", "logged_model"), ((29, 2.9), (30, 3.0)))
    assert [str(call[0]) for call in made.calls].count("logged_models") == 1


def test_metrics_of_the_machine() -> None:
    """They are left out, of runs and of logged models, unless the policy reads one."""
    made = FakeRegistry()
    for number in (2, 30):
        made.version("m", **{"auc": 0.9, "system/cpu_utilization_percentage": 10.0 * number, "system_load": 1.0})
    found = compared(made, Proposal(RegistryEdit("m", "champion", 2), 1, None, ProposalReason.ADOPT), None)
    assert found is not None
    assert [row.metric for row in found.other_metrics] == ["auc", "system_load"]
    reads = {"version": 1, "rules": [{"metric": "system/cpu_utilization_percentage", "at_most": 90}]}
    read = compared(made, proposal(2, 1), Policy("p", "d", PolicyDocument.model_validate(reads)))
    assert read is not None
    assert [row.metric for row in read.metrics] == ["system/cpu_utilization_percentage"]
    assert [row.metric for row in read.other_metrics] == ["auc", "system_load"]
