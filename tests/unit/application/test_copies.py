"""`promote_from` on fakes: what is copied and when, what becomes of it, and what the silence of another registry may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.domain.copy_source import AliasRef
from promoter.domain.errors import PermanentError, TransientError
from tests.support.app import App
from tests.support.fakes.copies import STAGING, FakeCopies
from tests.support.fakes.registry import FakeRegistry, FakeRepository

GATE = b"""version: 1
rules: [{metric: auc, at_least: 0.8}]
"""
APPROVED = b"""version: 1
rules: [{metric: auc, at_least: 0.8}, {tag: approved_by, one_of: [risk]}]
"""
FROM_STAGING = "promote_from: {registry: staging, alias: champion}"


class CopyingApp(App):
    """An app with another registry beside it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is registered, here or there."""
        registry = FakeRegistry()
        super().__init__(folder, registry, FakeRepository())
        self.elsewhere = FakeCopies(registry)
        self.version_copies = self.elsewhere
        self.staging = self.elsewhere.staging

    def promote(self, number: int, model: str = "m") -> None:
        """Staging says that this is its champion."""
        self.staging.place(model, "champion", number)

    def say(self, rotation: str = "commit", more: str = "", policy: bytes = GATE) -> None:
        """What git says of the model."""
        alias = f"{{policy: champion, rotation: {rotation}, {FROM_STAGING}{more}}}"
        self.commit(f"m: {{aliases: {{champion: {alias}}}}}", champion=policy)

    def reason(self) -> str:
        """Where rotation of champion stands."""
        view = self.planner(self.revisions.declaration_in_force, {"m"})  # type: ignore[arg-type]
        return view.models["m"].rotation_statuses[0].reason


@pytest.fixture
def branch(tmp_path: Path) -> CopyingApp:
    """Two versions in staging, the first its champion."""
    made = CopyingApp(tmp_path)
    made.staging.version("m", auc=0.9)
    made.staging.version("m", auc=0.95)
    made.promote(1)
    return made


def test_a_copy_is_made_then_judged_then_proposed(branch: CopyingApp) -> None:
    """Also where this registry does not have the model yet. One copy, one commit, one move."""
    branch.say()
    branch.converge()
    assert branch.elsewhere.made == [("m", 1)]
    assert branch.git.subjects == ["By hand", "Rotate m@champion from none to v1"]
    assert branch.aliases() == {"champion": 1}
    assert branch.records()[-1].fact.verdict == "pass"
    branch.converge()
    assert (len(branch.elsewhere.made), len(branch.git.subjects)) == (1, 2)


def test_the_next_holder_follows_and_an_older_one_returns(branch: CopyingApp) -> None:
    """What staging goes back to is the copy that there is already, though its number is smaller."""
    branch.say()
    for number, held in ((1, 1), (2, 2), (1, 1)):
        branch.promote(number)
        branch.converge()
        assert branch.aliases() == {"champion": held}
    assert branch.elsewhere.made == [("m", 1), ("m", 2)]


def test_a_copy_that_fails_its_policy_stays_where_it_is(branch: CopyingApp) -> None:
    """Its evidence is its own: copied, judged, and not proposed; nor copied again."""
    branch.say(policy=GATE.replace(b"0.8", b"0.99"))
    branch.converge()
    branch.converge()
    assert branch.elsewhere.made == [("m", 1)]
    assert branch.aliases() == {}
    assert branch.git.subjects == ["By hand"]


@pytest.mark.parametrize(
    ("rotation", "more"),
    [("off", ""), ("commit", ", hold: {reason: freeze, by: bob}")],
    ids=["off", "hold"],
)
def test_nothing_is_copied_in_vain(branch: CopyingApp, rotation: str, more: str) -> None:
    """Where rotation is off, or held."""
    branch.say(rotation, more)
    branch.converge()
    assert branch.elsewhere.made == []
    assert "m" not in branch.mlflow.models


def test_where_nothing_comes_from_elsewhere_nobody_is_asked(branch: CopyingApp) -> None:
    """And one question a survey, for all places, where something does."""
    branch.mlflow.version("n")
    branch.say("off")
    branch.converge()
    assert branch.elsewhere.asked == []
    alias = f"{{policy: champion, rotation: commit, {FROM_STAGING}}}"
    branch.commit(f"m: {{aliases: {{champion: {alias}}}}}\no: {{aliases: {{champion: {alias}}}}}", champion=GATE)
    branch.revisions.refresh_head()
    branch.model_reconciler.plan_all()
    assert len(branch.elsewhere.asked) == 1
    assert {place.model for place in branch.elsewhere.asked[0]} == {"m", "o"}


def test_by_pull_request_the_copy_is_made_and_the_alias_waits(branch: CopyingApp) -> None:
    """The proposal needs the copy's number; nothing moves before it is merged."""
    branch.say("pull-request")
    branch.revisions.refresh_head()
    view = branch.model_reconciler.reconcile("m", "test")
    assert view is not None
    (proposal,) = view.models["m"].proposals
    assert proposal.edit.version == 1
    assert branch.aliases() == {}


