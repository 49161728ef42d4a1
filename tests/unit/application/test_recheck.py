"""The read right before a write: for one alias it says what a whole new plan would say, and costs less."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from promoter.adapters.yaml import YamlDocuments
from promoter.application.apply import recheck_change
from promoter.application.planner import Planner
from promoter.domain.audit import NewAuditRecord
from promoter.domain.desired import Declaration, Override
from promoter.domain.evidence import TagObservation
from promoter.domain.identity import PresentVersion, RememberedVersion
from promoter.domain.plan import AliasDifference
from tests.support.app import App
from tests.support.fakes.registry import START, FakeClock, FakeRegistry
from tests.support.profiles import examples
from tests.support.remembered import remembered

DOCUMENTS = YamlDocuments()
ALIASES = ("champion", "challenger", "shadow")
POLICIES = {
    "floor": b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n",
    "duel": b"version: 1\ncandidates: {from: any, rank: {metric: auc, order: highest}}\n"
    b"rules: [{metric: auc, beats: champion}]\n",
    "tag": b"version: 1\nrules: [{tag: approved, equals: 'yes', bound: true}]\n",
    "watch": b"version: 1\nenforcement: audit\nrules: [{metric: auc, at_least: 0.9}]\n",
    "frozen": b'version: 1\nrules: [{metric: auc, at_least: 0.1}]\nfreeze: [{cron: "30 12 * * *", duration: 1h}]\n',
    "guarded": b"version: 1\nrules: [{metric: auc, at_least: 0.3}]\nguards: [{metric: auc, at_least: 0.4}]\n",
}
VERSIONS = st.integers(1, 4)


@dataclass
class ReadLedger:
    """What a planner reads of a ledger, as a test says it is."""

    known: dict[str, int | None] = field(default_factory=dict)
    applied: dict[str, int | None] = field(default_factory=dict)
    held: frozenset[tuple[str, int]] = frozenset()
    overrides: tuple[Override, ...] = ()
    tags: tuple[TagObservation, ...] = ()

    def find_announced_overrides(self, *_arguments: object) -> frozenset[int]:
        """No override ends soon."""
        return frozenset()

    def find_refusal_events(self, _after: int = 0) -> tuple[()]:
        """Nobody refused anything."""
        return ()

    def read_last_known_versions(self, _models: object) -> Mapping[str, Mapping[str, RememberedVersion]]:
        """Where each alias was last seen."""
        return remembered({"m": self.known} if self.known else {})

    def read_last_applied(self, _models: object) -> Mapping[str, Mapping[str, RememberedVersion]]:
        """What git and the registry last agreed on."""
        return remembered({"m": self.applied} if self.applied else {})

    def find_open_overrides(self, _models: object) -> tuple[Override, ...]:
        """Those that have not ended."""
        return self.overrides

    def has_held_alias(self, _model: str, alias: str, version: PresentVersion) -> bool:
        """Whether the version held the alias before."""
        return (alias, version.number) in self.held

    def select_new_replacements(self, found: Iterable[NewAuditRecord]) -> Sequence[NewAuditRecord]:
        """What is found is new."""
        return list(found)

    def find_tag_observations(self, _models: object) -> Mapping[str, tuple[TagObservation, ...]]:
        """What was seen of tags."""
        return {"m": self.tags}

    def find_alias_moves(self, asked: Collection[object]) -> Mapping[object, tuple[()]]:
        """None are recorded."""
        return dict.fromkeys(asked, ())

    def find_guard_checks(self, _asked: object) -> Mapping[object, tuple[()]]:
        """None are recorded."""
        return {}

    def last_recorded_at(self, _asked: object) -> Mapping[object, object]:
        """Nothing is known of it."""
        return {}

    def observed_until(self) -> None:
        """Nothing is known of it."""


@dataclass
class Situation:
    """A model as git, registry and ledger have it."""

    registry: FakeRegistry
    ledger: ReadLedger
    clock: FakeClock
    declaration: Declaration

    @property
    def planner(self) -> Planner:
        """Reads this situation."""
        return Planner(self.registry, self.ledger, self.clock)  # type: ignore[arg-type]

    def full_reason(self, difference: AliasDifference) -> str | None:
        """The oracle: why the change does not hold any more, by a whole new plan of the model."""
        again = self.planner(self.declaration, {"m"}, START)
        unrecorded = any(move.alias == difference.alias for move in again.models["m"].moves)
        allowed = any(each.difference.identity_key == difference.identity_key for each in again.plan.allowed_changes)
        if allowed and not unrecorded:
            return None
        blocked = next((each.reason for each in again.plan.blocked if each.alias in (None, difference.alias)), None)
        return f"not written: {blocked}" if blocked else "not written: the registry changed after the plan was made"


def _alias_lines(draw: st.DrawFn) -> str:
    lines = []
    for alias in draw(st.lists(st.sampled_from(ALIASES), unique=True, min_size=1)):
        version = draw(st.one_of(VERSIONS.map(str), VERSIONS.map(str), st.just("absent"), st.just("")))
        if version == "absent":
            lines.append(f"{alias}: absent")
            continue
        policy = draw(st.sampled_from(("", *POLICIES)))
        fields = [f"version: {version}"] if version else []
        fields += [f"policy: {policy}"] if policy else []
        fields += ["rotation: commit"] if policy == "duel" and draw(st.booleans()) else []
        fields += ["hold: {reason: r, by: b}"] if version and draw(st.integers(0, 4)) == 0 else []
        lines.append(f"{alias}: {{{', '.join(fields)}}}")
    return ", ".join(lines)


def _place(draw: st.DrawFn) -> dict[str, int | None]:
    return draw(st.dictionaries(st.sampled_from((*ALIASES, "stray")), st.one_of(st.none(), VERSIONS)))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any of these, with a ledger that mostly knows what the registry shows."""
    limit = draw(st.sampled_from(["100%", "100%", "0", "1", "2"]))
    drift, prune = draw(st.sampled_from(["revert", "report"])), str(draw(st.booleans())).lower()
    text = f"version: 1\nsafety: {{max_changes: {limit}}}\nmodels:\n"
    text += f"  m: {{on_drift: {drift}, prune: {prune}, aliases: {{{_alias_lines(draw)}}}}}\n"
    files = {"registry.yaml": text.encode(), **{f"policies/{name}.yaml": policy for name, policy in POLICIES.items()}}
    registry = FakeRegistry()
    for _ in range(draw(st.integers(2, 4))):
        registry.version("m", auc=draw(st.sampled_from([0.2, 0.6, 0.95])))
    for alias, version in _place(draw).items():
        if version in registry.models["m"].versions:
            registry.place("m", alias, version)
    held = dict(registry.models["m"].aliases)
    known = {**held, **(_place(draw) if draw(st.integers(0, 4)) == 0 else {})}
    applied = {**(held if draw(st.booleans()) else {}), **(_place(draw) if draw(st.booleans()) else {})}
    before = frozenset(draw(st.lists(st.tuples(st.sampled_from(ALIASES), VERSIONS), max_size=3)))
    declaration = DOCUMENTS.parse_declaration(files, "r1")
    return Situation(registry, ReadLedger(known, applied, before), FakeClock(), declaration)


