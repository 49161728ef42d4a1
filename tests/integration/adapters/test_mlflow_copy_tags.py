"""Tags of copies on real MLflow servers: a copy lacks what a person must set on it, from its first moment on."""

from __future__ import annotations

from typing import Any

import pytest

from promoter.adapters.mlflow.copy import MlflowCopies
from promoter.domain.copy_source import AliasRef, SourceVersion
from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_version

STAGING = "staging"
TAGS = {"approved_by": "risk", "note": "n", "promoter.approval/champion/ada": "signed"}
KEPT = {
    "note": "n",
    "promoter.source.tag.approved_by": "risk",
    "promoter.source.tag.promoter.approval/champion/ada": "signed",
}


@pytest.fixture
def copies(mlflow_server: SharedMlflow, staging_server: SharedMlflow) -> MlflowCopies:
    """This registry is `mlflow_server`, the other one is called staging."""
    return MlflowCopies(mlflow_server.uri, {STAGING: staging_server.uri})


def find_holder(copies: MlflowCopies, model: str, registry: str = "") -> SourceVersion:
    """Who holds champion there."""
    found = copies.read_source_aliases([AliasRef(registry, model, "champion")])
    (alias,) = found.values()
    assert alias.holder is not None
    return alias.holder


def make_champion(client: Any, model: str) -> int:
    """A version with approvals, which holds champion."""
    number = make_version(client, model, {"auc": 0.9}, TAGS)
    client.update_model_version(model, str(number), "good")
    client.set_registered_model_alias(model, "champion", str(number))
    return number


def test_within_a_server(copies: MlflowCopies, mlflow_client: Any, fresh_name: str) -> None:
    """Approvals are kept apart, everything else is as `copy_model_version` of MLflow leaves it, and it is made once."""
    work, served, other = f"{fresh_name}-work", fresh_name, f"{fresh_name}-other"
    number = make_champion(mlflow_client, work)
    source = find_holder(copies, work)
    assert [copies.copy_version(source, served, {"approved_by"}) for _ in range(2)] == [1, 1]
    ours, theirs = (
        mlflow_client.get_model_version(served, "1"),
        mlflow_client.copy_model_version(f"models:/{work}/{number}", other),
    )
    assert (ours.tags, theirs.tags) == (KEPT, TAGS)
    for field in ("source", "run_id", "run_link", "description", "model_id", "status"):
        assert getattr(ours, field) == getattr(theirs, field), field


@pytest.mark.slow
@pytest.mark.usefixtures("warm_children")
def test_from_another_server(copies: MlflowCopies, staging_client: Any, mlflow_client: Any, fresh_name: str) -> None:
    """The same, beside the tags that say whose copy it is."""
    make_champion(staging_client, fresh_name)
    source = find_holder(copies, fresh_name, STAGING)
    copies.copy_version(source, fresh_name, {"approved_by"})
    assert mlflow_client.get_model_version(fresh_name, "1").tags == {**KEPT, **source.copy_tags}