def test_approvals_that_came_along_do_not_count(branch: CopyingApp) -> None:
    """Of a copy that an older Promoter made, or a person: pending until somebody deletes the tag and sets it on the copy."""
    branch.staging.tag("m", 1, approved_by="risk")
    (holding,) = branch.elsewhere.read_source_aliases([AliasRef(STAGING, "m", "champion")]).values()
    assert holding.holder is not None
    branch.elsewhere.copy_version(holding.holder, "m")
    branch.say(policy=APPROVED)
    branch.converge()
    assert branch.mlflow.models["m"].versions[1].tags["approved_by"] == "risk"
    assert branch.aliases() == {}
    assert "it came with the copy" in branch.reason()
    kept = {key: value for key, value in branch.mlflow.models["m"].versions[1].tags.items() if key != "approved_by"}
    versions = branch.mlflow.models["m"].versions
    branch.mlflow.models["m"] = branch.mlflow.models["m"].__class__(
        "m", versions={1: versions[1].__class__(1, versions[1].created_at, versions[1].run_id, tags=kept)}
    )
    branch.converge()
    branch.mlflow.tag("m", 1, approved_by="risk")
    branch.converge()
    assert branch.aliases() == {"champion": 1}


def test_a_quarantined_copy_is_neither_proposed_nor_made_again(branch: CopyingApp) -> None:
    """Another copy of the same version would be as bad."""
    branch.say()
    branch.converge()
    branch.mlflow.place("m", "champion", None)
    branch.say(more=", quarantine: [1]")
    branch.converge()
    assert branch.elsewhere.made == [("m", 1)]
    assert branch.aliases() == {}
    assert branch.reason() == "v1, the copy of v1 of m in staging, is in quarantine"


def test_silence_elsewhere_stops_no_reconcile(branch: CopyingApp) -> None:
    """Drift here is put back all the same; the standing and the health say what cannot be read, and the daemon stays ready."""
    branch.mlflow.version("m", auc=0.9)
    branch.mlflow.version("m", auc=0.9)
    branch.commit(
        f"m: {{aliases: {{champion: {{version: 1, policy: champion, rotation: commit, {FROM_STAGING}}}, shadow: 1}}}}",
        champion=GATE,
    )
    branch.elsewhere.trouble = TransientError(STAGING, "the connection is refused")
    branch.converge()
    branch.mlflow.place("m", "shadow", 2)
    watch = branch.converge()
    assert branch.aliases() == {"champion": 1, "shadow": 1}
    assert branch.reason() == "staging cannot be read: the connection is refused"
    assert watch.health.current_problems == {}
    assert watch.health.source_problems == {STAGING: "the connection is refused"}
    branch.elsewhere.trouble = None
    watch = branch.converge()
    assert watch.health.source_problems == {}
    assert branch.aliases() == {"champion": 3, "shadow": 1}


def test_a_registry_that_the_settings_do_not_name(branch: CopyingApp) -> None:
    """Said in the standing: files are valid without settings."""
    branch.commit(
        "m: {aliases: {champion: {policy: champion, rotation: commit, promote_from: {registry: dev, alias: champion}}}}",
        champion=GATE,
    )
    watch = branch.converge()
    assert "the settings name no registry `dev`" in branch.reason()
    assert "dev" in watch.health.source_problems


