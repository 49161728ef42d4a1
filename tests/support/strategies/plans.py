"""Hypothesis strategies for registries, desired states and evidence."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from promoter.domain.desired import DesiredState, RegistryDocument
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import ModelVersion, ObservedModel

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALIASES = ("champion", "challenger", "shadow", "legacy")
MODELS = ("churn", "fraud", "prices")


def versions(count: int) -> dict[int, ModelVersion]:
    """That many ready versions, from 1."""
    return {number: ModelVersion(number, NOW, run_id=f"run-{number}") for number in range(1, count + 1)}


@st.composite
def observed_models(draw: st.DrawFn, name: str) -> ObservedModel:
    """A model with up to six versions, and some aliases on them."""
    count = draw(st.integers(1, 6))
    aliases = draw(st.dictionaries(st.sampled_from((*ALIASES, "stray")), st.integers(1, count)))
    return ObservedModel(name, aliases, versions(count))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[DesiredState, dict[str, ObservedModel], dict[str, dict[str, int | None]]]:
    """Desired, observed, and what the two agreed on before; some stated versions do not exist."""
    names = draw(st.lists(st.sampled_from(MODELS), unique=True, min_size=1))
    observed = {name: draw(observed_models(name)) for name in names if draw(st.integers(0, 9))}
    entry = st.one_of(st.integers(1, 7), st.just("absent"), st.just({}), st.integers(1, 6).map(lambda n: {"version": n}))
    models = {
        name: {
            "prune": draw(st.booleans()),
            "on_drift": draw(st.sampled_from(["revert", "report"])),
            "aliases": draw(st.dictionaries(st.sampled_from(ALIASES), entry)),
        }
        for name in names
    }
    document = RegistryDocument.model_validate({"version": 1, "safety": {"max_changes": "100%"}, "models": models})
    agreed = st.builds(RememberedVersion, st.one_of(st.none(), st.integers(1, 6)))
    settled = {name: draw(st.dictionaries(st.sampled_from(ALIASES), agreed)) for name in names}
    return DesiredState.from_document(document), observed, settled