def _change_something(draw: st.DrawFn, now: Situation) -> None:
    registry, ledger = now.registry, now.ledger
    what = draw(st.sampled_from(["metric", "place", "record", "tag", "time", "override", "settle", "model", "drop"]))
    number = draw(VERSIONS)
    if what == "metric":
        registry.all_runs[f"m-{number}"] = replace(
            registry.all_runs.get(f"m-{number}", registry.all_runs["m-1"]),
            run_id=f"m-{number}",
            metrics={"auc": draw(st.sampled_from([0.2, 0.6, 0.95]))},
        )
    elif what in ("place", "record") and "m" in registry.models:
        alias, version = draw(st.sampled_from(ALIASES)), draw(st.one_of(st.none(), VERSIONS))
        registry.place("m", alias, version if version in registry.models["m"].versions else None)
        if what == "record":
            ledger.known = {**ledger.known, alias: registry.models["m"].aliases.get(alias)}
    elif what == "tag" and "m" in registry.models and number in registry.models["m"].versions:
        registry.tag("m", number, approved=draw(st.sampled_from(["yes", "no"])))
        ledger.tags = (*ledger.tags, TagObservation("m", number, START, "approved", None, START))
    elif what == "time":
        now.clock.pass_time(minutes=draw(st.sampled_from([1, 31, 100])))
    elif what == "override":
        alias, until = draw(st.sampled_from(ALIASES)), START + timedelta(minutes=draw(st.sampled_from([10, 90])))
        ledger.overrides = (Override(7, START, "m", alias, number, None, "bad", "ada", until),)
    elif what == "settle":
        ledger.applied = {**ledger.applied, draw(st.sampled_from(ALIASES)): number}
    elif what == "model" and draw(st.integers(0, 3)) == 0:
        registry.models.pop("m", None)
    elif what == "drop" and "m" in registry.models:
        seen = registry.models["m"]
        versions = {each: version for each, version in seen.versions.items() if each != number}
        aliases = {alias: version for alias, version in seen.aliases.items() if version != number}
        registry.models["m"] = replace(seen, versions=versions, aliases=aliases)