def test_a_copy_that_fails_keeps_no_other_alias_waiting(branch: CopyingApp) -> None:
    """What rotates here is proposed and applied; then the fault is told, and the next look tries again."""
    branch.mlflow.version("m", auc=0.9)
    branch.commit(
        f"""
m:
  aliases:
    champion: {{policy: champion, rotation: commit, {FROM_STAGING}}}
    challenger: {{policy: newest, rotation: commit}}
""",
        champion=GATE,
        newest=b"version: 1\ncandidates: {from: any}\nrules: [{metric: auc, at_least: 0.5}]\n",
    )
    branch.elsewhere.failing = PermanentError("MLflow", "its artifact is too large")
    watch = branch.converge()
    assert branch.aliases() == {"challenger": 1}
    assert watch.health.current_problems == {}
    assert [each.reason for each in watch.health.failing_models.values()] == ["MLflow: its artifact is too large"]
    branch.elsewhere.failing = None
    branch.converge()
    assert branch.aliases()["champion"] == 2


def test_from_another_model_of_this_registry(branch: CopyingApp) -> None:
    """One server for all environments: the champion of the one model is copied to the other."""
    branch.mlflow.version("m-staging", auc=0.9)
    branch.mlflow.place("m-staging", "champion", 1)
    branch.commit(
        "m: {aliases: {champion: {policy: champion, rotation: commit, promote_from: {model: m-staging, alias: champion}}}}",
        champion=GATE,
    )
    branch.converge()
    assert branch.aliases() == {"champion": 1}
    assert branch.mlflow.models["m"].versions[1].source == "models:/m-staging/1"


def test_stopped_after_the_copy(branch: CopyingApp) -> None:
    """A Promoter that starts anew finds the copy, and goes on from there."""
    branch.say()
    branch.revisions.refresh_head()
    (holding,) = branch.planner(branch.revisions.declaration_in_force).source_aliases.values()  # type: ignore[arg-type]
    assert holding.holder is not None
    branch.elsewhere.copy_version(holding.holder, "m")
    branch.converge()
    assert branch.elsewhere.made == [("m", 1)]
    assert branch.aliases() == {"champion": 1}


def test_the_copy_is_made_under_the_models_lock(branch: CopyingApp) -> None:
    """So that two replicas do not make two."""
    branch.say()
    branch.revisions.refresh_head()
    made_before: list[int] = []
    original = branch.elsewhere.copy_version
    branch.elsewhere.copy_version = lambda *named: (made_before.append(len(branch.keys.taken)), original(*named))[1]  # type: ignore[method-assign]
    branch.model_reconciler.reconcile("m", "test")
    assert branch.keys.taken[: made_before[0]].count("m") == 1


@pytest.mark.parametrize("place", ["registry: staging", "model: m-staging"])
def test_an_approval_of_the_source_is_none_of_the_copy(branch: CopyingApp, place: str) -> None:
    """It waits, says what to do, and setting that tag on the copy is enough: nobody has to delete it first."""
    source = branch.staging if "registry" in place else branch.mlflow
    name = "m" if "registry" in place else "m-staging"
    if name != "m":
        branch.mlflow.version(name, auc=0.9)
        branch.mlflow.place(name, "champion", 1)
    source.tag(name, 1, approved_by="risk")
    branch.commit(
        f"m: {{aliases: {{champion: {{policy: champion, rotation: commit, promote_from: {{{place}, alias: champion}}}}}}}}",
        champion=APPROVED,
    )
    branch.converge()
    tags = branch.mlflow.models["m"].versions[1].tags
    assert "approved_by" not in tags
    assert tags["promoter.source.tag.approved_by"] == "risk"
    assert branch.aliases() == {}
    view = branch.planner(branch.revisions.declaration_in_force, {"m"})  # type: ignore[arg-type]
    (decision,) = view.models["m"].rotation_statuses[0].decisions
    assert decision.findings[-1].expected.endswith("set on this version: the tag of its source does not count here")
    branch.mlflow.tag("m", 1, approved_by="risk")
    branch.converge()
    assert branch.aliases() == {"champion": 1}