@examples(300)
@given(st.data())
def test_the_recheck_of_one_alias_says_what_a_whole_plan_says(data: st.DataObject) -> None:
    """For whatever changes between plan and write: the same answer, and where it is no, the same reason."""
    now = data.draw(situations())
    changes = now.planner(now.declaration, {"m"}, START).plan.changes
    for _ in range(data.draw(st.integers(0, 4))):
        _change_something(data.draw, now)
    for change in changes:
        found = recheck_change(now.planner, now.declaration, change.difference, START)
        event("holds" if found.stale_reason is None else found.stale_reason.rpartition(":")[2])
        assert found.stale_reason == now.full_reason(change.difference)


def promoted(app: App) -> None:
    """Git wants v2 instead of v1; its policy reads a metric."""
    app.commit("m: {aliases: {champion: {version: 2, policy: p}}}", p=POLICIES["floor"])


def drifted(app: App) -> None:
    """Somebody moved the alias."""
    app.mlflow.place("m", "champion", 2)


def deleted(app: App) -> None:
    """Git wants two more aliases, and one that must not exist."""
    app.commit("m: {aliases: {champion: absent, shadow: 1, challenger: 2}}")


def calls_of(app: App, call: Callable[[], Any]) -> list[object]:
    """The calls to the registry meanwhile, by name."""
    app.mlflow.calls.clear()
    call()
    return [call[0] for call in app.mlflow.calls]


@pytest.fixture
def steady(app: App) -> App:
    """A model at rest, whose champion is v1."""
    for auc in (0.8, 0.9, 0.7):
        app.mlflow.version("m", auc=auc)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    return app


def test_one_change_is_one_plan_and_one_recheck(steady: App) -> None:
    """It was three plans; the last one is needed only where a change may ask for more."""
    promoted(steady)
    steady.revisions.refresh_head()
    calls = calls_of(steady, lambda: steady.model_reconciler.reconcile("m", "test"))
    assert calls == ["observe", "runs", "observe", "runs", "set_alias", "aliases"]
    drifted(steady)
    steady.mlflow.place("m", "champion", 1)
    calls = calls_of(steady, lambda: steady.model_reconciler.reconcile("m", "test"))
    assert calls == ["observe", "observe", "set_alias", "aliases"]


def test_under_rotation_the_recheck_reads_no_candidates(app: App) -> None:
    """The plan before and the plan after judge all candidates of the other alias, the recheck only the version at hand."""
    for auc in (0.7, 0.8, 0.75, 0.76):
        app.mlflow.version("m", auc=auc)
    for alias in ("champion", "challenger"):
        app.mlflow.place("m", alias, 1)
    rotating = "challenger: {version: 1, policy: duel, rotation: commit}"
    app.commit(f"m: {{aliases: {{champion: {{version: 2, policy: floor}}, {rotating}}}}}", **POLICIES)
    app.revisions.refresh_head()
    app.mlflow.calls.clear()
    app.model_reconciler.reconcile("m", "test")
    read = [len(call[1]) if call[0] == "runs" else call[0] for call in app.mlflow.calls]  # type: ignore[arg-type]
    assert read[:6] == ["observe", 4, "observe", 1, "set_alias", "aliases"]
    assert read[6:8] == ["observe", 3]


@pytest.mark.parametrize("act", [promoted, drifted, deleted])
def test_what_is_foreseen_after_the_writes_is_what_a_new_plan_finds(steady: App, act: Callable[[App], None]) -> None:
    """But for the moment."""
    act(steady)
    steady.revisions.refresh_head()
    foreseen = steady.model_reconciler.reconcile("m", "test")
    assert foreseen is not None
    planned = steady.planner(foreseen.declaration, {"m"})
    assert replace(foreseen, at=planned.at) == planned
    assert not planned.plan.changes


@pytest.mark.parametrize("before", ["observe", "aliases"])
def test_where_something_else_changed_it_is_planned_again(steady: App, before: str) -> None:
    """Another alias appears between plan and recheck, or between write and reading back: it is recorded by the same run."""
    promoted(steady)
    steady.revisions.refresh_head()
    left = [2 if before == "observe" else 1]

    def meddle(call: str) -> None:
        if call == before:
            left[0] -= 1
            if not left[0]:
                steady.mlflow.place("m", "stray", 3)

    steady.mlflow.on = meddle
    calls = calls_of(steady, lambda: steady.model_reconciler.reconcile("m", "test"))
    assert calls.count("observe") == 3
